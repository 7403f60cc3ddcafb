"""The linear heads as scikit-learn estimators: its own checks, pipelines, searches, saving."""

from __future__ import annotations

import io
import json
import warnings
from typing import Any

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from featx.errors import HeadError
from featx.heads.linear_svc import LinearSVC
from featx.heads.logreg import LogisticRegression
from featx.heads.ridge import Ridge
from featx.heads.saving import from_arrays, to_arrays

# Some checks compare two fits to seven digits, which asks for a tolerance to match.
HEADS = [
    LinearSVC(tol=1e-9),
    LinearSVC(standardize=True, tol=1e-9),
    LinearSVC(loss="hinge", tol=1e-5),
    LogisticRegression(tol=1e-9),
    LogisticRegression(multi_class="ovr", standardize=True, tol=1e-9),
    Ridge(),
    Ridge(standardize=True),
]
EXPECTED_FAILURES = {
    "check_sample_weight_equivalence_on_dense_data": (
        "with standardize=True, mean and scale count every row once, as those of a StandardScaler "
        "in a Pipeline do"
    )
}
"""scikit-learn's checks that are expected to fail of heads that standardise: name to reason."""


def expected_failures(estimator: Any) -> dict[str, str]:
    return EXPECTED_FAILURES if estimator.standardize else {}


def digits(rows: int = 300, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    keep = np.flatnonzero(y < classes)[:rows]
    return X[keep], y[keep]


@parametrize_with_checks(HEADS, expected_failed_checks=expected_failures)
def test_scikit_learns_own_checks(estimator: Any, check: Any) -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Can't check dok sparse matrix")
        check(estimator)


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_fits_in_pipelines_searches_and_workers(head: Any) -> None:
    X, y = digits()
    pipeline = make_pipeline(StandardScaler(), clone(head))
    name = f"{type(head).__name__.lower()}__{head.path_param}"
    search = GridSearchCV(pipeline, {name: [0.01, 1.0]}, cv=3).fit(X, y)
    assert search.best_score_ > 0.85
    jobs = joblib.Parallel(n_jobs=2)(joblib.delayed(clone(head).fit)(X, y) for _ in range(2))
    assert (jobs[0].coef_ == jobs[1].coef_).all()


@pytest.mark.parametrize("labels", ["int", "str", "object"])
@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_saved_and_loaded_bit_for_bit(head: Any, labels: str) -> None:
    X, y = digits(classes=4)
    names = np.array(["paper", "glass", "métal", "trash"])
    y = {"int": y, "str": names[y], "object": names.astype(object)[y]}[labels]
    fitted = make_pipeline(StandardScaler(), clone(head)).fit(X, y)
    arrays, document = to_arrays(fitted)
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    loaded = from_arrays(np.load(file, allow_pickle=False), json.loads(json.dumps(document)))
    assert (loaded.decision_function(X) == fitted.decision_function(X)).all()
    assert (loaded.predict(X) == fitted.predict(X)).all()
    assert loaded[-1].get_params() == fitted[-1].get_params()
    assert vars(loaded[-1]).keys() == vars(fitted[-1]).keys()
    assert loaded[-1].classes_.dtype == fitted[-1].classes_.dtype


def test_a_saved_head_that_names_another_class_is_refused() -> None:
    arrays, document = to_arrays(Ridge().fit(*digits()))
    for name in ("subprocess:Popen", "featx.heads.saving:to_arrays", "os:system", "sklearn:x"):
        document["estimator"]["class"] = name
        with pytest.raises(HeadError):
            from_arrays(arrays, document)
    with pytest.raises(HeadError, match="version"):
        from_arrays(arrays, {**document, "version": 99})


def test_a_missing_array_is_named() -> None:
    _, document = to_arrays(Ridge().fit(*digits()))
    with pytest.raises(HeadError, match="array"):
        from_arrays({}, document)


@pytest.mark.parametrize("head", [LinearSVC(1e3), LogisticRegression(1e3)], ids=repr)
def test_non_convergence_is_reported(head: Any) -> None:
    X, y = digits()
    head = head.set_params(max_iter=2, tol=1e-6)
    with pytest.warns(ConvergenceWarning, match="did not converge at C=1000"):
        head.fit(X, y)
    assert not head.converged_
    assert head.optimality_ > 1e-6
    assert head.n_iter_ == 2


@pytest.mark.parametrize(
    ("head", "text"),
    [
        (LinearSVC(-1.0), "C=-1.0"),
        (LinearSVC(loss="log"), "loss='log'"),
        (LinearSVC(intercept_scaling=0.0), "intercept_scaling=0.0"),
        (LogisticRegression(0.0), "C=0.0"),
        (LogisticRegression(multi_class="auto"), "multi_class='auto'"),
        (Ridge(float("nan")), "alpha=nan"),
        (LinearSVC(tol=0.0), "tol=0.0"),
        (LogisticRegression(max_iter=0), "max_iter=0"),
    ],
    ids=lambda v: v if isinstance(v, str) else "",
)
def test_bad_parameters_are_named(head: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        head.fit(*digits())


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_probabilities_and_predictions_agree(head: Any) -> None:
    for classes in (2, 5):
        X, y = digits(classes=classes)
        fitted = clone(head).fit(X, y)
        scores = fitted.decision_function(X)
        assert scores.shape == ((len(X),) if classes == 2 else (len(X), classes))
        if hasattr(fitted, "predict_proba"):
            p = fitted.predict_proba(X)
            np.testing.assert_allclose(p.sum(axis=1), 1.0, atol=1e-12)
            assert (fitted.classes_[p.argmax(axis=1)] == fitted.predict(X)).all()
