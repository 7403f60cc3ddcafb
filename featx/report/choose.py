"""Which runs a report is of: one data set, the same test rows, the newest of each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featx.compare.groups import identify_group
from featx.errors import RunError, SpecError
from featx.records import Finding, RunRecord, TestSetRecord
from featx.runs import load_run, load_test_set

_ARRAYS = ("test_rows", "y_true", "y_pred")
"""What is read of every run; scores are read of the one whose mistakes are shown."""


@dataclass(frozen=True)
class ChosenRuns:
    """Runs that can be compared.

    Attributes
    ----------
    paths : tuple of Path
        The JSON files, in the order of `records`.
    records : tuple of RunRecord
        Oldest first, without scores and without confusion matrices.
    test_set : TestSetRecord or None
        The images tested on, where they were written down.
    findings : tuple of Finding
        What was left out, and why.
    """

    paths: tuple[Path, ...]
    records: tuple[RunRecord, ...]
    test_set: TestSetRecord | None
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True)
class _Run:
    path: Path
    record: RunRecord

    @property
    def digest(self) -> str:
        return str(self.record.split["test_digest"])

    @property
    def time(self) -> str:
        return str(self.record.environment.get("time", ""))


def choose_runs(
    data: str | os.PathLike[str] | None,
    runs_dir: str | os.PathLike[str],
    *,
    target: str | None = None,
    test_rows: str = "",
) -> ChosenRuns:
    """Choose the runs to report.

    Parameters
    ----------
    data, runs_dir, target, test_rows
        As `featx.report.make_report`.

    Returns
    -------
    ChosenRuns

    Raises
    ------
    RunError, SpecError
        As `featx.report.make_report`.
    """
    runs, damaged = _load(Path(runs_dir))
    findings = []
    if damaged:
        more = f" and {len(damaged) - 3} more" if len(damaged) > 3 else ""
        findings.append(Finding("run-unreadable", f"Left out: {' '.join(damaged[:3])}{more}"))
    runs = _of_target(_of_data(runs, data, runs_dir), target)
    groups: dict[str, list[_Run]] = {}
    for run in runs:
        groups.setdefault(run.digest, []).append(run)
    digest = _choose_rows(groups, test_rows, runs_dir)
    left_out = {d: g for d, g in groups.items() if d != digest}
    if left_out:
        findings.append(Finding("runs-not-comparable", _not_comparable(left_out)))
    newest = {_identity(run.record): run for run in groups[digest]}
    kept = sorted(newest.values(), key=lambda run: run.time)
    return ChosenRuns(
        paths=tuple(run.path for run in kept),
        records=tuple(run.record for run in kept),
        test_set=_test_set(kept[0].record, runs_dir),
        findings=tuple(findings),
    )


def _load(runs_dir: Path) -> tuple[list[_Run], list[str]]:
    """Return the runs of a folder, oldest first, and what is wrong with those that are damaged."""
    runs, damaged = [], []
    for path in sorted(runs_dir.glob("[!.]*.json")):
        try:
            record = load_run(path, arrays=_ARRAYS)
        except RunError as error:
            damaged.append(str(error))
            continue
        metrics = {name: v for name, v in record.metrics.items() if name != "confusion"}
        runs.append(_Run(path, replace(record, metrics=metrics)))
    if not runs:
        if damaged:
            raise RunError(damaged[0])
        raise RunError(
            f"No run records in {os.fspath(runs_dir)!r}. Run first: featx classify DATA, or name "
            "the folder that has them with --runs-dir."
        )
    return sorted(runs, key=lambda run: run.time), damaged


def _of_data(
    runs: Sequence[_Run],
    data: str | os.PathLike[str] | None,
    runs_dir: str | os.PathLike[str],
) -> list[_Run]:
    counts = Counter(run.record.dataset for run in runs)
    told = ", ".join(f"{name} ({n} run{'s'[: n - 1]})" for name, n in sorted(counts.items()))
    if data is None:
        if len(counts) > 1:
            raise SpecError(
                f"{os.fspath(runs_dir)!r} has runs of {len(counts)} data sets: {told}. Name one: "
                f"featx report {min(counts)}"
            )
        return list(runs)
    from featx.datasets.index import default_name
    from featx.extraction.request import source_text

    text, source = os.fspath(data), source_text(data)
    sources: dict[str, str] = {}
    for run in runs:
        if run.digest not in sources:
            tested = _test_set(run.record, runs_dir)
            sources[run.digest] = tested.source if tested else ""
    found = [run for run in runs if sources[run.digest] == source]
    found = found or [run for run in runs if run.record.dataset in (text, default_name(text))]
    if not found:
        raise SpecError(
            f"No run of {text!r} in {os.fspath(runs_dir)!r}, which has: {told}. "
            f"Run first: featx classify {text}"
        )
    return found


def _of_target(runs: Sequence[_Run], target: str | None) -> list[_Run]:
    """Return the runs on a label column."""
    columns = sorted({_target(run.record) for run in runs})
    if target is not None and target not in columns:
        raise SpecError(f"No run on the label column {target!r}: there are {', '.join(columns)}.")
    return [run for run in runs if target in (None, _target(run.record))]


def _target(record: RunRecord) -> str:
    return str(record.split.get("target", "class"))


def _choose_rows(
    groups: dict[str, list[_Run]], test_rows: str, runs_dir: str | os.PathLike[str]
) -> str:
    """Return the digest of the test rows asked for, or of those of the latest run."""
    if not test_rows:
        return max(groups, key=lambda digest: max(run.time for run in groups[digest]))
    found = [digest for digest in groups if digest.startswith(test_rows.lower())]
    if len(found) != 1:
        told = "; ".join(_about_rows(digest, runs) for digest, runs in groups.items())
        raise SpecError(
            f"{len(found) or 'No'} sets of test rows in {os.fspath(runs_dir)!r} begin with "
            f"{test_rows!r}. There are: {told}."
        )
    return found[0]


def _not_comparable(left_out: dict[str, list[_Run]]) -> str:
    n = sum(len(runs) for runs in left_out.values())
    return (
        f"{n} run{'s'[: n - 1]} on other test images {'is' if n == 1 else 'are'} left out: "
        f"{'; '.join(_about_rows(digest, runs) for digest, runs in left_out.items())}. "
        "--test-rows with these digits shows them instead."
    )


def _about_rows(digest: str, runs: Sequence[_Run]) -> str:
    record = runs[-1].record
    seed = record.split.get("seed")
    words = [f"{digest[:8]} ({len(runs)} run{'s'[: len(runs) - 1]}", record.dataset]
    words += [f"{record.split['n_test']} test images"]
    words += [] if seed is None else [f"seed {seed}"]
    words += [] if _target(record) == "class" else [f"label column {_target(record)}"]
    return ", ".join(words) + ")"


def _identity(record: RunRecord) -> Hashable:
    """Return what tells runs apart; of two runs with the same the newer one counts."""
    return (*identify_group(record), record.draw, record.split.get("seed"))


def _test_set(record: RunRecord, runs_dir: str | os.PathLike[str]) -> TestSetRecord | None:
    try:
        return load_test_set(record, runs_dir)
    except RunError:
        return None  # it only adds photos and paths
