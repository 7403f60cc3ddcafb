"""Linear discriminant analysis in the smaller of row and column space."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.heads.scaling import column_moments, standardized


class LDA(ClassifierMixin, BaseEstimator):
    """Gaussian classes with one covariance, shrunken towards a multiple of the identity.

    The covariance is (1 - s) S + s tr(S)/d I with the pooled within-class covariance S of the
    standardised rows. Its inverse is taken through S's eigenvectors where rows outnumber columns,
    else through those of the rows' Gram matrix (exact), so that wide features cost no more than
    their rows.

    Parameters
    ----------
    shrinkage : "auto" or float
        s, from 0 to 1. "auto" is the estimate of Ledoit and Wolf (2004), "A well-conditioned
        estimator for large-dimensional covariance matrices", over the pooled rows.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
    coef_ : ndarray of shape (n_classes, n_features), float64
    intercept_ : ndarray of shape (n_classes,), float64
        For two classes both have one row, of the second class against the first. On unscaled
        columns: the standardisation is folded in.
    shrinkage_ : float
        s as used.
    priors_ : ndarray of shape (n_classes,)
        Shares of the training rows.

    Notes
    -----
    With a fixed `shrinkage` this is scikit-learn's LinearDiscriminantAnalysis(solver="lsqr") on
    standardised columns. With "auto" scikit-learn estimates s a class; here it is one estimate
    from all rows, which is steadier with few rows a class.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.array([[0.0, 1.0], [0.1, 1.1], [1.0, 0.0], [1.1, 0.2]])
    >>> LDA().fit(X, [0, 0, 1, 1]).predict([[0.2, 0.9]])
    array([0])
    """

    def __init__(self, shrinkage: float | str = "auto") -> None:
        self.shrinkage = shrinkage

    def fit(self, X: Any, y: Any) -> LDA:
        """Estimate means and covariance.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : array-like of shape (n_rows,)

        Returns
        -------
        LDA
        """
        X, y = validate_data(self, X, y, dtype=np.float32)
        check_classification_targets(y)
        if self.shrinkage != "auto" and not (
            isinstance(self.shrinkage, (int, float)) and 0 <= self.shrinkage <= 1
        ):
            raise ValueError(f"shrinkage={self.shrinkage!r}: write 'auto' or a number from 0 to 1")
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError("LDA needs at least two classes; the training rows have 1 class")
        counts = np.bincount(labels)
        self.priors_ = counts / len(labels)
        mean, scale = column_moments(X)
        rows = standardized(X, mean, scale)
        means = np.stack([rows[labels == c].mean(axis=0) for c in range(len(counts))])
        rows -= means[labels]
        directions = self._whiten(rows, means.astype(np.float64))
        offsets = np.log(self.priors_) - 0.5 * np.einsum("cj,cj->c", directions, means)
        coef = directions / scale
        intercept = offsets - coef @ mean
        if len(counts) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_ = coef, intercept
        return self

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the log posterior of each class, up to a number common to the row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_classes), or (n_rows,) where there are two classes: the log
        odds of the second.
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        scores = X @ self.coef_.T + self.intercept_
        return scores.ravel() if len(self.classes_) == 2 else scores

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the posterior probability of each class.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_classes), float64
        """
        scores = self.decision_function(X)
        if scores.ndim == 1:
            scores = np.stack([np.zeros_like(scores), scores], axis=1)
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return scores / scores.sum(axis=1, keepdims=True)

    def predict(self, X: Any) -> np.ndarray:
        """Return the most probable class a row.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        best = np.argmax(self.predict_proba(X), axis=1)
        return self.classes_[best]

    def _whiten(self, rows: np.ndarray, means: np.ndarray) -> np.ndarray:
        """Return `means` times the inverse of the shrunken covariance of centred `rows`."""
        n, width = rows.shape
        wide = width > n
        gram = (rows @ rows.T if wide else rows.T @ rows).astype(np.float64) / n
        values, vectors = np.linalg.eigh(gram)
        values = values.clip(min=0)
        level = values.sum() / width  # tr(S)/d
        if self.shrinkage == "auto":
            norms = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
            self.shrinkage_ = ledoit_wolf_shrinkage(values, norms, width)
        else:
            self.shrinkage_ = float(self.shrinkage)
        keep = values > max(n, width) * np.finfo(np.float32).eps * values.max(initial=0)
        values, vectors = values[keep], vectors[:, keep]
        if wide:  # left singular vectors to right ones: directions in column space
            vectors = (rows.T @ vectors.astype(np.float32)) / np.sqrt(n * values)
            vectors = vectors.astype(np.float64)
        shrunken = (1 - self.shrinkage_) * values + self.shrinkage_ * level
        floor = self.shrinkage_ * level
        inside = means @ vectors
        if floor == 0:  # no shrinkage, or no variance: pseudo-inverse, as least squares has it
            weights = np.divide(1, shrunken, where=shrunken > 0, out=np.zeros_like(shrunken))
            return (inside * weights) @ vectors.T
        return means / floor + (inside * (1 / shrunken - 1 / floor)) @ vectors.T


def ledoit_wolf_shrinkage(values: np.ndarray, sq_norms: np.ndarray, width: int) -> float:
    """Return the shrinkage of Ledoit and Wolf (2004) from what Gram and covariance share.

    Parameters
    ----------
    values : ndarray
        Eigenvalues of the covariance (those that are zero may be missing).
    sq_norms : ndarray of shape (n_rows,)
        Squared length of each centred row.
    width : int
        Number of columns d.

    Returns
    -------
    float
        From 0 to 1.
    """
    n = len(sq_norms)
    trace, squares = values.sum(), np.square(values).sum()
    spread = squares - trace**2 / width  # |S - tr(S)/d I|², Frobenius
    noise = (np.square(sq_norms).sum() / n - squares) / n
    return float(np.clip(noise / spread, 0, 1)) if spread > 0 else 0.0
