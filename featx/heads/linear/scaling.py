"""The scaling of scikit-learn's StandardScaler, in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def inverse_scale(variance: Array, mean: Array, n: int) -> Array:
    """Return 1 / standard deviation, and 1 for constant columns.

    A column counts as constant by the bound of `sklearn.preprocessing.StandardScaler`: its
    variance could be the rounding error of its mean.
    """
    eps = np.finfo(np.float64).eps
    constant = variance <= n * eps * variance + (n * mean * eps) ** 2
    return 1.0 / np.sqrt(np.where(constant, 1.0, variance))
