"""How C and friends are chosen: on the validation rows, or by folds inside the training rows.

Nothing here is ever given a test row. The convention of the field (CLIP's linear probes, VTAB) is
followed where a data set has a validation split and all training rows are used: choose on it, then
fit the chosen head on training and validation rows together. In few-shot runs the validation rows
are left alone: choices are made by folds within the shots.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featx.errors import SplitError
from featx.heads import HEADS
from featx.metrics import fit_temperature
from featx.records import HeadSpec
from featx.selection.spaces import Fold, RowSpaces
from featx.selection.stepped import SteppedRows
from featx.selection.trials import Trial, head_scores, search_values, try_values
from featx.split import cross_folds

__all__ = [
    "Choice",
    "Fold",
    "RowSpaces",
    "SteppedRows",
    "choose_params",
    "head_scores",
    "inner_folds",
]

FIRST_VALUES = 17
"""Values tried at first. Of the 25 values of C the rest take half of the time, and on photos were
never the best."""

SETTLED = 4
"""The rest are tried unless at least this many values beyond the best have been."""


@dataclass(frozen=True)
class Choice:
    """What was chosen, and everything it was chosen from.

    Attributes
    ----------
    spec : HeadSpec
        The head with the chosen value written in.
    record : mapping
        "on" ("validation", "folds", "given" or "none"), "parameter", "metric", "folds", "chosen",
        "at_edge", "score" (of what was chosen) and "score_on" (as "on", never "given"), and
        "curve": a mapping a value with "value", "score", "fold_scores", "seconds".
    temperature : float or None
        For softmax(scores / temperature), of a head that gives no probabilities itself.
    seconds : float
    """

    spec: HeadSpec
    record: Mapping[str, Any]
    temperature: float | None = None
    seconds: float = 0.0


def choose_params(
    spec: HeadSpec,
    X: Any,
    y: np.ndarray,
    spaces: RowSpaces,
    *,
    on: str,
    seed: int = 0,
    scored: bool = False,
) -> Choice:
    """Try the values of the head's searched parameter and keep the best.

    A parameter that the user gave is not searched. The score is the accuracy, averaged over folds;
    of equal scores the most regularised value wins. Of a long grid the least regularised values,
    the costliest to fit, are tried only where the best of the others is among their last. Heads
    whose own probabilities are not used get their temperature from the same held-out rows, even
    where nothing is searched.

    Parameters
    ----------
    spec : HeadSpec
        Its steps are not taken here but have been by `spaces` (`SteppedRows`).
    X : ndarray of shape (n_rows, n_features), or a lazy matrix
    y : ndarray of shape (n_rows,), int
    spaces : RowSpaces
        Of X and of the folds to choose on.
    on : str
        "validation" or "folds"; goes to the record.
    seed : int
    scored : bool
        Score the head on the held-out rows even where there is nothing to choose.

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
    if entry.calibrated and not searching and not scored:
        return Choice(spec, record)
    if not spaces.folds:
        record["on"] = "none" if searching else "given"
        return Choice(spec, record)
    values = search_values(spec) if searching else [record.get("chosen")]
    trials: list[Trial] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for part in (values[:FIRST_VALUES], values[FIRST_VALUES:]):
            if part:
                trials += try_values(spec, part, X, y, spaces, seed=seed)
            means = [round(float(np.mean(t.fold_scores)), 12) for t in trials]
            best = means.index(max(means))  # the first, most regularised, of equals
            if best < len(trials) - SETTLED:
                break
    record["curve"] = [_point(t) for t in trials]
    record |= {"metric": "accuracy", "folds": len(spaces.folds)}
    record |= {"score": record["curve"][best]["score"], "score_on": on}
    record["warnings"] = warning_texts(caught)
    if searching:
        spec = replace(spec, params={**spec.params, entry.searched: trials[best].value})
        record |= {"on": on, "chosen": trials[best].value, "at_edge": _at_edge(trials, best)}
    temperature = None
    if not entry.calibrated:
        temperature = fit_temperature(*trials[best].held())
        record |= {"temperature": temperature, "temperature_on": on}
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


def warning_texts(caught: Sequence[warnings.WarningMessage]) -> list[str]:
    """Return the distinct warnings as "Category: first line"."""
    lines = [f"{w.category.__name__}: {str(w.message).splitlines()[0]}" for w in caught]
    return list(dict.fromkeys(lines))


def _point(trial: Trial) -> dict[str, Any]:
    return {
        "value": trial.value,
        "score": float(np.mean(trial.fold_scores)),
        "fold_scores": trial.fold_scores,
        "seconds": trial.seconds,
    }


def _at_edge(trials: Sequence[Trial], best: int) -> bool:
    """Whether a better value may lie beyond the grid: the best is its end and not a plateau.

    One neighbour (k=1) is an end by nature.
    """
    value, last = trials[best].value, len(trials) - 1
    if last < 2 or best not in (0, last) or (isinstance(value, int) and value == 1):
        return False
    inward = trials[1 if best == 0 else last - 1]
    return float(np.mean(inward.fold_scores)) < float(np.mean(trials[best].fold_scores))
