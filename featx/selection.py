"""How C and friends are chosen: on the validation rows, or by folds inside the training rows.

Nothing here is ever given a test row. The convention of the field (CLIP's linear probes, VTAB) is
followed where a data set has a validation split and all training rows are used: choose on it, then
fit the chosen head on training and validation rows together. In few-shot runs the validation rows
are left alone: choices are made by folds within the shots.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.errors import SplitError
from featx.heads import HEADS, make_head
from featx.metrics import fit_temperature
from featx.records import HeadSpec
from featx.split import cross_folds

HELD_VALUES = 32_000_000
"""Held-out scores kept for the calibration, over all values tried (float32: 128 MB)."""

Fold = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Choice:
    """What was chosen, and everything it was chosen from.

    Attributes
    ----------
    spec : HeadSpec
        The head with the chosen value written in.
    record : mapping
        "on" ("validation", "folds", "given" or "none"), "parameter", "metric", "folds", "chosen",
        "at_edge", and "curve": a mapping a value with "value", "score", "fold_scores", "seconds".
    temperature : float or None
        For softmax(scores / temperature), of a head that gives no probabilities itself.
    seconds : float
    """

    spec: HeadSpec
    record: Mapping[str, Any]
    temperature: float | None = None
    seconds: float = 0.0


@dataclass
class _Trial:
    """One value over all folds."""

    value: Any
    fold_scores: list[float] = field(default_factory=list)
    seconds: float = 0.0
    held_scores: list[np.ndarray] = field(default_factory=list)
    held_labels: list[np.ndarray] = field(default_factory=list)


def choose_params(
    spec: HeadSpec,
    X: np.ndarray,
    y: np.ndarray,
    folds: Sequence[Fold],
    *,
    on: str,
    seed: int = 0,
) -> Choice:
    """Try the values of the head's searched parameter and keep the best.

    A parameter that the user gave is not searched. The score is the accuracy, averaged over folds;
    of equal scores the most regularised value wins. Heads that give no probabilities get the
    temperature for theirs from the same held-out rows, even where nothing is searched.

    Parameters
    ----------
    spec : HeadSpec
    X : ndarray of shape (n_rows, n_features)
    y : ndarray of shape (n_rows,), int
    folds : sequence of (train, held out) row numbers into X
        One pair where there are validation rows; none where nothing can be held out.
    on : str
        "validation" or "folds"; goes to the record.
    seed : int

    Returns
    -------
    Choice
    """
    started = time.perf_counter()
    entry = HEADS.get(spec.name)
    searching = bool(entry.searched) and entry.searched not in spec.params
    record: dict[str, Any] = {"on": "given", "parameter": entry.searched or None, "curve": []}
    if entry.searched:
        record["chosen"] = spec.params.get(entry.searched, entry.defaults[entry.searched])
    if not (searching or needs_temperature(spec)):
        return Choice(spec, record)
    if not folds:
        record["on"] = "none" if searching else "given"
        return Choice(spec, record, seconds=time.perf_counter() - started)
    values = list(entry.values) if searching else [record.get("chosen")]
    trials = _try_values(spec, entry.searched, values, X, y, folds, seed)
    best = _best(trials)
    chosen = trials[best]
    record["curve"] = [
        {
            "value": t.value,
            "score": float(np.mean(t.fold_scores)),
            "fold_scores": t.fold_scores,
            "seconds": t.seconds,
        }
        for t in trials
    ]
    record |= {"metric": "accuracy", "folds": len(folds)}
    if searching:
        spec = HeadSpec(spec.name, {**spec.params, entry.searched: chosen.value})
        record |= {"on": on, "chosen": chosen.value, "at_edge": _at_edge(record["curve"], best)}
    temperature = None
    if chosen.held_scores:
        temperature = fit_temperature(
            np.concatenate(chosen.held_scores), np.concatenate(chosen.held_labels)
        )
        record["temperature"] = temperature
        record["temperature_on"] = on
    return Choice(spec, record, temperature, time.perf_counter() - started)


def inner_folds(
    y: np.ndarray,
    *,
    folds: int,
    seed: int,
    digests: Sequence[str] = (),
    groups: Sequence[str] = (),
) -> list[Fold]:
    """Return stratified folds of the training rows, as many as the smallest class allows.

    Parameters
    ----------
    y : ndarray of shape (n_rows,), int
        Of the training rows.
    folds : int
        At most so many.
    seed : int
    digests, groups : sequence of str
        Of the training rows; rows of one digest or group stay together.

    Returns
    -------
    list of (train, held out)
        Row numbers; empty where a class has a single row, so that nothing can be held out.
    """
    if int(np.unique(y, return_counts=True)[1].min()) < 2:
        return []
    rows = np.arange(len(y))
    try:
        return cross_folds(y, rows, folds=folds, seed=seed, digests=digests, groups=groups)
    except SplitError:  # the rows of a class are copies or one group
        return []


def needs_temperature(spec: HeadSpec) -> bool:
    """Return whether the head gives scores but no probabilities."""
    return not hasattr(make_head(spec), "predict_proba")


def head_scores(head: Any, X: np.ndarray) -> np.ndarray:
    """Return a fitted head's score a class: probabilities where it gives them.

    Parameters
    ----------
    head : fitted estimator
    X : ndarray of shape (n_rows, n_features)

    Returns
    -------
    ndarray of shape (n_rows, len(head.classes_)), float64
        A single decision value d (two classes) becomes (-d, d).
    """
    if hasattr(head, "predict_proba"):
        return np.asarray(head.predict_proba(X), np.float64)
    scores = np.asarray(head.decision_function(X), np.float64)
    return np.stack([-scores, scores], axis=1) if scores.ndim == 1 else scores


def _try_values(
    spec: HeadSpec,
    parameter: str,
    values: Sequence[Any],
    X: np.ndarray,
    y: np.ndarray,
    folds: Sequence[Fold],
    seed: int,
) -> list[_Trial]:
    trials = [_Trial(value) for value in values]
    keep = needs_temperature(spec)
    for train, held in folds:
        X_train, y_train, X_held, y_held = X[train], y[train], X[held], y[held]
        for trial in trials:
            started = time.perf_counter()
            params = {**spec.params, parameter: trial.value} if parameter else spec.params
            head = make_head(HeadSpec(spec.name, params), seed=seed).fit(X_train, y_train)
            scores = head_scores(head, X_held)
            right = head.classes_[scores.argmax(axis=1)] == y_held
            trial.fold_scores.append(float(right.mean()))
            if keep:
                known = np.flatnonzero(np.isin(y_held, head.classes_))
                limit = HELD_VALUES // (len(values) * len(folds) * scores.shape[1])
                step = max(1, -(-len(known) // max(limit, 1)))
                known = known[::step]
                trial.held_scores.append(scores[known].astype(np.float32))
                trial.held_labels.append(np.searchsorted(head.classes_, y_held[known]))
            trial.seconds += time.perf_counter() - started
    return trials


def _best(trials: Sequence[_Trial]) -> int:
    """Index of the best mean score; the first, most regularised, of equals."""
    means = [round(float(np.mean(t.fold_scores)), 12) for t in trials]
    return means.index(max(means))


def _at_edge(curve: Sequence[Mapping[str, Any]], best: int) -> bool:
    """Whether a better value may lie beyond the grid: the best is its end and not a plateau.

    One neighbour (k=1) is an end by nature.
    """
    value = curve[best]["value"]
    if len(curve) < 3 or best not in (0, len(curve) - 1) or (isinstance(value, int) and value == 1):
        return False
    inward = curve[1 if best == 0 else -2]
    return bool(inward["score"] < curve[best]["score"])
