"""The report as one HTML page that needs nothing but itself.

Plotly's script is put in compressed: it takes a third of the space, and the words and tables are
there before it is unpacked. A policy in the page forbids every request.
"""

from __future__ import annotations

import base64
import gzip
import json
from functools import lru_cache
from importlib.resources import files
from typing import Any

from featx.report.blocks import Chart, Report, Table
from featx.report.numbers import NONE, is_number, write_value

MAX_ROWS = 1_000
"""Rows of one table; the JSON has all."""

LONG = 24
"""Words of more characters than this may be wrapped."""


def write_html(report: Report) -> str:
    """Return the report as an HTML page.

    Raises
    ------
    ImportError
        Jinja2 or Plotly is not installed; featx requires both.
    """
    import jinja2

    folder = files("featx.report") / "templates"
    sources = {name: (folder / name).read_text("utf-8") for name in _TEMPLATES}
    environment = jinja2.Environment(
        loader=jinja2.DictLoader(sources),
        autoescape=True,
        keep_trailing_newline=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    charts = [b for s in report.sections for b in s.blocks if isinstance(b, Chart)]
    return environment.get_template("report.html").render(
        report=report,
        kind=lambda block: type(block).__name__,
        lay_out=_lay_out,
        is_number=lambda kind: is_number(kind) and kind != "interval",
        max_rows=MAX_ROWS,
        css=sources["report.css"],
        js=sources["report.js"],
        charts=_script_json({c.name: _figure(c) for c in charts}),
        plotly=_packed_plotly() if charts else "",
    )


_TEMPLATES = ("report.html", "report.css", "report.js")


def _figure(chart: Chart) -> dict[str, Any]:
    return {**chart.figure, "height": chart.height, "thumbnails": list(chart.thumbnails)}


def _lay_out(table: Table) -> dict[str, Any]:
    """Return the columns and cells to show; what is the same in every row is told once."""
    constant = _constant_columns(table)
    kept = [i for i in range(len(table.columns)) if i not in constant]
    spans = {i: _span(table, i) for i in kept if table.columns[i].kind == "interval"}
    rows = []
    for row in table.rows[:MAX_ROWS]:
        rows.append([_cell(table.columns[i].kind, row[i], spans.get(i)) for i in kept])
    return {
        "columns": [table.columns[i] for i in kept],
        "constant": [
            (table.columns[i].name, write_value(table.columns[i].kind, table.rows[0][i]))
            for i in constant
        ],
        "rows": rows,
    }


def _constant_columns(table: Table) -> list[int]:
    """Return the columns that say the same in every row of a wide table."""
    if len(table.rows) < 2 or len(table.columns) < 10:
        return []
    return [
        i
        for i, column in enumerate(table.columns)
        if column.kind in ("text", "count", "seconds") and len({row[i] for row in table.rows}) == 1
        if table.rows[0][i] not in (None, "")
    ]


def _cell(kind: str, value: Any, span: tuple[float, float] | None) -> dict[str, Any]:
    """Return a cell: text, value to sort by, and where an interval is drawn, in per cent."""
    cell: dict[str, Any] = {
        "text": write_value(kind, value),
        "number": is_number(kind) and kind != "interval",
        "kind": kind,
        "long": kind == "text" and len(write_value(kind, value)) > LONG,
        "sort": _sort_value(value),
        "range": None,
    }
    if span and value is not None:
        left, point, right = (100 * (v - span[0]) / span[1] for v in (value[1], value[0], value[2]))
        cell["text"] = f"{value[0]:.3f}"
        cell["range"] = {
            "left": f"{left:.1f}",
            "width": f"{right - left:.1f}",
            "point": f"{point:.1f}",
            "text": f"{value[1]:.3f}–{value[2]:.3f}",
        }
    return cell


def _span(table: Table, i: int) -> tuple[float, float]:
    """Return the lowest value of an interval column, and how far it is to the highest."""
    values = [row[i] for row in table.rows if row[i]]
    low = min((v[1] for v in values), default=0.0)
    return low, max((v[2] for v in values), default=1.0) - low or 1.0


def _sort_value(value: Any) -> str:
    if value is None or value == NONE:
        return ""
    if isinstance(value, tuple):
        value = value[0]
    return "inf" if value == "all" else str(value)


def _script_json(value: Any) -> str:
    """Return JSON that can stand in a script element: no text in it ends the element."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@lru_cache(maxsize=1)
def _packed_plotly() -> str:
    """Return Plotly's script, gzip and base64."""
    script = (files("plotly") / "package_data" / "plotly.min.js").read_bytes()
    return base64.b64encode(gzip.compress(script, 9, mtime=0)).decode()
