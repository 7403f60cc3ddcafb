"""The report as CSV: its main table, raw values."""

from __future__ import annotations

import csv
import io
import re
from typing import Any

from featx.report.blocks import Report, Table


def write_csv(report: Report) -> str:
    """Return the comparison as CSV: a row a model, intervals as three columns."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    rows = plain_rows(report.comparison)
    writer.writerow(column_names(report.comparison))
    writer.writerows([["" if v is None else v for v in row] for row in rows])
    return file.getvalue()


def column_names(table: Table) -> list[str]:
    """Return the names of a table's columns in CSV and JSON.

    Lower case with "_", the unit of seconds and bytes named; an interval has "_low" and "_high".
    """
    names = []
    for column in table.columns:
        name = re.sub(r"[^a-z0-9]+", "_", column.name.lower()).strip("_")
        if column.kind in ("seconds", "bytes"):
            name += f"_{column.kind}"
        names += [name, f"{name}_low", f"{name}_high"] if column.kind == "interval" else [name]
    return names


def plain_rows(table: Table) -> list[list[Any]]:
    """Return a table's rows with a plain value for each of `column_names`."""
    rows = []
    for row in table.rows:
        cells: list[Any] = []
        for column, value in zip(table.columns, row, strict=True):
            if column.kind == "interval":
                cells += [None] * 3 if value is None else list(value)
            else:
                cells.append(value)
        rows.append(cells)
    return rows
