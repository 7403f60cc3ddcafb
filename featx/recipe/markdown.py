"""A run of a recipe as text for the terminal, as Markdown and as JSON."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from featx.compare import break_even, comparison_json, format_break_even, format_table
from featx.compare.table import verdict
from featx.recipe.outcome import REPORT, Outcome, Section, page_names
from featx.recipe.plan import Plan, Step, describe_stage
from featx.recipe.tables import (
    Table,
    beside_table,
    class_table,
    count_table,
    entropy_table,
    results_table,
    seconds_text,
    set_table,
    training_table,
)
from featx.records import to_json

BESIDE_LEFT = (0, 1, -1)
"""Columns of text beside the study's figures."""


def outcome_text(outcome: Outcome) -> str:
    """Return the results for the terminal: each set of test rows, and the study's figures."""
    parts = []
    for section in outcome.sections:
        if len(outcome.sections) > 1:
            parts.append(f"{_section_title(outcome, section)}\n")
        parts.append(format_table(section.comparison) + "\n")
    if outcome.beside:
        parts.append(set_table(beside_table(outcome.beside), BESIDE_LEFT) + "\n")
    parts += [f"left out: {s.stage.name}: {s.reason}" for s in _left_out(outcome.plan)]
    folder = outcome.plan.folder
    pages = ", ".join(page_names(outcome))
    parts.append(f"All tables: {folder / REPORT}; figures: {pages} there")
    return "\n".join(parts)


def outcome_markdown(outcome: Outcome) -> str:
    """Return the whole run as a Markdown document."""
    plan, recipe = outcome.plan, outcome.plan.recipe
    lines = [f"# {recipe.title}", ""]
    lines += [text for paragraph in (recipe.summary, recipe.study and f"Study: {recipe.study}")
              if paragraph for text in (paragraph, "")]  # fmt: skip
    lines += [*_circumstances(outcome), ""]
    if outcome.beside:
        lines += [
            "## Beside the study",
            "",
            set_table(beside_table(outcome.beside), BESIDE_LEFT),
            "",
        ]
        lines += [f"- Not repeated: {text}" for text in recipe.not_repeated]
        lines += [""] if recipe.not_repeated else []
    for section in outcome.sections:
        lines += _section(outcome, section)
    lines += ["## Images", ""]
    for name, data in plan.data.items():
        lines += [f"{name}: {data.index.name}", "", set_table(count_table(data.counts())), ""]
    lines += ["## Stages", "", set_table(stage_table(plan.steps, outcome.seconds), range(4)), ""]
    return "\n".join(lines)


def outcome_json(outcome: Outcome) -> dict[str, Any]:
    """Return the document of `featx run --json`."""
    return {
        **_about_json(outcome.plan),
        "stages": [
            {**_step_json(s), "seconds": outcome.seconds.get(s.stage.name)}
            for s in outcome.plan.steps
        ],
        "extractions": to_json(outcome.reports),
        "published": [
            {
                "name": row.published.name,
                "source": row.published.source,
                "figures": dict(row.published.figures),
                "ours": {"name": row.ours, "figures": to_json(row.figures)} if row.ours else None,
                "why": row.why,
            }
            for row in outcome.beside
        ],
        "comparisons": [
            {"data": s.data, "target": s.target, **comparison_json(s.comparison)}
            for s in outcome.sections
        ],
    }


def plan_json(plan: Plan, estimates: Sequence[dict[str, Any]] = ()) -> dict[str, Any]:
    """Return the document of `featx run --plan --json`."""
    told = {e["stage"]: e for e in estimates}
    stages = [{**_step_json(s), **told.get(s.stage.name, {})} for s in plan.steps]
    return {**_about_json(plan), "stages": stages}


def stage_table(steps: Sequence[Step], seconds: Any) -> Table:
    """Return the stages with their kinds, what they do, and how long they took."""
    header = ("stage", "kind", "data", "what", "time")
    rows = []
    for step in steps:
        took = seconds.get(step.stage.name)
        time = (
            "left out" if step.state == "left out" else "" if took is None else seconds_text(took)
        )
        rows.append((step.stage.name, step.stage.kind, step.stage.data, describe_stage(step), time))
    return header, rows


def _section(outcome: Outcome, section: Section) -> list[str]:
    comparison, records = section.comparison, section.records
    lines = [f"## {_section_title(outcome, section)}", "", set_table(results_table(records)), ""]
    lines += [verdict(comparison), ""]
    even = format_break_even(break_even(comparison.groups))
    lines += [*(f"- {line.strip()}" for line in even.splitlines()), ""] if even else []
    lines += [f"- {finding.code}: {finding.text}" for finding in comparison.findings]
    lines += [""] if comparison.findings else []
    for title, table, left in (
        ("Training", training_table(records), (0,)),
        ("Classes", class_table(records), range(4)),
        ("Entropy of the predictions, in bits", entropy_table(records), (0, 2, 3)),
    ):
        if table[1]:
            lines += [f"### {title}", "", set_table(table, left), ""]
    return lines


def _section_title(outcome: Outcome, section: Section) -> str:
    data = outcome.plan.data[section.data]
    n_test = section.records[0].split["n_test"]
    return f"{data.index.name}, {section.target}: {n_test} test images"


def _circumstances(outcome: Outcome) -> list[str]:
    from featx.doctor.machine import cpu_cores, cpu_model

    plan = outcome.plan
    lines = [f"- Machine: {cpu_cores()} cores of {cpu_model()}"]
    change = plan.change
    told = {
        "images of each class": change.limit_per_class,
        "epochs": change.epochs,
        "image size": change.image_size,
        **{
            f"weights of {name or 'all backbones'}": os.path.basename(text)
            for name, text in change.weights.items()
        },
    }
    altered = [f"{name} {value}" for name, value in told.items() if value is not None]
    lines += [f"- Altered from the recipe: {'; '.join(altered)}"] if altered else []
    lines += [f"- {note}" for note in plan.notes]
    lines += [f"- Left out: {s.stage.name}: {s.reason}" for s in _left_out(plan)]
    return lines


def _left_out(plan: Plan) -> list[Step]:
    return [step for step in plan.steps if step.state == "left out"]


def _about_json(plan: Plan) -> dict[str, Any]:
    recipe = plan.recipe
    return {
        "recipe": recipe.name,
        "title": recipe.title,
        "study": recipe.study,
        "folder": str(plan.folder),
        "data": {
            name: {"source": d.source, "images": len(d.index.samples), "counts": d.counts()}
            for name, d in plan.data.items()
        },
        "notes": list(plan.notes),
        "not_repeated": list(recipe.not_repeated),
    }


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "name": step.stage.name,
        "kind": step.stage.kind,
        "data": step.stage.data,
        "state": step.state,
        "reason": step.reason,
        "settings": to_json(step.settings),
    }
