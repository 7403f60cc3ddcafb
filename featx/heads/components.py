"""Principal components, as many as there can be."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted, validate_data

from featx.heads.linear.gram import gram_spaces


class Components(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Principal component analysis, exact, with no more components than the rows have.

    A number of components that suits all training rows is too many for a few shots; there all
    components are kept, which n centred rows have n - 1 of. Rows wider than their number are
    decomposed through their Gram matrix, others by scikit-learn's PCA; the components are the same.

    Parameters
    ----------
    n : int or float
        Components, or between 0 and 1 the share of the variance to keep.

    Attributes
    ----------
    mean_ : ndarray of shape (n_features,)
    components_ : ndarray of shape (n_components, n_features)
        Of length 1, the one of most variance first; the largest entry of each is positive.
    explained_variance_ratio_ : ndarray of shape (n_components,)

    Examples
    --------
    >>> X = [[0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [3.0, 3.0, 1.0], [5.0, 4.0, 1.0]]
    >>> Components(n=128).fit_transform(X).shape
    (4, 2)
    """

    def __init__(self, n: float = 0.95) -> None:
        self.n = n

    def fit(self, X: Any, y: Any = None) -> Self:
        """Find the components.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        ValueError
            Fewer than two rows, or rows that are all the same.
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        if not np.ptp(X, axis=0).any():
            raise ValueError("all rows are the same, so that there are no principal components")
        if len(X) <= X.shape[1]:
            (space,) = gram_spaces(X, [np.arange(len(X))], standardize=False, centred=True)
            ratios = self._keep(np.einsum("ij,ij->j", space.axes, space.axes))
            chosen = np.eye(space.axes.shape[1], len(ratios))
            mean, components = space.mean, space.to_features(chosen).T
        else:
            pca = PCA(svd_solver="covariance_eigh").fit(X.astype(np.float64))
            ratios = self._keep(pca.explained_variance_)
            mean, components = pca.mean_, pca.components_[: len(ratios)]
        largest = np.take_along_axis(
            components, np.abs(components).argmax(axis=1, keepdims=True), axis=1
        )
        self.mean_ = mean.astype(X.dtype)
        self.components_ = (components * np.sign(largest)).astype(X.dtype)
        self.explained_variance_ratio_ = ratios
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the rows on the components.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_components), float32 or float64 as X
        """
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        out: np.ndarray = X @ self.components_.T
        out -= self.mean_ @ self.components_.T
        return out

    def _keep(self, variances: np.ndarray) -> np.ndarray:
        """Return the shares of variance of the components to keep; `variances` descend."""
        ratios = variances[variances > 0] / variances.sum()
        if 0 < self.n < 1:
            return ratios[: int(np.searchsorted(ratios.cumsum(), self.n, side="right")) + 1]
        return ratios[: int(self.n)]

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
