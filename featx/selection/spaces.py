"""The principal axes of each fold's rows, built once and shared by all linear heads."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import numpy as np

Fold = tuple[np.ndarray, np.ndarray]
"""Row numbers to fit on, and row numbers held out."""

SHARED_BYTES = 4 * 2**30
"""Beyond it every head builds its own space a fold, one at a time."""


class RowSpaces:
    """Standardised rows on their principal axes, for every fold and for all rows.

    Which space a fold's linear problems are solved in depends on the rows alone: not on the head,
    nor on C. So it is built when first asked for, and kept.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features), or a lazy matrix
    folds : sequence of (train, held out)
        Row numbers of X.

    Attributes
    ----------
    folds : tuple of (train, held out)
    """

    def __init__(self, X: Any, folds: Sequence[Fold]) -> None:
        self.folds = tuple(folds)
        self._X = X
        n, width = X.shape
        # The rows on their axes and the way back: two float64 matrices a row set.
        bytes_needed = 16 * n * min(n, width) * (len(self.folds) + 1)
        self._shared = bytes_needed <= SHARED_BYTES

    def rows_of_fold(self, number: int, X: Any) -> Any:
        """Return all rows as a head is to see them in a fold: X, where they are the same in all."""
        return X

    def build(self) -> None:
        """Build what `of_fold` returns, ahead of threads that ask for it."""
        if self._shared and self.folds:
            self._of_folds  # noqa: B018 - cached

    def of_fold(self, number: int) -> Any:
        """Return the space of a fold's training rows; None where it is not to be shared.

        It is made of float32 products, which is enough to choose a value by.
        """
        return self._of_folds[number] if self._shared else None

    def of_all(self) -> Any:
        """Return the space of all rows; None where it is not to be shared."""
        return self._of_all if self._shared else None

    @cached_property
    def _of_folds(self) -> list[Any]:
        return _build(self._X, self.folds, np.float32)

    @cached_property
    def _of_all(self) -> Any:
        every = np.arange(self._X.shape[0])
        return _build(self._X, [(every, every[:0])], np.float64)[0]


def _build(X: Any, folds: Sequence[Fold], dtype: type[np.floating]) -> list[Any]:
    from featx.heads.linear.gram import gram_spaces
    from featx.heads.linear.space import HeldSpace
    from featx.heads.linear.threads import side_by_side

    how: dict[str, Any] = {"standardize": True, "centred": True, "dtype": dtype}
    wide = [fold for fold in folds if len(fold[0]) < X.shape[1]]
    grams = gram_spaces(X, [train for train, _ in wide], [held for _, held in wide], **how)
    tall = [train for train, _ in folds if len(train) >= X.shape[1]]
    held = side_by_side([partial(HeldSpace, X, train, **how) for train in tall])
    return [(grams if len(train) < X.shape[1] else held).pop(0) for train, _ in folds]
