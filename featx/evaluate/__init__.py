"""Fit, choose and score heads on the features of one tap, the test rows touched once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from featx.errors import SpecError, SplitError
from featx.evaluate.average import Candidate, TestOutcomes, average_best, check_count
from featx.evaluate.draws import (
    Draw,
    Job,
    distinct_heads,
    list_jobs,
    split_rows,
    with_copies,
)
from featx.evaluate.joint import evaluate_joint
from featx.evaluate.run import about_split, run_head
from featx.evaluate.sealed import TestRows, TrainingRows, seal
from featx.evaluate.tested import list_tested
from featx.records import FeatureSet, HeadSpec, RunRecord
from featx.selection import Fold, SteppedRows, inner_folds

__all__ = [
    "Candidate",
    "Progress",
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
    n_jobs: int = 1,
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
    n_jobs : int
        Processes for the draws; 1 is none but this, and linear algebra is threaded already.
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
    specs = distinct_heads(heads)
    for spec in specs:
        if spec.params.get("joint"):
            raise SpecError(
                f"{spec.text} learns several label columns at once: name two or more, such as "
                "--target class,recyclable."
            )
    split = split_rows(features, seed=seed, test_fraction=test_fraction)
    training, test = seal(features, split)
    about = about_split(features, split)
    jobs = list_jobs(specs, features, training, shots=shots, draws=draws, seed=seed)
    pairs = [_folds(job.draw, training, folds) for job in jobs]
    for job, found in zip(jobs, pairs, strict=True):
        if outcomes is not None and not found:
            amount = f"{job.draw.shots} shots" if job.draw.shots else "all training images"
            raise SplitError(
                f"The heads to average are chosen on held-out training images, but {amount} leave "
                "a class without any. Take more shots, or no average."
            )
    total = sum(len(job.specs) for job in jobs)
    run_jobs = [
        (job, found, features, training, test, about, outcomes is not None)
        for job, found in zip(jobs, pairs, strict=True)
    ]
    records: list[RunRecord] = []
    for record, probabilities in _run_all(run_jobs, n_jobs):
        records.append(record)
        if outcomes is not None and probabilities is not None:
            outcomes.add(record, probabilities)
        if progress:
            progress(record, len(records), total)
    return records


def _folds(draw: Draw, training: TrainingRows, folds: int) -> list[Fold]:
    """Return what to choose on in a draw, by positions in its training rows, then its others."""
    rows = np.concatenate([draw.train, draw.val])
    if len(draw.val):
        return [(np.arange(len(draw.train)), np.arange(len(draw.train), len(rows)))]
    return inner_folds(
        training.y[rows],
        folds=folds,
        seed=draw.seed,
        digests=training.pick(training.digests, rows),
        groups=training.pick(training.groups, rows),
    )


_Run = tuple[RunRecord, np.ndarray | None]


def _run_all(jobs: Sequence[tuple[Any, ...]], n_jobs: int) -> Iterator[_Run]:
    if n_jobs == 1:
        for job in jobs:
            yield from _run_job(*job)
        return
    from joblib import Parallel, delayed

    for made in Parallel(n_jobs=n_jobs, return_as="generator")(
        delayed(_listed)(*job) for job in jobs
    ):
        yield from made


def _listed(*arguments: Any) -> list[_Run]:
    return list(_run_job(*arguments))


def _run_job(
    job: Job,
    folds: Sequence[Fold],
    features: FeatureSet,
    training: TrainingRows,
    test: TestRows,
    about: dict[str, Any],
    scored: bool,
) -> Iterator[_Run]:
    """Run every head on one draw; the rows are read once for all of them."""
    draw = job.draw
    if training.copies > 1:
        draw, folds, X, y = with_copies(draw, folds, training)
    else:
        rows = np.concatenate([draw.train, draw.val])
        X, y = training.take(rows), training.y[rows]
    plain = stepped = SteppedRows((), X, folds)
    for spec in job.specs:
        if spec.steps != stepped.specs:  # of the rows after steps one set is held at a time
            stepped = SteppedRows(spec.steps, X, folds) if spec.steps else plain
        record, found = run_head(spec, draw, X, y, stepped, features, test, about, scored=scored)
        yield record, found if scored else None
