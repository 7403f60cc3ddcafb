"""Nearest class mean."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.heads.scaling import column_moments, standardized


class Centroid(ClassifierMixin, BaseEstimator):
    """The class whose mean is nearest.

    Parameters
    ----------
    metric : {"cosine", "euclidean"}
    standardize : bool
        Bring each column to mean 0 and variance 1 over the training rows first.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    centroids_ : ndarray of shape (n_classes, n_features), float32
        Class means of the standardised rows; of the rows' directions for "cosine".

    Notes
    -----
    `decision_function` is the cosine to each mean, or minus half the squared distance. As
    prototypes of few-shot learning: Snell et al., Prototypical networks (2017).

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 1.0], [0.1, 1.0], [1.0, 0.0], [1.0, 0.1]])
    >>> Centroid().fit(X, [0, 0, 1, 1]).predict([[0.2, 0.9]])
    array([0])
    """

    def __init__(self, metric: str = "cosine", standardize: bool = True) -> None:
        self.metric = metric
        self.standardize = standardize

    def fit(self, X: Any, y: Any) -> Centroid:
        """Take the class means.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : array-like of shape (n_rows,)

        Returns
        -------
        Centroid
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        if self.metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric={self.metric!r}: write 'cosine' or 'euclidean'")
        check_classification_targets(y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        self.mean_, self.scale_ = column_moments(X, scale=self.standardize)
        rows = self._prepare(X)
        self.centroids_ = np.stack(
            [rows[labels == c].mean(axis=0) for c in range(len(self.classes_))]
        )
        if self.metric == "cosine":
            _to_unit_length(self.centroids_)
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the closeness to each class mean.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_classes), or (n_rows,) where there are two classes: that of
        the second minus that of the first.
        """
        scores = self._closeness(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the nearest mean a row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        best = np.argmax(self._closeness(X), axis=1)
        return self.classes_[best]

    def _closeness(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        rows = self._prepare(validate_data(self, X, dtype=np.float32, reset=False))
        scores = rows @ self.centroids_.T
        if self.metric == "euclidean":
            # |row|² is the same for every class; left out.
            scores -= np.einsum("ij,ij->i", self.centroids_, self.centroids_) / 2
        return scores

    def _prepare(self, X: np.ndarray) -> np.ndarray:
        rows = standardized(X, self.mean_, self.scale_)
        if self.metric == "cosine":
            _to_unit_length(rows)
        return rows


def _to_unit_length(rows: np.ndarray) -> None:
    """Scale rows in place to length 1; rows of zeros stay."""
    norms = np.linalg.norm(rows, axis=1, keepdims=True)
    rows /= np.where(norms > 0, norms, 1)
