"""Finding blocks of a report, for its tests."""

from __future__ import annotations

from typing import Any

from featx.report.blocks import Block, Report, Text

ODD = "<b>a & b<i> $x$ | `c`"
"""A class name that every format must show as it is."""


def blocks_of(report: Report, section: str) -> tuple[Block, ...]:
    return next(s.blocks for s in report.sections if s.name == section)


def find(report: Report, section: str, name: str, kind: type | None = None) -> Any:
    """Return the first block of that name, of that kind where one is given."""
    return next(
        b
        for b in blocks_of(report, section)
        if getattr(b, "name", "") == name and (kind is None or isinstance(b, kind))
    )


def texts(report: Report, section: str) -> str:
    return " ".join(b.text for b in blocks_of(report, section) if isinstance(b, Text))
