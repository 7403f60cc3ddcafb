"""Every value of a parameter, fitted on every fold and scored on its held-out rows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from featx.heads import HEADS, make_head
from featx.heads.linear.threads import side_by_side
from featx.records import HeadSpec
from featx.selection.spaces import RowSpaces

HELD_VALUES = 32_000_000
"""Held-out scores kept for the calibration, over all values tried (float32: 128 MB)."""


PATH_TOLERANCE = 1e-2
"""`tol` of linear heads while values are compared, against 1e-4 of the final fit: predictions on
held-out rows are the same (trashnet, 25 values: every score equal) and come in half the time."""


@dataclass
class Trial:
    """One value over all folds.

    Attributes
    ----------
    value : object
        None where the head has nothing to search.
    fold_scores : list of float
        Accuracy on each fold's held-out rows.
    seconds : float
        Of fitting and scoring, over all folds; a path's time is divided among its values.
    """

    value: Any
    fold_scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    _scores: list[np.ndarray] = field(default_factory=list)
    _labels: list[np.ndarray] = field(default_factory=list)

    def add(self, scores: np.ndarray, classes: np.ndarray, y: np.ndarray, keep: int) -> None:
        """Score held-out rows of one fold, and keep up to `keep` of them for the calibration."""
        self.fold_scores.append(float((classes[scores.argmax(axis=1)] == y).mean()))
        if keep:
            known = np.flatnonzero(np.isin(y, classes))
            known = known[:: max(1, -(-len(known) // keep))]
            self._scores.append(scores[known].astype(np.float32))
            self._labels.append(np.searchsorted(classes, y[known]))

    def held(self) -> tuple[np.ndarray, np.ndarray]:
        """Return the scores kept, and the column of each row's class."""
        return np.concatenate(self._scores), np.concatenate(self._labels)


def search_values(spec: HeadSpec) -> list[Any]:
    """Return the values tried for the head's searched parameter, most regularised first."""
    return list(HEADS.get(spec.name).values or make_head(replace(spec, steps=())).path_values)


def try_values(
    spec: HeadSpec,
    values: Sequence[Any],
    X: Any,
    y: np.ndarray,
    spaces: RowSpaces,
    *,
    seed: int = 0,
) -> list[Trial]:
    """Fit every value on every fold and score it on the fold's held-out rows.

    Parameters
    ----------
    spec : HeadSpec
    values : sequence
        Of the head's searched parameter; [None] where it has none.
    X : ndarray of shape (n_rows, n_features), or a lazy matrix
    y : ndarray of shape (n_rows,), int
    spaces : RowSpaces
        Of X, with the folds.
    seed : int

    Returns
    -------
    list of Trial
        In the order of `values`.
    """
    trials = [Trial(value) for value in values]
    budget = 0
    if not HEADS.get(spec.name).calibrated:
        per_row = len(values) * len(spaces.folds) * len(np.unique(y))
        budget = max(1, HELD_VALUES // per_row)
    tasks = [
        partial(_scores_of_fold, spec, values, X, y, spaces, number, seed)
        for number in range(len(spaces.folds))
    ]
    if HEADS.get(spec.name).streams:  # the linear heads, whose matrix products let others run
        spaces.build()
        found = side_by_side(tasks)
    else:
        found = [task() for task in tasks]
    for (_, held), scored in zip(spaces.folds, found, strict=True):
        for trial, (scores, classes, seconds) in zip(trials, scored, strict=True):
            trial.add(scores, classes, y[held], budget)
            trial.seconds += seconds
    return trials


def head_scores(head: Any, X: np.ndarray) -> np.ndarray:
    """Return a fitted head's score a class.

    Parameters
    ----------
    head : fitted estimator
    X : ndarray of shape (n_rows, n_features)

    Returns
    -------
    ndarray of shape (n_rows, len(head.classes_)), float64
        Decision values where it has them (a single one, d, becomes (-d, d)), else probabilities.
    """
    if not hasattr(head, "decision_function"):
        return np.asarray(head.predict_proba(X), np.float64)
    return _two_columns(head.decision_function(X))


def _scores_of_fold(
    spec: HeadSpec,
    values: Sequence[Any],
    X: Any,
    y: np.ndarray,
    spaces: RowSpaces,
    number: int,
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray, float]]:
    """Return (scores, classes, seconds) a value."""
    train, held = spaces.folds[number]
    X = spaces.rows_of_fold(number, X)
    parameter = HEADS.get(spec.name).searched
    spec = replace(spec, steps=())  # X has been through them
    head = make_head(spec, seed=seed)
    if hasattr(head, "path_decisions"):
        started = time.perf_counter()
        if "tol" in head.get_params():
            head.set_params(tol=PATH_TOLERANCE)
        space = spaces.of_fold(number) if head.standardize else None
        path = head.path_decisions(X, y, values, rows=train, held=held, space=space)
        seconds = (time.perf_counter() - started) / len(values)
        classes = np.unique(y[train])
        return [(_two_columns(scores), classes, seconds) for scores in path]
    found = []
    X_train, X_held = X[train], X[held]
    for value in values:
        started = time.perf_counter()
        params = {**spec.params, parameter: value} if parameter else spec.params
        head = make_head(HeadSpec(spec.name, params), seed=seed).fit(X_train, y[train])
        scores = head_scores(head, X_held)
        found.append((scores, head.classes_, time.perf_counter() - started))
    return found


def _two_columns(scores: np.ndarray) -> np.ndarray:
    scores = np.asarray(scores, np.float64)
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores
