"""k nearest neighbours by blocks of one matrix product."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.heads.scaling import column_moments, standardized

BLOCK_VALUES = 32_000_000
"""Similarities held at once (float32: 128 MB)."""

PRIOR_VOTES = 0.1
"""Weight of the uniform prior in `predict_proba`, in neighbours."""


class KNN(ClassifierMixin, BaseEstimator):
    """Vote of the k training rows most similar to a row.

    Similarities come from one matrix product a block of rows, so that memory stays bounded and
    the time is that of the product.

    Parameters
    ----------
    k : int
        Neighbours; all training rows where there are fewer.
    metric : {"cosine", "euclidean"}
    weights : {"uniform", "distance"}
        "distance": a neighbour counts 1/distance (cosine distance 1 - cos).
    standardize : bool
        Bring each column to mean 0 and variance 1 over the training rows first.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    rows_ : ndarray of shape (n_rows, n_features), float32
        Training rows as compared with: standardised, and of unit length for "cosine".
    labels_ : ndarray of shape (n_rows,), int64
        Index into `classes_` a training row.

    Notes
    -----
    `predict_proba` is (votes + 0.1/n_classes) / (k + 0.1): a uniform prior that weighs a tenth of a
    neighbour, so that a class without one has a small probability and the log loss is finite. The
    order of the classes is that of the votes; the class first in `classes_` wins a tie.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
    >>> KNN(k=1).fit(X, ["up", "up", "side", "side"]).predict([[0.2, 0.9]])
    array(['up'], dtype='<U4')
    """

    def __init__(
        self,
        k: int = 5,
        metric: str = "cosine",
        weights: str = "uniform",
        standardize: bool = True,
    ) -> None:
        self.k = k
        self.metric = metric
        self.weights = weights
        self.standardize = standardize

    def fit(self, X: Any, y: Any) -> KNN:
        """Keep the training rows.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : array-like of shape (n_rows,)

        Returns
        -------
        KNN
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        if self.metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric={self.metric!r}: write 'cosine' or 'euclidean'")
        if self.weights not in ("uniform", "distance"):
            raise ValueError(f"weights={self.weights!r}: write 'uniform' or 'distance'")
        if self.k < 1:
            raise ValueError(f"k={self.k!r}: write a whole number of 1 or more")
        check_classification_targets(y)
        self.classes_, self.labels_ = np.unique(y, return_inverse=True)
        self.mean_, self.scale_ = column_moments(X, scale=self.standardize)
        self.rows_ = self._prepare(X)
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the share of votes a class, with a uniform prior of one vote.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_classes), float64
        """
        check_is_fitted(self)
        rows = self._prepare(validate_data(self, X, dtype=np.float32, reset=False))
        step = max(1, BLOCK_VALUES // len(self.rows_))
        blocks = [self._votes(rows[i : i + step]) for i in range(0, len(rows), step)]
        votes = np.concatenate(blocks)
        votes += PRIOR_VOTES / len(self.classes_)
        return votes / votes.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class with most votes a row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        best = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[best]

    def _prepare(self, X: np.ndarray) -> np.ndarray:
        """Standardise, and for "cosine" bring rows to length 1 (rows of zeros stay)."""
        rows = standardized(X, self.mean_, self.scale_)
        if self.metric == "cosine":
            norms = np.linalg.norm(rows, axis=1, keepdims=True)
            rows /= np.where(norms > 0, norms, 1)
        return rows

    def _votes(self, rows: np.ndarray) -> np.ndarray:
        """Votes a class, of the k nearest training rows: (n_rows, n_classes), summing to k."""
        distances = rows @ self.rows_.T
        if self.metric == "cosine":
            np.subtract(1, distances, out=distances)
        else:
            distances *= -2
            distances += np.einsum("ij,ij->i", self.rows_, self.rows_)
            distances += np.einsum("ij,ij->i", rows, rows)[:, None]
        k = min(self.k, len(self.rows_))
        nearest = np.argpartition(distances, k - 1, axis=1)[:, :k]
        if self.weights == "uniform":
            weight = np.ones(nearest.shape)
        else:
            near = np.take_along_axis(distances, nearest, axis=1).clip(min=0).astype(np.float64)
            if self.metric == "euclidean":
                near = np.sqrt(near)
            weight = 1 / np.maximum(near, 1e-6)
            weight *= k / weight.sum(axis=1, keepdims=True)
        votes = np.zeros((len(rows), len(self.classes_)))
        np.add.at(votes, (np.arange(len(rows))[:, None], self.labels_[nearest]), weight)
        return votes
