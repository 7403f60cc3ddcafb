"""The principal axes of each fold's rows, built once and shared by all linear heads."""

from __future__ import annotations

from collections.abc import Sequence
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
        self._spaces: list[Any] | None = None

    def rows_of_fold(self, number: int, X: Any) -> Any:
        """Return all rows as a head is to see them in a fold: X, where they are the same in all."""
        return X

    def of_fold(self, number: int) -> Any:
        """Return the space of a fold's training rows; None where it is not to be shared."""
        return self._all()[number] if self._shared else None

    def of_all(self) -> Any:
        """Return the space of all rows; None where it is not to be shared."""
        return self._all()[-1] if self._shared else None

    def _all(self) -> list[Any]:
        if self._spaces is None:
            from featx.heads.linear.gram import gram_spaces
            from featx.heads.linear.space import HeldSpace

            n, width = self._X.shape
            prepared = {"standardize": True, "centred": True}
            row_sets = [train for train, _ in self.folds] + [np.arange(n)]
            held_sets = [held for _, held in self.folds] + [np.arange(0)]
            wide = [i for i, rows in enumerate(row_sets) if len(rows) < width]
            spaces = gram_spaces(
                self._X, [row_sets[i] for i in wide], [held_sets[i] for i in wide], **prepared
            )
            found = dict(zip(wide, spaces, strict=True))
            self._spaces = [
                found[i] if i in found else HeldSpace(self._X, rows, **prepared)
                for i, rows in enumerate(row_sets)
            ]
        return self._spaces
