"""The report as Markdown: the same words and tables, charts as what they show."""

from __future__ import annotations

import re

from featx.report.blocks import (
    Block,
    Chart,
    Facts,
    Figures,
    Findings,
    Gallery,
    Report,
    Table,
    Text,
)
from featx.report.numbers import is_number, write_percent, write_value

MAX_ROWS = 200
"""Rows of one table; the JSON has all."""


def write_markdown(report: Report) -> str:
    """Return the report as Markdown (CommonMark with tables)."""
    lines = [f"# {escape(report.title)}", "", report.subtitle, ""]
    for section in report.sections:
        lines += [f"## {section.title}", ""]
        for block in section.blocks:
            lines += [*_block(block), ""]
    about = report.about
    lines.append(f"Made by featx {about['featx']}, {about['made']}.")
    return "\n".join(lines) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, also in a table's cell."""
    return re.sub(r"([\\`*\[\]<>|#~$]|(?<!\w)_|_(?!\w))", r"\\\1", text.replace("\n", " "))


def _block(block: Block) -> list[str]:
    match block:
        case Text():
            return [f"**{escape(block.text)}**" if block.lead else escape(block.text)]
        case Figures():
            return [f"- {name}: {value} ({note})" for name, value, note in block.items]
        case Table():
            return _table(block)
        case Chart():
            lines = [f"### {escape(block.title)}", "", escape(block.alt)]
            return [*lines, "", *_table(block.table, titled=False)] if block.table else lines
        case Gallery():
            lines = [f"### {escape(block.title)}", ""]
            for photo in block.photos:
                sure = "" if photo.confidence is None else f" ({write_percent(photo.confidence)})"
                name = escape(photo.path) or "a photo"
                told = f"{escape(photo.true)} taken for {escape(photo.predicted)}"
                lines.append(f"- {name}: {told}{sure}")
            return lines
        case Findings():
            return [
                f"- **{finding.code}**: {escape(finding.text)} {escape(text)}".rstrip()
                for finding, text in block.items
            ]
        case Facts():
            lines = [f"### {escape(block.title)}", ""]
            return lines + [f"- {escape(name)}: {escape(value)}" for name, value in block.items]


def _table(table: Table, titled: bool = True) -> list[str]:
    lines = [f"### {escape(table.title)}", ""] if titled else []
    lines.append("| " + " | ".join(escape(c.name) for c in table.columns) + " |")
    rules = ["---:" if is_number(c.kind) else "---" for c in table.columns]
    lines.append("| " + " | ".join(rules) + " |")
    for row in table.rows[:MAX_ROWS]:
        cells = [
            escape(write_value(c.kind, value)) for c, value in zip(table.columns, row, strict=True)
        ]
        lines.append("| " + " | ".join(cells) + " |")
    if len(table.rows) > MAX_ROWS:
        lines += ["", f"The first {MAX_ROWS} of {len(table.rows):,} rows."]
    if table.note:
        lines += ["", escape(table.note)]
    return lines
