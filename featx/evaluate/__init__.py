"""Fit, choose and score heads on the features of one tap, the test rows touched once a run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import SpecError
from featx.evaluate.run import Draw, about_split, run_head
from featx.evaluate.sealed import TestRows, TrainingRows, seal
from featx.heads import HEADS, parse_head
from featx.records import FeatureSet, HeadSpec, RunRecord
from featx.selection import SteppedRows, inner_folds
from featx.split import draw_shots, make_split

__all__ = ["Progress", "TestRows", "TrainingRows", "evaluate", "seal"]

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

    Returns
    -------
    list of RunRecord
        By shots, then draw, then head.

    Raises
    ------
    SplitError
        Too few rows for the split or the shots.
    HeadError
        A head that cannot be fitted.
    """
    asked = [parse_head(h) if isinstance(h, str) else h for h in heads]
    specs = list({spec.text: spec for spec in asked}.values())
    if not specs:
        raise SpecError("No head to evaluate: name at least one, such as linear_svc.")
    split = make_split(
        features.y,
        splits=features.splits,
        digests=features.digests,
        groups=features.groups,
        seed=seed,
        test_fraction=test_fraction,
        classes=features.classes,
    )
    training, test = seal(features, split)
    about = about_split(features, split)
    totals = np.bincount(features.y)
    jobs = list(_jobs(specs, training, dict.fromkeys(shots), draws, seed, features.classes, totals))
    total = sum(len(job.specs) for job in jobs)
    records: list[RunRecord] = []
    for made in _run_all(jobs, features, training, test, about, folds, n_jobs):
        records.append(made)
        if progress:
            progress(made, len(records), total)
    return records


@dataclass(frozen=True)
class _Job:
    """One draw, and the heads to fit on it."""

    specs: tuple[HeadSpec, ...]
    draw: Draw


def _jobs(
    specs: Sequence[HeadSpec],
    training: TrainingRows,
    shots: Iterable[int | None],
    draws: int,
    seed: int,
    classes: Sequence[str],
    totals: np.ndarray,
) -> Iterator[_Job]:
    none = np.array([], np.int64)
    seeded = tuple(s for s in specs if HEADS.get(s.name).seeded)
    train = training.train
    for count in shots:
        if count is None:
            yield _Job(tuple(specs), Draw(None, 0, train, training.val, seed))
            for draw in range(1, draws) if seeded else ():
                yield _Job(seeded, Draw(None, draw, train, training.val, seed + draw))
            continue
        drawn = draw_shots(
            training.y[train],
            train,
            count,
            draws=draws,
            seed=seed,
            digests=training.pick(training.digests, train),
            classes=classes,
            totals=totals,
        )
        for draw, rows in enumerate(drawn):
            yield _Job(tuple(specs), Draw(count, draw, rows, none, seed + draw))


def _run_all(
    jobs: Sequence[_Job],
    features: FeatureSet,
    training: TrainingRows,
    test: TestRows,
    about: dict[str, Any],
    folds: int,
    n_jobs: int,
) -> Iterator[RunRecord]:
    if n_jobs == 1:
        for job in jobs:
            yield from _run_job(job, features, training, test, about, folds)
        return
    from joblib import Parallel, delayed

    calls = (delayed(_listed)(job, features, training, test, about, folds) for job in jobs)
    for made in Parallel(n_jobs=n_jobs, return_as="generator")(calls):
        yield from made


def _listed(*arguments: Any) -> list[RunRecord]:
    return list(_run_job(*arguments))


def _run_job(
    job: _Job,
    features: FeatureSet,
    training: TrainingRows,
    test: TestRows,
    about: dict[str, Any],
    folds: int,
) -> Iterator[RunRecord]:
    """Run every head on one draw; the rows are read once for all of them."""
    draw = job.draw
    rows = np.concatenate([draw.train, draw.val])
    X, y = training.take(rows), training.y[rows]
    if len(draw.val):
        pairs = [(np.arange(len(draw.train)), np.arange(len(draw.train), len(y)))]
    else:
        pairs = inner_folds(
            y,
            folds=folds,
            seed=draw.seed,
            digests=training.pick(training.digests, rows),
            groups=training.pick(training.groups, rows),
        )
    plain = stepped = SteppedRows((), X, pairs)
    for spec in job.specs:
        if spec.steps != stepped.specs:  # of the rows after steps one set is held at a time
            stepped = SteppedRows(spec.steps, X, pairs) if spec.steps else plain
        yield run_head(spec, draw, X, y, stepped, features, test, about)
