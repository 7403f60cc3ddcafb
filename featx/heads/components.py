"""Principal components, as many as there can be."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted, validate_data

COVARIANCE_WIDTH = 4096
"""Widest rows of which a covariance matrix is made."""


class Components(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """scikit-learn's PCA, exact, with no more components than the rows have.

    A number of components that suits all training rows is too many for a few shots; there all
    components are kept, which n centred rows have n - 1 of.

    Parameters
    ----------
    n : int or float
        Components, or between 0 and 1 the share of the variance to keep.

    Attributes
    ----------
    pca_ : PCA

    Examples
    --------
    >>> X = [[0.0, 0.0, 1.0], [1.0, 1.0, 1.0], [3.0, 3.0, 1.0]]
    >>> Components(n=128).fit_transform(X).shape
    (3, 2)
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
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        rows, width = X.shape
        tall = width <= min(rows, COVARIANCE_WIDTH)
        most = max(1, min(rows - 1, width))
        self.pca_ = PCA(
            n_components=self.n if 0 < self.n < 1 else min(self.n, most),
            svd_solver="covariance_eigh" if tall else "full",
        ).fit(X)
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
        return self.pca_.transform(X)

    @property
    def _n_features_out(self) -> int:
        return int(self.pca_.n_components_)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
