"""Rows and columns of features, whether they lie in memory or in a cache.

A lazy matrix has `shape`, `dtype`, `rows(indices)` and `columns(start, stop)`, as the feature
cache's arrays do; anything else is taken for an ndarray.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_BYTES = 64 * 2**20
"""Size of a block, counted in float64."""


def is_lazy(X: Any) -> bool:
    """Return whether `X` is read from elsewhere, a part at a time."""
    return callable(getattr(X, "rows", None)) and callable(getattr(X, "columns", None))


def row_blocks(
    X: Any, rows: NDArray[np.integer], size: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield ``(slice into rows, those rows of X)`` until all `rows` are done."""
    size = size or max(1, BLOCK_BYTES // (8 * X.shape[1]))
    everything = len(rows) == X.shape[0] and bool((rows == np.arange(len(rows))).all())
    for start in range(0, len(rows), size):
        part = slice(start, min(start + size, len(rows)))
        if is_lazy(X):
            yield part, np.asarray(X.rows(rows[part]))
        else:
            yield part, X[part] if everything else X[rows[part]]


def column_blocks(X: Any, size: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield ``(slice, those columns of X)`` from left to right."""
    size = size or max(1, BLOCK_BYTES // (8 * X.shape[0]))
    for start in range(0, X.shape[1], size):
        part = slice(start, min(start + size, X.shape[1]))
        yield part, np.asarray(X.columns(part.start, part.stop)) if is_lazy(X) else X[:, part]
