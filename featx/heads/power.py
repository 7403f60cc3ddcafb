"""Power normalisation."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, OneToOneFeatureMixin, TransformerMixin
from sklearn.utils.validation import validate_data


class SignedPower(OneToOneFeatureMixin, TransformerMixin, BaseEstimator):
    """``sign(x) |x|^alpha``, value by value: what is frequent or bursty counts less.

    Perronnin, Sánchez and Mensink, Improving the Fisher kernel for large-scale image
    classification (2010), section 3.2; alpha 0.5 is the signed square root used there.

    Parameters
    ----------
    alpha : float
        Above 0; 1 changes nothing.

    Examples
    --------
    >>> SignedPower().fit_transform([[4.0, -9.0, 0.0]])
    array([[ 2., -3.,  0.]])
    """

    def __init__(self, alpha: float = 0.5) -> None:
        self.alpha = alpha

    def fit(self, X: Any, y: Any = None) -> Self:
        """Check the rows; nothing is learnt.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)
        y : ignored

        Returns
        -------
        self
        """
        if not self.alpha > 0:
            raise ValueError(f"alpha={self.alpha!r}: write a number above 0")
        validate_data(self, X, dtype=[np.float64, np.float32])
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the powers.

        Parameters
        ----------
        X : array-like of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_features), float32 or float64 as X
        """
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        out = np.abs(X)
        np.power(out, self.alpha, out=out)
        return np.copysign(out, X, out=out)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
