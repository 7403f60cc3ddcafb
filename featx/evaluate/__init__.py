"""Fit, choose and score heads on the features of one tap, the test rows touched once a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from featx.evaluate.average import Candidate, TestOutcomes, average_best, check_count
from featx.evaluate.draws import split_rows
from featx.evaluate.joint import JointRuns, evaluate_joint
from featx.evaluate.runs import HeadRuns, Piece, Run
from featx.evaluate.sealed import TestRows, TrainingRows, seal
from featx.evaluate.tested import list_tested
from featx.records import FeatureSet, HeadSpec, RunRecord

__all__ = [
    "Candidate",
    "HeadRuns",
    "JointRuns",
    "Piece",
    "Progress",
    "Run",
    "TestOutcomes",
    "TestRows",
    "TrainingRows",
    "average_best",
    "check_count",
    "evaluate",
    "evaluate_joint",
    "list_tested",
    "seal",
    "split_rows",
]

Progress = Callable[[RunRecord, int, int], object]
"""Told each record as it is made, the number made so far, and the number in all."""


def evaluate(
    features: FeatureSet,
    heads: Sequence[HeadSpec | str],
    *,
    shots: Sequence[int | None] = (None,),
    draws: int = 1,
    seed: int = 0,
    test_fraction: float = 0.3,
    folds: int = 5,
    progress: Progress | None = None,
    outcomes: TestOutcomes | None = None,
) -> list[RunRecord]:
    """Fit every head at every number of shots and draw, and score it on the test rows.

    What is searched is chosen on the validation rows where all training rows are used and the data
    set has some; the chosen head is then fitted on both. Otherwise it is chosen by stratified
    folds inside the drawn rows. An MLP stops early on the validation rows, or on a part of its
    own training rows.

    Parameters
    ----------
    features : FeatureSet
    heads : sequence of HeadSpec or str
        One given twice is run once.
    shots : sequence of int or None
        Training rows a class; None is all of them.
    draws : int
        Draws at each number of shots. With all rows there is one draw, but for heads that differ
        by seed, which get one fit a draw.
    seed : int
        Of the split, the draws and the heads (`seed + draw`).
    test_fraction : float
        Share of the rows to test on, where the data set has no test split.
    folds : int
    progress : callable, optional
        Called as progress(record, done, total).
    outcomes : TestOutcomes, optional
        Takes in every run, for averages; every head is then scored on held-out training rows.

    Returns
    -------
    list of RunRecord
        By shots, then draw, then head.

    Raises
    ------
    SplitError
        Too few rows for the split or the shots, or with `outcomes` to hold any out.
    HeadError
        A head that cannot be fitted.
    """
    runs = HeadRuns(
        features,
        heads,
        shots=shots,
        draws=draws,
        seed=seed,
        test_fraction=test_fraction,
        folds=folds,
        scored=outcomes is not None,
    )
    records: list[RunRecord] = []
    for piece in runs.draws():
        for run in runs.run(piece):
            records.append(run.record)
            if outcomes is not None and run.probabilities is not None:
                outcomes.add(run.record, run.probabilities)
            if progress:
                progress(run.record, len(records), runs.total)
    return records
