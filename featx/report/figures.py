"""Pieces of Plotly figures. Colours are names that the page replaces; see `Chart.figure`."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from typing import Any

MAX_LINES = 8
"""Lines in one chart: more cannot be followed."""

COLOURS = 10
"""Colours that there are, "@c0" to "@c9"."""

KIND_NAMES = {
    "head": "Head on frozen features",
    "baseline": "Network from scratch",
    "finetune": "Fine-tuned network",
    "zeroshot": "ImageNet classes, no training",
}
"""Kind of run in words."""

KIND_COLOURS = {"head": "@c0", "baseline": "@c1", "finetune": "@c2", "zeroshot": "@c3"}
KIND_SYMBOLS = {"head": "circle", "baseline": "square", "finetune": "diamond", "zeroshot": "x"}


def plain(name: str) -> str:
    """Return a name as text: Plotly reads some markup, and turns $...$ into formulas."""
    clean = name.encode("utf-8", "replace").decode()
    return html.escape(clean, quote=False).replace("$", "&#36;")


def shorten(name: str, most: int = 32) -> str:
    """Return a name that fits beside an axis, its middle left out."""
    if len(name) <= most:
        return name
    half = (most - 1) // 2
    return f"{name[:half]}…{name[-half:]}"


def colour(i: int) -> str:
    """Return the colour of the i-th line."""
    return f"@c{i % COLOURS}"


def axis(title: str, **more: Any) -> dict[str, Any]:
    """Return an axis with a title."""
    return {"title": {"text": title}, **more}


def figure(
    data: Sequence[Mapping[str, Any]],
    xaxis: Mapping[str, Any],
    yaxis: Mapping[str, Any],
    **layout: Any,
) -> dict[str, Any]:
    """Return a figure; what all have in common is set by the page."""
    return {"data": list(data), "layout": {"xaxis": xaxis, "yaxis": yaxis, **layout}}


def band(x: Sequence[Any], low: Sequence[float], high: Sequence[float], c: str) -> dict[str, Any]:
    """Return a filled band around a line."""
    return {
        "type": "scatter",
        "x": [*x, *reversed(x)],
        "y": [*high, *reversed(low)],
        "fill": "toself",
        "fillcolor": f"{c}/0.14",
        "line": {"width": 0},
        "mode": "lines",
        "hoverinfo": "skip",
        "showlegend": False,
    }


def power_ticks(values: Sequence[float]) -> dict[str, Any]:
    """Return tick marks of a logarithmic axis: the values where they are few, else powers of 10.

    >>> power_ticks([1, 3, 5])["ticktext"], power_ticks([1e-6, 1, 100])["ticktext"][:3]
    (['1', '3', '5'], ['10⁻⁶', '10⁻⁵', '10⁻⁴'])
    """
    distinct = sorted(set(values))
    if distinct[-1] < 1000 * distinct[0] and len(distinct) <= 12:
        return {"tickvals": distinct, "ticktext": [f"{v:g}" for v in distinct]}
    powers = range(math.floor(math.log10(distinct[0])), math.ceil(math.log10(distinct[-1])) + 1)
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    texts = [f"{10.0**p:g}" if -3 <= p <= 3 else f"10{str(p).translate(raised)}" for p in powers]
    return {"tickvals": [10.0**p for p in powers], "ticktext": texts}


def log_ticks(low: float, high: float) -> dict[str, Any]:
    """Return tick marks of a logarithmic axis of seconds, in the units people say them in.

    >>> log_ticks(25, 300)["ticktext"]
    ['20 s', '30 s', '1 min', '2 min', '5 min']
    >>> log_ticks(0.01, 9000)["ticktext"]
    ['0.01 s', '0.1 s', '1 s', '10 s', '1 min', '10 min', '1 h']
    """
    if high < 3 * low:  # even marks in seconds
        return {"ticksuffix": " s", "nticks": 8}
    coarse = [0.001, 0.01, 0.1, 1, 10, 60, 600, 3600, 36_000, 360_000]
    fine = sorted(
        [*coarse, 0.2, 0.5, 2, 5, 20, 30, 120, 300, 1200, 1800, 7200, 18_000, 72_000, 180_000]
    )
    for marks in (fine, coarse):
        inside = [v for v in marks if low / 1.5 <= v <= 1.5 * high]
        if len(inside) <= 8:
            break
    texts = [
        f"{v:g} s" if v < 60 else f"{v / 60:g} min" if v < 3600 else f"{v / 3600:g} h"
        for v in inside
    ]
    return {"tickvals": inside, "ticktext": texts}
