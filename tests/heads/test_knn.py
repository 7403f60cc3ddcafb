"""Nearest neighbours against scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from featx.heads import knn
from featx.heads.knn import KNN


@pytest.fixture(scope="module")
def digits() -> tuple[np.ndarray, ...]:
    X, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    X = (X + rng.normal(scale=0.01, size=X.shape)).astype(np.float32)  # no ties
    return X[:600], y[:600], X[600:900], y[600:900]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("weights", ["uniform", "distance"])
@pytest.mark.parametrize("k", [1, 7])
def test_votes_are_those_of_sklearn(digits, metric: str, weights: str, k: int) -> None:
    X, y, X_test, _ = digits
    scaler = StandardScaler().fit(X)
    theirs = KNeighborsClassifier(k, metric=metric, weights=weights, algorithm="brute")
    expected = theirs.fit(scaler.transform(X), y).predict_proba(scaler.transform(X_test))
    found = KNN(k, metric, weights).fit(X, y).predict_proba(X_test)
    np.testing.assert_allclose(found, (expected * k + 0.1 / 10) / (k + 0.1), atol=2e-4)


def test_blocks_do_not_change_the_votes(digits, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y, X_test, _ = digits
    head = KNN().fit(X, y)
    expected = head.predict_proba(X_test)
    monkeypatch.setattr(knn, "BLOCK_VALUES", 7 * len(X))
    np.testing.assert_array_equal(head.predict_proba(X_test), expected)


def test_more_neighbours_than_rows_is_all_rows() -> None:
    X = np.array([[0.0, 1], [0, 2], [1, 0]])
    p = KNN(k=50, standardize=False).fit(X, [0, 0, 1]).predict_proba(X)
    np.testing.assert_allclose(p, [[2.05 / 3.1, 1.05 / 3.1]] * 3)


def test_a_row_that_is_a_training_row_has_finite_weight(digits) -> None:
    X, y, _, _ = digits
    p = KNN(3, weights="distance").fit(X, y).predict_proba(X)
    assert np.isfinite(p).all()
    assert (p.argmax(axis=1) == y).all()  # its own copy outweighs the rest


def test_zero_rows_under_cosine() -> None:
    X = np.array([[0.0, 0], [0, 1], [1, 0]])
    p = KNN(1, standardize=False).fit(X, [0, 1, 2]).predict_proba(X)
    assert np.isfinite(p).all()
