"""Training rows on their principal axes, and the way back to features.

`primal_space` takes the axes from the features' covariance, for more rows than features;
`featx.heads.linear.gram` from the Gram matrix, for fewer.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.heads.linear.scaling import inverse_scale
from featx.heads.linear.sources import row_blocks

Array = NDArray[Any]


class Space:
    """The coordinates in which a linear problem is solved.

    Attributes
    ----------
    axes : ndarray of shape (n, r), float64
        The rows, centred and scaled as asked for, on their principal axes.
    mean, inverse : ndarray of shape (d,), float64
        A feature x enters as ``(x - mean) * inverse``.
    standardize, centred : bool
        How the rows were prepared; standardised rows are centred too.
    """

    axes: Array
    mean: Array
    inverse: Array

    def __init__(self, *, standardize: bool, centred: bool) -> None:
        self.standardize, self.centred = standardize, centred or standardize

    def to_features(self, Q: Array) -> Array:
        """Return the coefficients (d, K) on raw features of those (r, K) on the axes."""
        raise NotImplementedError

    def intercepts(self, coef: Array, bias: Array) -> Array:
        """Return the intercepts (K,) on raw features, `bias` being those on the axes."""
        return bias - self.mean @ coef


class PrimalSpace(Space):
    """Axes from the covariance of the features: r = d."""

    def __init__(
        self,
        axes: Array,
        directions: Array,
        mean: Array,
        inverse: Array,
        *,
        standardize: bool,
        centred: bool,
    ) -> None:
        super().__init__(standardize=standardize, centred=centred)
        self.axes, self.directions, self.mean, self.inverse = axes, directions, mean, inverse

    def to_features(self, Q: Array) -> Array:
        return self.inverse[:, None] * (self.directions @ Q)


def primal_space(
    X: Any, rows: NDArray[np.integer], *, standardize: bool, centred: bool
) -> PrimalSpace:
    """Build the space of rows in memory; costs one float64 copy of them beside its axes."""
    A = np.empty((len(rows), X.shape[1]))
    for part, block in row_blocks(X, rows):
        A[part] = block
    mean, inverse = np.zeros(A.shape[1]), np.ones(A.shape[1])
    if standardize or centred:
        mean = A.mean(axis=0)
        A -= mean
    if standardize:
        inverse = inverse_scale(np.einsum("ij,ij->j", A, A) / len(A), mean, len(A))
        A *= inverse
    directions = np.linalg.eigh(A.T @ A)[1][:, ::-1]
    return PrimalSpace(
        A @ directions, directions, mean, inverse, standardize=standardize, centred=centred
    )
