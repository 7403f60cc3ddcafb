"""Fewer rows than features: the row space, through the Gram matrix.

With ``G = X Xᵀ = V Λ Vᵀ`` the rows of ``V Λ^½`` have the same inner products as those of `X`, and
an L2-regularised linear model has its weights in the span of the rows; so solving on ``V Λ^½`` is
exact, at n coordinates instead of d features. `G` is summed over blocks of columns, so the features
are read once and never held. What standardising does to a column depends on the training rows, so a
standardised Gram matrix belongs to its row set; those of many row sets (folds, draws) are summed in
the same pass.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from featx.errors import HeadError
from featx.heads.linear.design import Design
from featx.heads.linear.device import host, place
from featx.heads.linear.scaling import prepare
from featx.heads.linear.sources import column_blocks
from featx.heads.linear.space import Space
from featx.heads.linear.threads import side_by_side

Array = NDArray[Any]
Rows = NDArray[np.integer]


class GramSpace(Space):
    """Axes from the Gram matrix of the rows: r <= n.

    Attributes
    ----------
    X : ndarray or lazy matrix
        All rows, read again by `to_features`.
    rows, held : ndarray of int
        The training rows, and others whose inner products with them were wanted.
    gram : ndarray of shape (n, n), float64
        Inner products of the training rows, prepared.
    axes : ndarray of shape (n, r), float64
        The training rows on their axes.
    held_axes : ndarray of shape (len(held), r)
        The other rows, prepared alike, on the axes.

    `dtype` is that of the products which made the Gram matrix; directions within their rounding
    are left out.
    """

    def __init__(
        self,
        X: Any,
        rows: Rows,
        held: Rows,
        gram: Array,
        cross: Array,
        mean: Array,
        inverse: Array,
        *,
        standardize: bool,
        centred: bool,
        dtype: type[np.floating] = np.float64,
    ) -> None:
        super().__init__(mean, inverse, standardize=standardize, centred=centred)
        self.X, self.rows, self.held = X, rows, held
        self.gram = gram
        values, vectors = eigh(gram, driver="evd")
        values, vectors = values[::-1], vectors[:, ::-1]
        noise = 4 * max(np.finfo(float).eps * np.sqrt(len(values)), np.finfo(dtype).eps)
        kept = values > noise * max(values[0], 0.0)
        root = np.sqrt(values[kept])
        self.axes = vectors[:, kept] * root
        if np.finfo(dtype).eps > np.finfo(float).eps:
            self.gram = self.axes @ self.axes.T  # without the rounding, which made it indefinite
        self._dual = vectors[:, kept] / root
        self.held_axes = cross @ self._dual

    def design(self, *, intercept: float = 0.0, free_intercept: bool = False) -> Design:
        """Return the rows' design matrix, by default without an intercept."""
        return Design(self.axes, intercept=intercept, free_intercept=free_intercept, gram=self.gram)

    def project(self, X: Any, rows: Rows) -> Array:
        """Return the rows that were held out when the space was built, on the axes."""
        if not np.array_equal(rows, self.held):
            raise HeadError(
                "The Gram matrix was built for other rows: name these when building it."
            )
        return self.held_axes

    def to_features(self, Q: Array) -> Array:
        """Return the coefficients on raw features, in one pass over the columns."""
        alpha = self._dual @ Q
        coef = np.empty((self.X.shape[1], Q.shape[1]))
        for part, block in column_blocks(self.X):
            B = (block[self.rows] - self.mean[part]) * self.inverse[part]
            coef[part] = self.inverse[part, None] * (B.T @ alpha)
        return coef


def gram_spaces(
    X: Any,
    row_sets: Sequence[Rows],
    held_sets: Sequence[Rows] | None = None,
    *,
    standardize: bool,
    centred: bool,
    dtype: type[np.floating] = np.float64,
) -> list[GramSpace]:
    """Build the spaces of several row sets in one pass over the columns of `X`.

    Parameters
    ----------
    X : ndarray of shape (N, d), or a lazy matrix
    row_sets : sequence of ndarray of int
        Training rows; mean and scale are theirs alone.
    held_sets : sequence of ndarray of int, optional
        For each row set, other rows to be scored without going back to the features.
    standardize, centred : bool
        Scale the columns to unit variance (and centre them), or centre them only.
    dtype : float64 or float32
        Of the products within a block of columns; sums over blocks are float64. float32 halves the
        time and is enough to choose a value by, not for fits equal to scikit-learn's.

    Returns
    -------
    list of GramSpace
    """
    d = X.shape[1]
    held_sets = list(held_sets) if held_sets else [np.empty(0, dtype=int)] * len(row_sets)
    grams = [place(np.zeros((len(rows), len(rows)))) for rows in row_sets]
    crosses = [
        place(np.zeros((len(held), len(rows))))
        for held, rows in zip(held_sets, row_sets, strict=True)
    ]
    means = [np.zeros(d) for _ in row_sets]
    inverses = [np.ones(d) for _ in row_sets]

    def add(i: int, part: slice, block: Array) -> None:
        B = block[row_sets[i]].astype(dtype, copy=False)
        mean, inverse = prepare(B, standardize=standardize, centred=centred)
        means[i][part], inverses[i][part] = mean, inverse
        B = place(B)
        grams[i] += B @ B.T
        if len(held_sets[i]):
            H = block[held_sets[i]].astype(dtype, copy=False)
            H -= mean.astype(dtype)
            H *= inverse.astype(dtype)
            crosses[i] += place(H) @ B.T

    for part, block in column_blocks(X):
        side_by_side([partial(add, i, part, block) for i in range(len(row_sets))])
    how: dict[str, Any] = {"standardize": standardize, "centred": centred, "dtype": dtype}
    sums = map(host, grams), map(host, crosses)
    sets = zip(row_sets, held_sets, *sums, means, inverses, strict=True)
    return side_by_side([partial(GramSpace, X, *each, **how) for each in sets])
