"""The report as JSON: everything but the pictures."""

from __future__ import annotations

import json
from typing import Any

from featx.records import to_json
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
from featx.report.table import column_names, plain_rows

REPORT_VERSION = 1
"""Version of the document's format."""


def write_json(report: Report) -> str:
    """Return the report as one JSON document."""
    return json.dumps(report_document(report), indent=1, allow_nan=False) + "\n"


def report_document(report: Report) -> dict[str, Any]:
    """Return the report as JSON-able data.

    Returns
    -------
    dict
        "featx_report" (version), the fields of `Report.about`, "title", "subtitle", "findings"
        (with "code", "text", "explanation"), and "sections": each with "name", "title" and
        "blocks", each of these with its "block" (kind) and what it shows. A table's "rows" are
        dicts; of a chart there are the numbers, of a photo its path.
    """
    explained = {f.code: text for s in report.sections for f, text in _findings(s.blocks)}
    return {
        "featx_report": REPORT_VERSION,
        **to_json(report.about),
        "title": report.title,
        "subtitle": report.subtitle,
        "findings": [
            {"code": f.code, "text": f.text, "explanation": explained.get(f.code, "")}
            for f in report.findings
        ],
        "sections": [
            {"name": s.name, "title": s.title, "blocks": [_block(b) for b in s.blocks]}
            for s in report.sections
        ],
    }


def _findings(blocks: tuple[Block, ...]) -> list[Any]:
    return [item for block in blocks if isinstance(block, Findings) for item in block.items]


def _block(block: Block) -> dict[str, Any]:
    match block:
        case Text():
            return {"block": "text", "text": block.text}
        case Figures():
            items = [{"name": n, "value": v, "note": t} for n, v, t in block.items]
            return {"block": "figures", "items": items}
        case Table():
            return {"block": "table", **_table(block)}
        case Chart():
            table = _table(block.table) if block.table else None
            about = {"name": block.name, "title": block.title, "says": block.alt}
            return {"block": "chart", **about, "table": table}
        case Gallery():
            photos = [
                {
                    "path": photo.path,
                    "true": photo.true,
                    "predicted": photo.predicted,
                    "confidence": photo.confidence,
                }
                for photo in block.photos
            ]
            return {"block": "photos", "name": block.name, "title": block.title, "photos": photos}
        case Findings():
            return {"block": "findings", "codes": [finding.code for finding, _ in block.items]}
        case Facts():
            facts = [{"name": name, "value": value} for name, value in block.items]
            return {"block": "facts", "name": block.name, "title": block.title, "facts": facts}


def _table(table: Table) -> dict[str, Any]:
    names = column_names(table)
    rows = [dict(zip(names, to_json(row), strict=True)) for row in plain_rows(table)]
    return {"name": table.name, "title": table.title, "rows": rows}
