"""Several label columns learnt at once: one network with an output a column.

The network is fitted once a draw on the rows that single-column heads are fitted on, stops early on
the same validation rows, and gives a record a column, scored like any other head's.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from featx.errors import HeadError, SpecError
from featx.evaluate.draws import Job, distinct_heads, list_jobs, split_rows, with_copies
from featx.evaluate.run import (
    about_split,
    all_columns,
    feature_cost,
    fit_head,
    head_cost,
    head_record,
    mean_of_copies,
)
from featx.evaluate.sealed import TestRows, TrainingRows, in_memory, row_blocks, seal
from featx.records import FeatureSet, HeadSpec, RunRecord, Split, StrataRecord
from featx.selection import SteppedRows, warning_texts


def evaluate_joint(
    columns: Sequence[FeatureSet],
    heads: Sequence[HeadSpec | str],
    *,
    shots: Sequence[int | None] = (None,),
    draws: int = 1,
    seed: int = 0,
    test_fraction: float = 0.3,
    progress: Callable[[RunRecord, int, int], object] | None = None,
) -> list[RunRecord]:
    """Fit networks with one output a label column, and score every output on the test rows.

    Parameters
    ----------
    columns : sequence of FeatureSet
        Two or more that differ in `y`, `classes` and `target` alone, with the same `strata`.
    heads : sequence of HeadSpec or str
        "mlp(joint=True)".
    shots, draws, seed, test_fraction, progress
        As `featx.evaluate.evaluate`.

    Returns
    -------
    list of RunRecord
        By shots, then draw, then head, then column. Seconds and parameters of a record are those of
        the whole network; its `cost` has the columns under "joint".

    Raises
    ------
    SpecError
        A head that cannot learn several columns, or a single column.
    SplitError, HeadError
        As `evaluate`.
    """
    specs = distinct_heads(heads)
    for spec in specs:
        if not spec.params.get("joint"):
            raise SpecError(f"{spec.text} learns one label column: write mlp(joint=True).")
    if len({f.target for f in columns}) < 2:
        raise SpecError("A network with several outputs needs two or more label columns.")
    first = columns[0]
    whole = replace(
        first,
        y=np.stack([f.y for f in columns], axis=1),
        target=", ".join(f.target for f in columns),
        strata=first.strata or StrataRecord(first.target, first.y, first.classes),
    )
    split = split_rows(first, seed=seed, test_fraction=test_fraction)
    for features in columns[1:]:
        split_rows(features, seed=seed, test_fraction=test_fraction)  # each has training rows
    training, test = seal(whole, split)
    jobs = list_jobs(specs, first, training, shots=shots, draws=draws, seed=seed)
    total = sum(len(job.specs) for job in jobs) * len(columns)
    records: list[RunRecord] = []
    for job in jobs:
        for record in _run_job(job, columns, split, training, test):
            records.append(record)
            if progress:
                progress(record, len(records), total)
    return records


def _run_job(
    job: Job,
    columns: Sequence[FeatureSet],
    split: Split,
    training: TrainingRows,
    test: TestRows,
) -> Iterator[RunRecord]:
    draw = job.draw
    if training.copies > 1:
        draw, _, X, y = with_copies(draw, [], training)
    else:
        rows = np.concatenate([draw.train, draw.val])
        X, y = training.take(rows), training.y[rows]
    for spec in job.specs:
        try:
            stepped = SteppedRows(spec.steps, X, [])
            started = time.perf_counter()
            values = in_memory(stepped.X)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                head = fit_head(spec, draw, values, y, stepped)
            fit_seconds = time.perf_counter() - started
            run = f"{spec.text}, {draw.shots or 'all'} shots, draw {draw.number}"
            test.freeze(run, spec.params)
            X_test, y_test = test.hand_out(run)
            started = time.perf_counter()
            found = _probabilities(head, X_test, len(y_test))
            predict_seconds = time.perf_counter() - started
        except ValueError as error:
            reason = str(error).splitlines()[0]
            raise HeadError(
                f"{spec.text} cannot be used on {columns[0].tap or 'these features'}: {reason}"
            ) from error
        last = head[-1] if spec.steps else head
        for i, features in enumerate(columns):
            n_classes, own = len(features.classes), last.classes_[i]
            yield head_record(
                features,
                spec,
                draw,
                about_split(features, split),
                params=spec.params,
                rows=test.rows,
                y_test=y_test[:, i],
                scores=all_columns(found[i], own, n_classes, -np.inf),
                probabilities=all_columns(found[i], own, n_classes, 0.0),
                selection={"on": "given", "parameter": None, "curve": []},
                seconds={"select": 0.0, "fit": fit_seconds, "predict": predict_seconds},
                cost={
                    **feature_cost(X, y[:, i], draw.copies),
                    **head_cost(head),
                    "joint": [f.target for f in columns],
                    "warnings": warning_texts(caught),
                },
            )


def _probabilities(head: Any, X: Any, rows: int) -> list[np.ndarray]:
    """Return (rows, n_classes) a column, averaged over the copies of an image."""
    blocks = [head.predict_proba(block) for block in row_blocks(X)]
    return [mean_of_copies(np.concatenate(parts), rows) for parts in zip(*blocks, strict=True)]
