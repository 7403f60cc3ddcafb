"""Mean and scale a column, as scikit-learn's StandardScaler has them."""

from __future__ import annotations

import numpy as np

BLOCK_ROWS = 4096


def column_moments(X: np.ndarray, *, scale: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each column.

    Sums are taken in float64 by blocks of rows. A column whose deviation is no more than rounding
    of its mean counts as constant and gets scale 1, as in StandardScaler.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    scale : bool
        False gives mean 0 and scale 1: no standardisation.

    Returns
    -------
    mean, scale : ndarray of shape (n_features,), float64
    """
    n, width = X.shape
    if not scale:
        return np.zeros(width), np.ones(width)
    mean = X.mean(axis=0, dtype=np.float64)
    squares = np.zeros(width)
    for start in range(0, n, BLOCK_ROWS):
        block = X[start : start + BLOCK_ROWS] - mean
        squares += np.einsum("ij,ij->j", block, block)
    variance = squares / n
    rounding = n * np.finfo(np.float64).eps
    constant = variance <= rounding * variance + (rounding * mean) ** 2
    constant |= np.ptp(X, axis=0) == 0
    return mean, np.sqrt(np.where(constant, 1.0, variance))


def standardized(X: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Return (X - mean) / scale as float32, a new array."""
    out = X.astype(np.float32, copy=True)
    out -= mean.astype(np.float32)
    out /= scale.astype(np.float32)
    return out
