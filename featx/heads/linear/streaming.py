"""More rows than memory: the design matrix read again, by blocks of rows, for every product.

The axes are the principal axes as in memory, from covariances summed in one pass; the rotation is
applied to the coefficients instead of the rows. A Hessian product is one pass over the rows, so a
fit costs about as many passes as it takes conjugate-gradient iterations; what is held is a block of
rows, matrices of features × features, and arrays of rows × classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.heads.linear.design import Product, solve_newton
from featx.heads.linear.device import Array, beside, cast, host, namespace, place, precision
from featx.heads.linear.losses import Loss
from featx.heads.linear.scaling import inverse_scale
from featx.heads.linear.sources import row_blocks
from featx.heads.linear.space import PrimalSpace


class StreamedSpace(PrimalSpace):
    """The space of rows that are not held."""

    def __init__(
        self, X: Any, rows: NDArray[np.integer], *, standardize: bool, centred: bool
    ) -> None:
        d = X.shape[1]
        mean, square, seen = np.zeros(d), np.zeros((d, d)), 0
        for _, block in row_blocks(X, rows):
            # Chan, Golub and LeVeque 1983: merge the moments of one block after the other.
            B = block.astype(np.float64)
            centre = B.mean(axis=0)
            B -= centre
            shift, total = centre - mean, seen + len(B)
            B = place(B)
            square += host(B.T @ B)
            square += np.outer(shift, shift) * (seen * len(B) / total)
            mean, seen = mean + shift * (len(B) / total), total
        inverse = np.ones(d)
        if standardize:
            inverse = inverse_scale(np.diag(square) / seen, mean, seen)
            square *= np.outer(inverse, inverse)
        elif not centred:
            square += seen * np.outer(mean, mean)
            mean = np.zeros(d)
        self.values, directions = np.linalg.eigh(square)
        super().__init__(directions, mean, inverse, standardize=standardize, centred=centred)
        self.X, self.rows = X, rows

    def design(self, *, intercept: float = 0.0, free_intercept: bool = False) -> StreamedDesign:
        """Return the design matrix, by default without an intercept."""
        return StreamedDesign(self, 1.0 if free_intercept else intercept, free=free_intercept)


class StreamedDesign:
    """The counterpart of `featx.heads.linear.design.Design` that holds no rows."""

    def __init__(self, space: StreamedSpace, intercept: float, *, free: bool) -> None:
        self.space, self.intercept = space, intercept
        self.rows, self.width = len(space.rows), len(space.values) + bool(intercept)
        self.penalty = np.ones(self.width)
        squares = np.maximum(space.values, 0.0)
        if intercept:
            squares = np.append(squares, self.rows * intercept**2)
            self.penalty[-1] = 0.0 if free else 1.0
        self._squares = place(squares[:, None])
        self._directions = place(space.directions)
        self.largest = float(np.sqrt(squares.max(initial=0.0)))

    def split(self, Q: Array) -> tuple[Array, Array]:
        """Return the coefficients of the axes and the intercepts, (K,)."""
        if self.intercept:
            return Q[:-1], self.intercept * Q[-1]
        return Q, np.zeros(Q.shape[1])

    def forward(self, Q: Array, dtype: Any) -> Array:
        """Return ``A Q``, computed in `dtype`."""
        W = cast(self._to_features(Q), dtype)
        Z = beside(np.empty((self.rows, Q.shape[1]), dtype=dtype), W)
        for part, B in self._blocks(dtype):
            Z[part] = B @ W
        return Z

    def adjoint(self, R: Array) -> Array:
        """Return ``Aᵀ R``, computed in the precision of `R`; float64."""
        total = beside(np.zeros((self.width, R.shape[1])), R)
        for part, B in self._blocks(precision(R)):
            total += B.T @ R[part]
        return self._to_axes(total)

    def diagonal(self, D: Array, *, by_row: bool) -> Array:
        """Return about the diagonals of ``Aᵀ diag(D_k) A``, as if `D` did not depend on the row."""
        return self._squares * D.mean(axis=0, dtype=namespace(D).float64)

    def hessian(self, loss: Loss, curvature: Array, C: float) -> Product:
        """Return the Hessian as a product of one pass, in the precision of `curvature`."""
        return _StreamedProduct(self, loss, curvature, C)

    def newton_step_seconds(self, active: Array) -> Array:
        """Return about what a column of `newton_steps` takes with so many active rows."""
        passes = self.rows * self.width * 8 / 1e9
        return passes + (active * self.width**2 + self.width**3 / 3) / 5e10

    def newton_steps(self, curvature: Array, C: float, gradient: Array) -> Array:
        """Solve ``(diag(penalty) + C Aᵀ diag(curvature_k) A) p_k = -gradient_k`` by Cholesky."""
        curvature, columns = host(curvature), range(gradient.shape[1])
        steps = [self._step(curvature[:, k], C, gradient[:, k]) for k in columns]
        return namespace(gradient).stack(steps, axis=1)

    def _step(self, curvature: np.ndarray, C: float, gradient: Array) -> Array:
        H = place(np.zeros((self.width, self.width)))
        for part, B in self._blocks(np.float64):
            active = curvature[part] > 0
            scaled = B[active] * beside(np.sqrt(C * curvature[part][active])[:, None], B)
            H += scaled.T @ scaled
        penalty = np.ones(self.width)
        penalty[len(self.space.mean) :] = self.penalty[len(self.space.mean) :]
        gradient_w = host(self._to_features(gradient[:, None]))[:, 0]
        step = solve_newton(host(H), penalty, gradient_w)
        return self._to_axes(beside(step[:, None], gradient))[:, 0]

    def moments(self, weights: Array, Y: Array) -> tuple[Array, Array, Array]:
        """Return ``wᵀ A``, ``Aᵀ diag(w) A`` and ``Aᵀ diag(w) Y``, without an intercept."""
        d = len(self.space.mean)
        total, square, cross = map(
            place, (np.zeros(d), np.zeros((d, d)), np.zeros((d, Y.shape[1])))
        )
        for part, B in self._blocks(np.float64):
            weighted = B[:, :d] * beside(weights[part, None], B)
            total += weighted.sum(axis=0)
            square += weighted.T @ B[:, :d]
            cross += weighted.T @ beside(Y[part], B)
        V = self._directions
        return host(V.T @ total), host(V.T @ square @ V), host(V.T @ cross)

    def _blocks(self, dtype: Any) -> Any:
        """Yield (slice, prepared rows), the constant column of the intercept included."""
        space = self.space
        mean, inverse = space.mean.astype(dtype), space.inverse.astype(dtype)
        d = len(mean)
        for part, block in row_blocks(space.X, space.rows):
            B = np.empty((len(block), self.width), dtype=dtype)
            np.subtract(block, mean, out=B[:, :d], casting="same_kind")
            B[:, :d] *= inverse
            B[:, d:] = self.intercept
            yield part, place(B)

    def _to_features(self, Q: Array) -> Array:
        Q, d = cast(Q, np.float64), len(self.space.mean)
        return namespace(Q).concatenate([self._directions @ Q[:d], Q[d:]])

    def _to_axes(self, W: Array) -> Array:
        d = len(self.space.mean)
        return namespace(W).concatenate([self._directions.T @ W[:d], W[d:]])


class _StreamedProduct:
    def __init__(self, design: StreamedDesign, loss: Loss, curvature: Array, C: float) -> None:
        self.design, self.loss, self.curvature, self.C = design, loss, curvature, C

    def __call__(self, P: Array) -> Array:
        design = self.design
        dtype = precision(P)
        W = cast(design._to_features(P), dtype)
        total = beside(np.zeros(W.shape), W)
        for part, B in design._blocks(dtype):
            total += B.T @ self.loss.hessian_times(self.curvature, B @ W, part)
        penalty = beside(design.penalty[:, None], P)
        return cast(penalty * P + self.C * design._to_axes(total), dtype)

    def take(self, columns: NDArray[np.integer]) -> _StreamedProduct:
        return _StreamedProduct(
            self.design, self.loss.take(columns), self.curvature[:, columns], self.C
        )
