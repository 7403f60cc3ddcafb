"""What every registered head must do."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer
from sklearn.utils.estimator_checks import check_estimator

from featx.heads import HEADS, make_head

QUICK = {"mlp": "mlp(hidden=32, epochs=8, learning_rate=0.01, batch_size=16)"}
"""Spec to test with, where the defaults take long."""

_UNWEIGHTED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "columns are standardised by their unweighted moments, as by a StandardScaler in a "
        "pipeline; with standardize=False the check passes"
    )
}
EXPECTED_FAILURES = {name: _UNWEIGHTED for name in ("linear_svc", "logreg", "ridge")}
"""Head to check to the reason why it fails."""

NAMES = HEADS.names()


def build(name: str) -> Any:
    return make_head(QUICK.get(name, name), seed=0)


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, ...]:
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order].astype(np.float32), y[order]
    return X[:500], y[:500], X[500:700], y[500:700]


def test_heads_were_collected() -> None:
    assert {"linear_svc", "logreg", "ridge", "knn", "centroid", "lda", "mlp"} <= set(NAMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_sklearn_accepts_it(name: str) -> None:
    with warnings.catch_warnings():
        # The checks fit on tiny data that need not converge, and warn of what they skip.
        warnings.simplefilter("ignore")
        results = check_estimator(
            build(name), expected_failed_checks=EXPECTED_FAILURES.get(name), on_skip=None
        )
    assert sum(r["status"] == "passed" for r in results) > 40


@pytest.mark.parametrize("name", NAMES)
def test_learns_and_gives_a_score_a_class(name: str, digits) -> None:
    X, y, X_test, y_test = digits
    head = build(name).fit(X, y)
    assert head.score(X_test, y_test) > 0.8
    method = "decision_function" if hasattr(head, "decision_function") else "predict_proba"
    scores = getattr(head, method)(X_test)
    assert scores.shape == (200, 10)
    np.testing.assert_array_equal(head.classes_[scores.argmax(axis=1)], head.predict(X_test))
    if hasattr(head, "predict_proba"):
        p = head.predict_proba(X_test)
        assert p.min() >= 0
        np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_scaling_is_inside(name: str, digits) -> None:
    """Another unit a column changes no prediction (but for rounding)."""
    X, y, X_test, _ = digits
    units = np.random.default_rng(0).uniform(0.01, 100, size=X.shape[1]).astype(np.float32)
    plain = build(name).fit(X, y).predict(X_test)
    scaled = build(name).fit(X * units, y).predict(X_test * units)
    assert (plain == scaled).mean() >= 0.99


@pytest.mark.parametrize("name", NAMES)
def test_inputs_are_left_alone_and_fits_repeat(name: str, digits) -> None:
    X, y, X_test, _ = digits
    before = X.copy(), y.copy(), X_test.copy()
    first = build(name).fit(X, y).predict(X_test)
    again = clone(build(name)).fit(X, y).predict(X_test)
    np.testing.assert_array_equal(first, again)
    for kept, now in zip(before, (X, y, X_test), strict=True):
        np.testing.assert_array_equal(kept, now)


@pytest.mark.parametrize("name", NAMES)
def test_wider_than_its_rows(name: str) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(4), 8)
    centres = rng.normal(size=(4, 300))
    X = centres[y] + rng.normal(size=(32, 300))
    X_test = centres[y] + rng.normal(size=(32, 300))
    head = build(name).fit(X.astype(np.float32), y)
    assert head.score(X_test.astype(np.float32), y) > 0.9


@pytest.mark.parametrize("name", NAMES)
def test_two_classes_of_text(name: str, digits) -> None:
    X, y, X_test, y_test = digits
    words = np.array(["even", "odd"])
    head = build(name).fit(X, words[y % 2])
    assert head.score(X_test, words[y_test % 2]) > 0.7
    assert list(head.classes_) == ["even", "odd"]


@pytest.mark.parametrize("name", [n for n in NAMES if HEADS.get(n).searched])
def test_works_in_pipeline_and_grid_search(name: str, digits) -> None:
    X, y, X_test, y_test = digits
    parameter = HEADS.get(name).searched
    values = {"C": [0.01, 0.1], "alpha": [1.0, 100.0], "k": [1, 5]}[parameter]
    head = build(name)
    pipeline = make_pipeline(Normalizer(), head)
    step = type(head).__name__.lower()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        search = GridSearchCV(pipeline, {f"{step}__{parameter}": values}, cv=3).fit(X, y)
    assert search.score(X_test, y_test) > 0.8
