"""The scaling of scikit-learn's StandardScaler."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def inverse_scale(variance: Array, mean: Array, n: int, dtype: Any = np.float64) -> Array:
    """Return 1 / standard deviation, and 1 for constant columns.

    A column counts as constant by the bound of `sklearn.preprocessing.StandardScaler`: its
    variance could be the rounding error of its mean, taken off in `dtype`.
    """
    eps = np.finfo(dtype).eps
    constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    return 1.0 / np.sqrt(np.where(constant, 1.0, variance))


def prepare(A: Array, *, standardize: bool, centred: bool) -> tuple[Array, Array]:
    """Centre and scale the columns of `A` (n, d) in place.

    Returns
    -------
    mean, inverse : ndarray of shape (d,), float64
        A column x became ``(x - mean) * inverse``.
    """
    mean, inverse = np.zeros(A.shape[1]), np.ones(A.shape[1])
    if standardize or centred:
        mean = A.mean(axis=0, dtype=np.float64)
        A -= mean.astype(A.dtype)
    if standardize:
        variance = np.einsum("ij,ij->j", A, A).astype(np.float64) / len(A)
        inverse = inverse_scale(variance, mean, len(A), A.dtype)
        A *= inverse.astype(A.dtype)
    return mean, inverse
