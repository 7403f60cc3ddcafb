"""What a run of a recipe came to: its records side by side, and beside what the study found."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from featx.compare import compare
from featx.compare.groups import identify_group
from featx.recipe.model import Published
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
    stages : tuple of tuple of str
        The stages that made each record: stages that ask for the same run have it in common.
    """

    data: str
    target: str
    comparison: Comparison
    records: tuple[RunRecord, ...]
    stages: tuple[tuple[str, ...], ...]


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
    found: dict[tuple[str, str], dict[tuple[Any, ...], tuple[tuple[str, ...], RunRecord]]] = {}
    for step in plan.steps:
        if step.data is None or not state.is_finished(step.stage.name, step.digest):
            continue
        for name in state.stages[step.stage.name].records:
            record = load_run(plan.folder / name)
            place = found.setdefault((step.stage.data, str(record.split["test_digest"])), {})
            identity = (*identify_group(record), record.draw)  # of several alike the last counts
            before, _ = place.get(identity, ((), record))
            place[identity] = (tuple(dict.fromkeys((*before, step.stage.name))), record)
    sections = []
    for (data, _), rows in found.items():
        stages = tuple(stage for stage, _ in rows.values())
        records = tuple(record for _, record in rows.values())
        target = str(records[0].split.get("target", "class"))
        sections.append(Section(data, target, compare(records), records, stages))
    sections.sort(key=lambda s: _place(plan, s))
    kept = {s.stage.name: state.stages[s.stage.name] for s in plan.steps if s.digest
            and state.is_finished(s.stage.name, s.digest)}  # fmt: skip
    return Outcome(
        plan=plan,
        sections=tuple(sections),
        beside=beside_rows(
            [_as_run(plan, row) for row in plan.recipe.published],
            [(s.records, s.stages) for s in sections],
        ),
        seconds={name: stage.seconds for name, stage in kept.items()},
        reports={name: stage.report for name, stage in kept.items() if stage.report},
        ran=ran,
    )


def page_names(outcome: Outcome) -> list[str]:
    """Return the file name of each section's page: "report.html", or one a data set and target."""
    if len(outcome.sections) == 1:
        return ["report.html"]
    return [f"report-{s.data}-{s.target}.html" for s in outcome.sections]


def _as_run(plan: Plan, row: Published) -> Published:
    """Look for a published row's run as it was run: at another size, or with all images."""
    ours = dict(row.ours)
    if "image_size" in ours and plan.change.image_size is not None:
        ours["image_size"] = plan.change.image_size
    for step in plan.steps:
        if step.stage.name == ours.get("stage") and "shots" in ours:
            taken = step.settings.get("shots", [None])
            ours["shots"] = ours["shots"] if ours["shots"] in taken else "all"
    return replace(row, ours=ours)


def _place(plan: Plan, section: Section) -> tuple[int, int]:
    """Return where a section belongs: data sets and label columns in their own order."""
    targets = plan.data[section.data].index.targets
    column = targets.index(section.target) if section.target in targets else len(targets)
    return list(plan.data).index(section.data), column
