"""What a run of a recipe came to: its records side by side, and beside what the study found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featx.compare import compare
from featx.recipe.plan import Plan
from featx.recipe.published import BesideRow, beside_rows
from featx.recipe.state import RunState
from featx.records import Comparison, RunRecord
from featx.runs import load_run

REPORT = "results.md"
"""Name of the Markdown file in the run's folder."""


@dataclass(frozen=True)
class Section:
    """Runs on the same test rows, side by side.

    Attributes
    ----------
    data : str
        Name of the recipe's data set.
    target : str
        Label column.
    comparison : Comparison
    records : tuple of RunRecord
        In the order of the comparison's rows.
    stages : tuple of str
        The stage that each record is of.
    """

    data: str
    target: str
    comparison: Comparison
    records: tuple[RunRecord, ...]
    stages: tuple[str, ...]


@dataclass(frozen=True)
class Outcome:
    """What a run of a recipe came to.

    Attributes
    ----------
    plan : Plan
    sections : tuple of Section
        One for each set of test rows.
    beside : tuple of BesideRow
        What the study published, and ours.
    seconds : mapping of str to float
        A stage that has run: the time it took, now or earlier.
    reports : mapping of str to mapping
        A stage that extracted: its `featx extract --json`.
    ran : tuple of str
        Stages run now; others were finished before.
    """

    plan: Plan
    sections: tuple[Section, ...]
    beside: tuple[BesideRow, ...]
    seconds: Mapping[str, float]
    reports: Mapping[str, Mapping[str, Any]]
    ran: tuple[str, ...]


def read_outcome(plan: Plan, state: RunState, ran: tuple[str, ...] = ()) -> Outcome:
    """Put the records of the finished stages side by side.

    Parameters
    ----------
    plan : Plan
    state : RunState
        Of the plan's folder.
    ran : tuple of str
        Stages run just now.

    Returns
    -------
    Outcome
    """
    found: dict[tuple[str, str], dict[str, tuple[str, RunRecord]]] = {}
    for step in plan.steps:
        if step.data is None or not state.is_finished(step.stage.name, step.digest):
            continue
        for name in state.stages[step.stage.name].records:
            record = load_run(plan.folder / name)
            place = found.setdefault((step.stage.data, str(record.split["test_digest"])), {})
            place[f"{step.stage.name} {_identity(record)}"] = (step.stage.name, record)
    sections = []
    for (data, _), rows in found.items():
        stages, records = zip(*rows.values(), strict=True)
        target = str(records[0].split.get("target", "class"))
        sections.append(Section(data, target, compare(records), records, stages))
    kept = {s.stage.name: state.stages[s.stage.name] for s in plan.steps if s.digest
            and state.is_finished(s.stage.name, s.digest)}  # fmt: skip
    return Outcome(
        plan=plan,
        sections=tuple(sections),
        beside=beside_rows(plan.recipe.published, [(s.records, s.stages) for s in sections]),
        seconds={name: stage.seconds for name, stage in kept.items()},
        reports={name: stage.report for name, stage in kept.items() if stage.report},
        ran=ran,
    )


def _identity(record: RunRecord) -> str:
    """Return what tells a run from others of its stage; a later one of the same takes its place."""
    key = record.key.digest() if record.key else str([p["key"] for p in record.parts])
    words = (record.kind, record.backbone, key, record.tap, record.head.text)
    return " ".join(map(str, (*words, record.shots, record.draw)))
