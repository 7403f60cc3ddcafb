"""Runs from wherever the caller has them: folders, files, records, comparisons."""

from __future__ import annotations

import os
from collections.abc import Callable, Hashable, Iterable, Sequence
from pathlib import Path

from featx.compare.groups import identify_group
from featx.errors import SpecError
from featx.records import Comparison, RunRecord
from featx.runs import load_run, load_runs

Run = RunRecord | Comparison | str | os.PathLike[str]
Runs = Run | Sequence[Run]


def collect_runs(
    runs: Runs, dataset: str | None = None, target: str | None = None
) -> list[RunRecord]:
    """Return the records of `runs`, in their order.

    Parameters
    ----------
    runs : path, RunRecord, Comparison, or a sequence of these
        As `featx.compare.compare`.
    dataset, target : str, optional
        Only runs on the data set, or the label column, of this name.

    Raises
    ------
    SpecError
        There are none, or something is no run.
    RunError
        A record cannot be read.
    """
    found = list(_records(runs))
    if not found:
        where = f" in {os.fspath(runs)!r}" if isinstance(runs, (str, os.PathLike)) else ""
        raise SpecError(f"No run to compare{where}: run featx classify first.")
    found = _only(found, "data set", dataset, lambda record: record.dataset)
    return _only(found, "label column", target, lambda r: str(r.split.get("target", "class")))


def _only(
    records: list[RunRecord], what: str, wanted: str | None, name_of: Callable[[RunRecord], str]
) -> list[RunRecord]:
    chosen = [record for record in records if wanted in (None, name_of(record))]
    if not chosen:
        there = ", ".join(sorted({name_of(record) for record in records}))
        raise SpecError(f"No run on the {what} {wanted!r}; there are runs on: {there}.")
    return chosen


def _records(runs: object) -> Iterable[RunRecord]:
    if isinstance(runs, RunRecord):
        yield runs
    elif isinstance(runs, Comparison):
        if not runs.records:
            raise SpecError("A comparison without records cannot be compared with others.")
        yield from runs.records
    elif isinstance(runs, (str, os.PathLike)):
        yield from _newest(load_runs(runs)) if Path(runs).is_dir() else _read(Path(runs))
    elif isinstance(runs, Iterable):
        for item in runs:
            yield from _records(item)
    else:
        raise SpecError(
            f"{type(runs).__name__} is no run. Give a folder of run records, records or "
            "comparisons, or a list of these."
        )


def _read(path: Path) -> Iterable[RunRecord]:
    if not path.exists() and path.suffix != ".json":
        return  # a folder that no run was written to yet
    yield load_run(path)


def _newest(records: Sequence[RunRecord]) -> Iterable[RunRecord]:
    """Leave out the older ones of the same run; `records` are oldest first."""
    return {_identity(record): record for record in records}.values()


def _identity(record: RunRecord) -> Hashable:
    return record.dataset, record.split["test_digest"], *identify_group(record), record.draw
