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
from featx.evaluate.draws import distinct_heads, list_jobs, split_rows
from featx.evaluate.run import (
    about_split,
    all_columns,
    feature_cost,
    fit_head,
    head_cost,
    head_record,
    mean_of_copies,
)
from featx.evaluate.runs import Piece, Run, first_places, rows_of, whole_draws
from featx.evaluate.sealed import in_memory, row_blocks, seal
from featx.records import FeatureSet, HeadSpec, RunRecord, StrataRecord
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
    runs = JointRuns(
        columns, heads, shots=shots, draws=draws, seed=seed, test_fraction=test_fraction
    )
    records: list[RunRecord] = []
    for piece in runs.draws():
        for run in runs.run(piece):
            records.append(run.record)
            if progress:
                progress(run.record, len(records), runs.total)
    return records


class JointRuns:
    """The runs of networks that learn several label columns.

    Parameters
    ----------
    columns, heads, shots, draws, seed, test_fraction
        As `evaluate_joint`.

    Attributes
    ----------
    total : int
        Records in all.
    test_rows : ndarray of int
        Row numbers of the test side.
    test_digests : tuple of str
        Those that the records of each column have.

    Raises
    ------
    SpecError, SplitError
        As `evaluate_joint`.
    """

    def __init__(
        self,
        columns: Sequence[FeatureSet],
        heads: Sequence[HeadSpec | str],
        *,
        shots: Sequence[int | None] = (None,),
        draws: int = 1,
        seed: int = 0,
        test_fraction: float = 0.3,
    ) -> None:
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
        self._columns = tuple(columns)
        self._training, self._test = seal(whole, split)
        self._about = [about_split(features, split) for features in columns]
        self._jobs = list_jobs(specs, first, self._training, shots=shots, draws=draws, seed=seed)
        self._starts = first_places(self._jobs)
        self.total = sum(len(job.specs) for job in self._jobs) * len(columns)
        self.test_rows = self._test.rows
        self.test_digests = tuple(about["test_digest"] for about in self._about)

    def draws(self) -> list[Piece]:
        """Return a piece a draw, with all its networks."""
        return whole_draws(self._jobs)

    def pieces(self) -> list[Piece]:
        """Return a piece a network."""
        return [Piece(piece.job, (i,)) for piece in self.draws() for i in piece.heads]

    def run(self, piece: Piece) -> Iterator[Run]:
        """Fit the networks of a piece; give a run a label column of each.

        Raises
        ------
        HeadError
            A network that cannot be fitted.
        """
        job, test = self._jobs[piece.job], self._test
        draw, _, X, y = rows_of(job.draw, [], self._training)
        for number in piece.heads:
            spec = job.specs[number]
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
                where = self._columns[0].tap or "these features"
                raise HeadError(f"{spec.text} cannot be used on {where}: {reason}") from error
            last = head[-1] if spec.steps else head
            place = (self._starts[piece.job] + number) * len(self._columns)
            for i, features in enumerate(self._columns):
                n_classes, own = len(features.classes), last.classes_[i]
                record = head_record(
                    features,
                    spec,
                    draw,
                    self._about[i],
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
                        "joint": [f.target for f in self._columns],
                        "warnings": warning_texts(caught),
                    },
                )
                yield Run(place + i, record)


def _probabilities(head: Any, X: Any, rows: int) -> list[np.ndarray]:
    """Return (rows, n_classes) a column, averaged over the copies of an image."""
    blocks = [head.predict_proba(block) for block in row_blocks(X)]
    return [mean_of_copies(np.concatenate(parts), rows) for parts in zip(*blocks, strict=True)]
