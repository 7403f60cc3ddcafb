"""Training rows on their principal axes, and the way back to features.

For more rows than features the axes are those of the features' covariance (`HeldSpace`, or
`featx.heads.linear.streaming` where the rows do not fit in memory), for fewer those of the Gram
matrix (`featx.heads.linear.gram`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.heads.linear.design import AnyDesign, Design
from featx.heads.linear.device import cast, host, place
from featx.heads.linear.scaling import prepare
from featx.heads.linear.sources import row_blocks

Array = NDArray[Any]


class Space(ABC):
    """The coordinates in which a linear problem is solved.

    Attributes
    ----------
    mean, inverse : ndarray of shape (d,), float64
        A feature x enters as ``(x - mean) * inverse``.
    standardize, centred : bool
        How the rows were prepared; standardised rows are centred too.
    """

    def __init__(self, mean: Array, inverse: Array, *, standardize: bool, centred: bool) -> None:
        self.mean, self.inverse = mean, inverse
        self.standardize, self.centred = standardize, centred or standardize

    @abstractmethod
    def design(self, *, intercept: float = 0.0, free_intercept: bool = False) -> AnyDesign:
        """Return the rows' design matrix on the axes, by default without an intercept."""

    @abstractmethod
    def project(self, X: Any, rows: NDArray[np.integer]) -> Array:
        """Return other rows of `X`, prepared alike, on the axes: (len(rows), r)."""

    @abstractmethod
    def to_features(self, Q: Array) -> Array:
        """Return the coefficients (d, K) on raw features of those (r, K) on the axes."""

    def intercepts(self, coef: Array, bias: Array) -> Array:
        """Return the intercepts (K,) on raw features, `bias` being those on the axes."""
        return bias - self.mean @ coef


class PrimalSpace(Space):
    """Axes from the covariance of the features: r = d.

    Attributes
    ----------
    directions : ndarray of shape (d, d)
        An axis a column.
    """

    def __init__(
        self,
        directions: Array,
        mean: Array,
        inverse: Array,
        *,
        standardize: bool,
        centred: bool,
    ) -> None:
        super().__init__(mean, inverse, standardize=standardize, centred=centred)
        self.directions = directions

    def project(self, X: Any, rows: NDArray[np.integer]) -> Array:
        """Return rows of `X`, prepared alike, on the axes."""
        out = np.empty((len(rows), len(self.mean)))
        dtype = self.directions.dtype
        mean, inverse = self.mean.astype(dtype), self.inverse.astype(dtype)
        for part, block in row_blocks(X, rows):
            out[part] = ((block.astype(dtype) - mean) * inverse) @ self.directions
        return out

    def to_features(self, Q: Array) -> Array:
        """Return the coefficients on raw features."""
        return self.inverse[:, None] * (self.directions @ Q)


class FeatureSpace(Space):
    """The features themselves, prepared: r = d.

    Nothing is factorised, so one fit of few classes is done sooner, though it takes more steps.
    """

    def __init__(
        self, X: Any, rows: NDArray[np.integer], *, standardize: bool, centred: bool
    ) -> None:
        self.axes = np.empty((len(rows), X.shape[1]))
        for part, block in row_blocks(X, rows):
            self.axes[part] = block
        mean, inverse = prepare(self.axes, standardize=standardize, centred=centred)
        super().__init__(mean, inverse, standardize=standardize, centred=centred)

    def design(self, *, intercept: float = 0.0, free_intercept: bool = False) -> Design:
        """Return the rows' design matrix, by default without an intercept."""
        return Design(self.axes, intercept=intercept, free_intercept=free_intercept)

    def project(self, X: Any, rows: NDArray[np.integer]) -> Array:
        """Return rows of `X`, prepared alike."""
        out = np.empty((len(rows), len(self.mean)))
        for part, block in row_blocks(X, rows):
            out[part] = (block - self.mean) * self.inverse
        return out

    def to_features(self, Q: Array) -> Array:
        """Return the coefficients on raw features."""
        return self.inverse[:, None] * Q


class HeldSpace(PrimalSpace):
    """The space of rows held in memory; costs a copy of them in `dtype` beside their axes."""

    def __init__(
        self,
        X: Any,
        rows: NDArray[np.integer],
        *,
        standardize: bool,
        centred: bool,
        dtype: type[np.floating] = np.float64,
    ) -> None:
        A = np.empty((len(rows), X.shape[1]), dtype)
        for part, block in row_blocks(X, rows):
            A[part] = block
        mean, inverse = prepare(A, standardize=standardize, centred=centred)
        A = place(A)
        directions = np.linalg.eigh(host(A.T @ A))[1]
        super().__init__(directions, mean, inverse, standardize=standardize, centred=centred)
        self.axes = cast(A @ place(directions), np.float64)  # where the design will be

    def design(self, *, intercept: float = 0.0, free_intercept: bool = False) -> Design:
        """Return the rows' design matrix, by default without an intercept."""
        return Design(self.axes, intercept=intercept, free_intercept=free_intercept)
