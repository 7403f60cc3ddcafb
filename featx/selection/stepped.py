"""Rows after the steps before a head; what is fitted sees a fold's training rows alone.

Steps that look at one row at a time come first for all rows at once, and what is linear in the rest
still happens in the shared spaces. From the first fitted step on, every fold has rows of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import clone

from featx.errors import HeadError
from featx.heads.linear.sources import is_lazy, row_blocks
from featx.heads.steps import STEPS, make_steps
from featx.memory import total_memory
from featx.records import StepSpec
from featx.selection.spaces import SHARED_BYTES, Fold, RowSpaces


class SteppedRows:
    """The rows of one draw as the head after some steps sees them.

    Parameters
    ----------
    steps : sequence of StepSpec
        May be empty.
    X : ndarray of shape (n_rows, n_features), or a lazy matrix
        With steps, a lazy matrix is read into memory.
    folds : sequence of (train, held out)

    Raises
    ------
    HeadError
        Rows that have to be in memory and are larger than it.
    """

    def __init__(self, steps: Sequence[StepSpec], X: Any, folds: Sequence[Fold]) -> None:
        self.specs = tuple(steps)
        self._raw, self._folds = X, folds
        flags = [STEPS.get(step.name).row_wise for step in steps]
        fixed = flags.index(False) if False in flags else len(flags)
        made = make_steps(steps)
        self._fixed, self._fitted = made[:fixed], made[fixed:]

    @cached_property
    def X(self) -> Any:
        """The rows after the steps that are not fitted."""
        return _apply_fixed(self._fixed, self._raw) if self.specs else self._raw

    @cached_property
    def spaces(self) -> RowSpaces:
        """The rows of every fold, to choose on."""
        if self._fitted:
            return FoldRows(self.X, self._folds, self._fitted)
        return RowSpaces(self.X, self._folds)

    def fit(self, rows: np.ndarray) -> tuple[list[Any], Any]:
        """Fit the steps on some of the rows.

        Parameters
        ----------
        rows : ndarray of int

        Returns
        -------
        steps : list of fitted transformers
        X : ndarray, or lazy matrix where there are no steps
            All rows after them.
        """
        if not self.specs:
            return [], self._raw
        first = np.asarray(self._raw.rows(rows[:1]) if is_lazy(self._raw) else self._raw[rows[:1]])
        fixed = [clone(step).fit(first) for step in self._fixed]
        fitted, X = _fit_steps(self._fitted, self.X, rows)
        return fixed + fitted, X


class FoldRows(RowSpaces):
    """Rows whose steps are fitted anew in every fold; nothing is shared between heads.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    folds : sequence of (train, held out)
    steps : sequence of transformers
        Unfitted.
    """

    def __init__(self, X: np.ndarray, folds: Sequence[Fold], steps: Sequence[Any]) -> None:
        super().__init__(X, folds)
        self._steps = list(steps)
        self._kept: dict[int, np.ndarray] = {}

    def rows_of_fold(self, number: int, X: Any) -> np.ndarray:
        """Return all rows, after steps that were fitted on the fold's training rows."""
        found = self._kept.get(number)
        if found is None:
            found = _fit_steps(self._steps, X, self.folds[number][0])[1]
            if found.nbytes * len(self.folds) <= SHARED_BYTES:
                self._kept[number] = found
        return found

    def build(self) -> None:
        """Do nothing: there are no shared spaces."""

    def of_fold(self, number: int) -> Any:
        """Return None: every head builds its own space."""
        return None

    def of_all(self) -> Any:
        """Return None: every head builds its own space."""
        return None


def _fit_steps(steps: Sequence[Any], X: np.ndarray, rows: np.ndarray) -> tuple[list[Any], Any]:
    """Fit clones of `steps`, one on the outcome of the other, on `rows`; return all rows after."""
    fitted = []
    for step in steps:
        fitted.append(clone(step).fit(X[rows]))
        X = fitted[-1].transform(X)
    return fitted, X


def _apply_fixed(steps: Sequence[Any], X: Any) -> np.ndarray:
    """Return all rows, in memory, after steps that leave the width as it is."""
    if not (steps or is_lazy(X)):
        return X
    needed, memory = X.dtype.itemsize * X.shape[0] * X.shape[1], total_memory()
    if 0 < memory < needed:
        raise HeadError(
            f"Steps before a head need its {X.shape[0]} rows of {X.shape[1]} features in memory: "
            f"{needed / 1e9:.1f} GB, of {memory / 1e9:.1f} GB. Take fewer --shots, a pooled tap, "
            "or the head without steps."
        )
    out = np.empty(X.shape, X.dtype)
    for part, block in row_blocks(X, np.arange(len(out))):
        for step in steps:
            block = step.fit_transform(block)
        out[part] = block
    return out
