"""Shrunken linear discriminants against scikit-learn's, in both spaces."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.covariance import ledoit_wolf_shrinkage as sklearn_shrinkage
from sklearn.datasets import load_digits, make_classification
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.preprocessing import StandardScaler

from featx.heads.lda import LDA, ledoit_wolf_shrinkage


def wide_problem(n: int, width: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    return make_classification(
        n, width, n_informative=10, n_classes=classes, class_sep=0.6, random_state=0
    )


@pytest.mark.parametrize("shrinkage", [0.02, 0.3, 1.0])
@pytest.mark.parametrize(
    ("n", "width", "classes"), [(300, 20, 4), (60, 200, 4), (60, 200, 2), (80, 80, 3)]
)
def test_fixed_shrinkage_is_sklearns(shrinkage: float, n: int, width: int, classes: int) -> None:
    X, y = wide_problem(2 * n, width, classes)
    scaler = StandardScaler().fit(X[:n])
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=shrinkage)
    theirs.fit(scaler.transform(X[:n]), y[:n])
    ours = LDA(shrinkage).fit(X[:n], y[:n])
    expected = theirs.decision_function(scaler.transform(X))
    found = ours.decision_function(X)
    if classes > 2:  # decisions are free up to a number common to the row
        expected = expected - expected.mean(axis=1, keepdims=True)
        found = found - found.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=3e-3 * np.abs(expected).max())
    np.testing.assert_allclose(
        ours.predict_proba(X), theirs.predict_proba(scaler.transform(X)), atol=0.02
    )


@pytest.mark.parametrize(("n", "width"), [(200, 15), (30, 120)])
def test_ledoit_wolf_estimate_is_sklearns(n: int, width: int) -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, width)) * rng.uniform(0.2, 2, size=width)
    values = np.linalg.eigvalsh(X.T @ X / n)
    found = ledoit_wolf_shrinkage(values, np.square(X).sum(axis=1), width)
    assert found == pytest.approx(sklearn_shrinkage(X, assume_centered=True))


def test_auto_beats_almost_no_shrinkage_with_few_rows() -> None:
    X, y = load_digits(return_X_y=True)
    train, test = slice(0, 60), slice(600, None)
    auto = LDA().fit(X[train], y[train])
    assert 0 < auto.shrinkage_ < 1
    bare = LDA(1e-6).fit(X[train], y[train])
    assert auto.score(X[test], y[test]) > bare.score(X[test], y[test]) + 0.03


def test_constant_and_repeated_columns() -> None:
    X, y = wide_problem(100, 20, 3)
    X = np.hstack([X, np.full((100, 2), 7.3), X[:, :5]])
    head = LDA().fit(X, y)
    assert np.isfinite(head.predict_proba(X)).all()
    assert head.score(X, y) > 0.6


def test_no_shrinkage_of_a_singular_covariance_is_finite() -> None:
    X, y = wide_problem(40, 100, 3)
    assert np.isfinite(LDA(0.0).fit(X, y).decision_function(X)).all()
