"""Nearest class means against scikit-learn's, and by hand."""

from __future__ import annotations

import numpy as np
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestCentroid

from featx.heads.centroid import Centroid


def test_euclidean_predicts_as_sklearn_does() -> None:
    X, y = load_digits(return_X_y=True)
    # Without its constant columns, of which scikit-learn warns.
    X = X + np.random.default_rng(0).normal(scale=0.01, size=X.shape)
    ours = Centroid("euclidean", standardize=False).fit(X[:1000], y[:1000]).predict(X[1000:])
    theirs = NearestCentroid().fit(X[:1000], y[:1000]).predict(X[1000:])
    assert (ours == theirs).mean() > 0.998  # but for ties of float32


def test_decision_is_the_cosine_to_each_mean() -> None:
    X = np.array([[3.0, 0], [1, 0], [0, 2], [0, 1], [-1, -1], [-2, -2]])
    head = Centroid(standardize=False).fit(X, [0, 0, 1, 1, 2, 2])
    found = head.decision_function([[5.0, 5.0]])
    np.testing.assert_allclose(found, [[np.sqrt(0.5), np.sqrt(0.5), -1]], atol=1e-6)


def test_one_row_a_class_is_the_nearest_row() -> None:
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 8))
    head = Centroid("euclidean", standardize=False).fit(X, list("abcde"))
    assert "".join(head.predict(X + 0.01)) == "abcde"


def test_two_classes_have_one_decision() -> None:
    X = np.array([[0.0, 1], [0, 2], [1, 0], [2, 0]])
    head = Centroid().fit(X, [0, 0, 1, 1])
    decisions = head.decision_function(X)
    assert decisions.shape == (4,)
    np.testing.assert_array_equal(decisions > 0, [False, False, True, True])
