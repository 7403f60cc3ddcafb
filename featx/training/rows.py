"""Which rows a network learns from, and which it stops on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featx.errors import SplitError
from featx.evaluate.draws import Draw
from featx.evaluate.sealed import TrainingRows
from featx.split import make_split

HELD_OUT = 0.15
"""Share of the training rows held out for stopping, where there are no validation rows."""


@dataclass(frozen=True)
class FitRows:
    """Positions in the `TrainingRows`.

    Attributes
    ----------
    fit, held : ndarray of int
        Rows to learn from, and rows to stop on; disjoint. `held` may be empty.
    on : str
        What `held` is: "validation" (the data set's own), "held-out" (a part of the draw's rows)
        or "training" (nothing could be held out: the training loss decides).
    """

    fit: np.ndarray
    held: np.ndarray
    on: str


def hold_out(training: TrainingRows, draw: Draw) -> FitRows:
    """Choose the rows that early stopping watches.

    They are the data set's own validation rows where all training rows are used and there are
    some. Otherwise `HELD_OUT` of the draw's rows, stratified, at least one of each class and with
    copies and groups kept together; a class that has a single image, copies aside, keeps it.
    """
    if len(draw.val):
        return FitRows(draw.train, draw.val, "validation")
    rows = draw.train
    y = training.y[rows]
    digests, groups = (training.pick(n, rows) for n in (training.digests, training.groups))
    kept = np.where(_has_one_image(y, digests, groups), "val", "")  # a cut leaves "val" alone
    try:
        split = make_split(
            y,
            splits=kept,
            digests=digests,
            groups=groups,
            seed=draw.seed,
            test_fraction=HELD_OUT,
        )
    except SplitError:  # every class has one image, or groups leave a class nothing to learn from
        return FitRows(rows, np.array([], np.int64), "training")
    held = split.test
    return FitRows(np.delete(rows, held), rows[held], "held-out")


def _has_one_image(y: np.ndarray, digests: Sequence[str], groups: Sequence[str]) -> np.ndarray:
    """Tell of each row whether its class has one image, or copies of it, or one group, only."""
    names = [
        group or digest or str(i)
        for i, (digest, group) in enumerate(
            zip(digests or [""] * len(y), groups or [""] * len(y), strict=True)
        )
    ]
    counts = {c: len({names[i] for i in np.flatnonzero(y == c)}) for c in np.unique(y).tolist()}
    return np.array([counts[int(c)] == 1 for c in y], bool)
