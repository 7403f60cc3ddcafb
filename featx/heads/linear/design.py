"""The design matrix on its principal axes, where L2-regularised problems are solved.

Rotating the features by an orthogonal matrix leaves an L2-regularised linear problem as it is, and
directions in which no row extends have coefficient zero. So a problem of n rows and d features has
r <= min(n, d) coordinates, and on the principal axes its Hessian is close to diagonal.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError
from scipy.linalg.lapack import dposv

from featx.heads.linear.device import Array, beside, cast, dots, host, namespace, place, precision
from featx.heads.linear.losses import Loss

BLOCK_ROWS = 2048
FEW_COLUMNS = 32
CACHED_BYTES = 1 << 19
"""A block of rows that stays in a processor's own cache between a product and its transpose; of few
columns a product is as fast as its matrix is read."""


class Product(Protocol):
    """``P -> penalty ∘ P + C Aᵀ H A P``, `H` the Hessian of the loss in the decision values."""

    def __call__(self, P: Array) -> Array:
        """Apply to `P` of shape (r, K)."""

    def take(self, columns: NDArray[np.integer]) -> Self:
        """Return the product of some of the problems."""


class AnyDesign(Protocol):
    """A design matrix `A` with its intercept column, held or streamed."""

    rows: int
    width: int
    penalty: Array
    largest: float

    def split(self, Q: Array) -> tuple[Array, Array]:
        """Return the coefficients of the axes and the intercepts, (K,)."""

    def forward(self, Q: Array, dtype: Any) -> Array:
        """Return ``A Q``, computed in `dtype`."""

    def adjoint(self, R: Array) -> Array:
        """Return ``Aᵀ R``, computed in the precision of `R`; float64."""

    def diagonal(self, D: Array, *, by_row: bool) -> Array:
        """Return the diagonals of ``Aᵀ diag(D_k) A``, shape (r, K); may be approximate.

        Without `by_row`, about: as if `D` did not depend on the row, which costs no product.
        """

    def hessian(self, loss: Loss, curvature: Array, C: float) -> Product:
        """Return the Hessian as a `Product` in the precision of `curvature`."""

    def newton_step_seconds(self, active: Array) -> Array:
        """Return about what a column of `newton_steps` takes with so many active rows."""

    def newton_steps(self, curvature: Array, C: float, gradient: Array) -> Array:
        """Solve ``(diag(penalty) + C Aᵀ diag(curvature_k) A) p_k = -gradient_k`` for each k."""

    def moments(self, weights: Array, Y: Array) -> tuple[Array, Array, Array]:
        """Return ``wᵀ A``, ``Aᵀ diag(w) A`` and ``Aᵀ diag(w) Y``, for a design of no intercept."""


class Design:
    """A design matrix in memory.

    Parameters
    ----------
    axes : ndarray of shape (n, r), float64
        The rows on their principal axes.
    intercept : float
        Value of a constant column to add, whose coefficient is penalised like any; 0 is none.
    free_intercept : bool
        Whether to add a column of ones whose coefficient is not penalised.
    gram : ndarray of shape (n, n), optional
        ``axes @ axes.T``, where it is at hand.
    """

    def __init__(
        self,
        axes: Array,
        *,
        intercept: float = 0.0,
        free_intercept: bool = False,
        gram: Array | None = None,
    ) -> None:
        self._gram = gram
        axes = place(axes)
        xp = namespace(axes)
        self.intercept = 1.0 if free_intercept else intercept
        if self.intercept:
            constant = xp.full_like(axes[:, :1], self.intercept)
            axes = xp.concatenate([axes, constant], axis=1)
        self.matrix = axes
        self.single = cast(axes, np.float32, order="C")
        self.rows, self.width = axes.shape
        self.penalty = np.ones(self.width)
        if free_intercept:
            self.penalty[-1] = 0.0
        self._squares = host(dots(axes, axes, "ij,ij->j"))
        self.largest = float(np.sqrt(self._squares.max(initial=0.0)))

    def split(self, Q: Array) -> tuple[Array, Array]:
        """Return the coefficients of the axes and the intercepts, (K,)."""
        if self.intercept:
            return Q[:-1], self.intercept * Q[-1]
        return Q, np.zeros(Q.shape[1])

    def forward(self, Q: Array, dtype: Any) -> Array:
        """Return ``A Q``, computed in `dtype`."""
        return self._in(dtype) @ cast(Q, dtype)

    def adjoint(self, R: Array) -> Array:
        """Return ``Aᵀ R``, computed in the precision of `R`; float64."""
        return cast(self._in(precision(R)).T @ R, np.float64)

    def _in(self, dtype: Any) -> Array:
        return self.single if dtype == np.float32 else self.matrix

    def diagonal(self, D: Array, *, by_row: bool) -> Array:
        """Return the diagonals of ``Aᵀ diag(D_k) A``, shape (r, K), about where not `by_row`."""
        if not by_row:
            mean = D.mean(axis=0, dtype=namespace(D).float64)
            return cast(beside(self._squares[:, None], D) * mean, np.float32)
        out = beside(np.zeros((self.width, D.shape[1]), dtype=np.float32), D)
        D = cast(D, np.float32)
        for start in range(0, self.rows, BLOCK_ROWS):
            block = self.single[start : start + BLOCK_ROWS]
            out += (block * block).T @ D[start : start + BLOCK_ROWS]
        return out

    def hessian(self, loss: Loss, curvature: Array, C: float) -> Product:
        """Return the Hessian as a `Product` in the precision of `curvature`.

        Rows without curvature are left out.
        """
        matrix = self._in(precision(curvature))
        penalty = beside(self.penalty[:, None].astype(precision(matrix)), matrix)
        active = host(curvature.any(axis=1))
        if active.mean() < 0.7:
            return _DenseProduct(matrix[active], penalty, loss, curvature[active], C)
        return _DenseProduct(matrix, penalty, loss, curvature, C)

    def newton_step_seconds(self, active: Array) -> Array:
        """Return about what a column of `newton_steps` takes with so many active rows."""
        short, long = np.minimum(active, self.width), np.maximum(active, self.width)
        product = 2.5e-9 * short**2 if self._gram is not None else short**2 * long / 5e10
        return 1e-4 + product + short**3 / 1.5e11

    def newton_steps(self, curvature: Array, C: float, gradient: Array) -> Array:
        """Solve ``(diag(penalty) + C Aᵀ diag(curvature_k) A) p_k = -gradient_k`` by Cholesky."""
        matrix, slopes = self.matrix, host(self.matrix @ gradient)
        curvature, gradient = host(curvature), host(gradient)
        steps = np.empty_like(gradient)
        dual = np.zeros_like(curvature, dtype=np.float64)
        by_rows = np.zeros(gradient.shape[1], dtype=bool)
        for k in range(gradient.shape[1]):
            rows = np.flatnonzero(curvature[:, k])
            by_rows[k] = len(rows) < self.width and self.penalty.all()
            if by_rows[k]:  # Woodbury: a system the size of the rows that count
                S = self._inner_products(rows)
                S[np.diag_indices_from(S)] += 1.0 / (C * curvature[rows, k])
                dual[rows, k] = solve_positive(S, slopes[rows, k])
            else:
                B = matrix[rows] * beside(np.sqrt(C * curvature[rows, k])[:, None], matrix)
                steps[:, k] = solve_newton(host(B.T @ B), self.penalty, gradient[:, k])
        if by_rows.any():
            back = host(matrix.T @ beside(dual[:, by_rows], matrix))
            steps[:, by_rows] = back - gradient[:, by_rows]
        return beside(steps, matrix)

    def _inner_products(self, rows: NDArray[np.integer]) -> np.ndarray:
        if self._gram is None:
            A = self.matrix[rows]
            return host(A @ A.T)
        return self._gram[np.ix_(rows, rows)] + self.intercept**2

    def moments(self, weights: Array, Y: Array) -> tuple[Array, Array, Array]:
        """Return ``wᵀ A``, ``Aᵀ diag(w) A`` and ``Aᵀ diag(w) Y``, for a design of no intercept."""
        root = place(np.sqrt(weights)[:, None])
        B = self.matrix * root
        return host(B.T @ root[:, 0]), host(B.T @ B), host(B.T @ (place(Y) * root))


def solve_newton(H: Array, penalty: Array, gradient: Array) -> Array:
    """Return ``-(H + diag(penalty))⁻¹ gradient``; overwrites `H`."""
    diagonal = np.diag_indices_from(H)
    H[diagonal] = (H[diagonal] + penalty) * (1.0 + 1e-14)
    return -solve_positive(H, gradient)


def solve_positive(H: Array, right: Array) -> Array:
    """Return ``H⁻¹ right`` of a symmetric positive definite `H`, which is overwritten."""
    _, solution, flaw = dposv(H.T, right, lower=1, overwrite_a=1)
    if flaw:
        raise LinAlgError(f"the Hessian is not positive definite (minor {flaw})")
    return solution


class _DenseProduct:
    def __init__(self, A: Array, penalty: Array, loss: Loss, curvature: Array, C: float) -> None:
        self.A, self.penalty, self.loss, self.curvature, self.C = A, penalty, loss, curvature, C

    def __call__(self, P: Array) -> Array:
        out = namespace(P).zeros_like(P)
        size = BLOCK_ROWS
        if not isinstance(P, np.ndarray):
            size = len(self.A)  # an accelerator has no use for blocks
        elif P.shape[1] <= FEW_COLUMNS:
            size = max(64, CACHED_BYTES // (self.A.itemsize * self.A.shape[1]))
        for start in range(0, len(self.A), size):
            rows = slice(start, start + size)
            A = self.A[rows]
            out += A.T @ self.loss.hessian_times(self.curvature, A @ P, rows)
        out *= precision(P)(self.C)
        out += self.penalty * P
        return out

    def take(self, columns: NDArray[np.integer]) -> _DenseProduct:
        return _DenseProduct(
            self.A, self.penalty, self.loss.take(columns), self.curvature[:, columns], self.C
        )
