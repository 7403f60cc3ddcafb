"""The figures as docs/scale.svg and as the tables of docs/scale.md."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

DOCS = Path(__file__).resolve().parents[2] / "docs"
BILLION = 10**9
NAMES = {
    "folder": "index a folder",
    "index": "index a manifest",
    "plan": "plan",
    "view": "build the view",
    "shots": "open, read 100 shots",
    "verify": "verify",
}
COLOURS = {
    "folder": "#999999",
    "index": "#4477aa",
    "plan": "#66ccee",
    "view": "#228833",
    "shots": "#ccbb44",
    "verify": "#ee6677",
}
Figures = Mapping[str, Any]
Lines = dict[str, list[tuple[int, dict[str, float]]]]


def write_page(found: Figures) -> None:
    """Write the plot, and the tables where docs/scale.md has its marks."""
    lines: Lines = {
        step: [(int(n), of[step]) for n, of in found["sizes"].items() if step in of]
        for step in NAMES
    }
    (DOCS / "scale.svg").write_text(draw(lines))
    page = DOCS / "scale.md"
    text = page.read_text()
    for mark, table in {
        "figures": figures_table(lines),
        "billion": billion_table(lines),
        "machine": machine_line(found["machine"]),
    }.items():
        text, count = re.subn(
            rf"(<!-- {mark} -->\n).*?(<!-- end -->)", rf"\g<1>{table}\g<2>", text, flags=re.DOTALL
        )
        assert count == 1, f"docs/scale.md has {count} marks {mark!r}"
    page.write_text(text)


def figures_table(lines: Lines) -> str:
    """Return seconds and memory of every step at every size, as Markdown."""
    sizes = sorted({n for points in lines.values() for n, _ in points})
    rows = [["step", *(f"{n:,}" for n in sizes), "an image"], ["---"] * (len(sizes) + 2)]
    for step, points in lines.items():
        by_size = dict(points)
        cells = [
            f"{seconds(of['seconds'])}, {size(of['bytes'])}" if (of := by_size.get(n)) else ""
            for n in sizes
        ]
        n, last = points[-1]
        each = f"{last['seconds'] / n * 1e6:.1f} µs, {last['bytes'] / n:.0f} B"
        rows.append([NAMES[step], *cells, each])
    return markdown(rows)


def billion_table(lines: Lines) -> str:
    """Return what the lines come to at a billion, as Markdown."""
    rows = [["step", "time", "memory"], ["---"] * 3]
    for step, points in lines.items():
        if step != "folder":
            rows.append(
                [
                    NAMES[step],
                    seconds(extended(points, "seconds")),
                    size(extended(points, "bytes")),
                ]
            )
    return markdown(rows)


def extended(points: list[tuple[int, dict[str, float]]], what: str) -> float:
    """Return the line through the last two points, at a billion."""
    (low, before), (high, last) = points[-2:]
    slope = max(0.0, (last[what] - before[what]) / (high - low))
    return last[what] + slope * (BILLION - high)


def machine_line(machine: Mapping[str, Any]) -> str:
    """Return what it ran on."""
    load = machine["load_average_at_start"]
    busy = " Others were at work on it: the times are too long." if load > 1 else ""
    return (
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:.0f} GiB; "
        f"load at the start {load}.{busy}\n"
    )


def markdown(rows: list[list[str]]) -> str:
    """Return rows as a table."""
    return "".join("| " + " | ".join(row) + " |\n" for row in rows)


def seconds(value: float) -> str:
    """Return a time for people."""
    for limit, unit, factor in ((100, "s", 1), (6000, "min", 60), (360_000, "h", 3600)):
        if value < limit:
            return f"{value / factor:.{2 if value < 10 else 0}f} {unit}"
    return f"{value / 86400:.0f} days"


def size(value: float) -> str:
    """Return a number of bytes for people."""
    return f"{value / 1e9:.1f} GB" if value >= 1e9 else f"{value / 1e6:.0f} MB"


# --- the plot ----------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, TOP, PANEL = 790, 330, 62, 34, 300


def draw(lines: Lines) -> str:
    """Return both panels as SVG: seconds and memory over images, each axis logarithmic."""
    body = [
        *_panel(lines, LEFT, "seconds", lambda of: of["seconds"], "s"),
        *_panel(lines, LEFT + PANEL + 74, "memory", lambda of: of["bytes"] / 1e6, "MB"),
    ]
    for i, step in enumerate(lines):
        x, y = LEFT + (i % 3) * 230, HEIGHT - 26 + (i // 3) * 17
        body.append(f'<rect x="{x}" y="{y - 8}" width="14" height="4" fill="{COLOURS[step]}"/>')
        body.append(f'<text x="{x + 20}" y="{y - 2}">{NAMES[step]}</text>')
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#444444">\n'
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>\n'
        + "\n".join(body)
        + "\n</svg>\n"
    )


def _panel(
    lines: Lines, left: int, title: str, value: Callable[[dict[str, float]], float], unit: str
) -> list[str]:
    points = [(n, max(value(of), 1e-3)) for all_ in lines.values() for n, of in all_]
    low_x, high_x = (f(math.log10(n) for n, _ in points) for f in (min, max))
    low_y = math.floor(min(math.log10(v) for _, v in points))
    high_y = math.ceil(max(math.log10(v) for _, v in points))
    bottom = HEIGHT - 74

    def at(n: float, v: float) -> str:
        x = left + (math.log10(n) - low_x) / (high_x - low_x or 1) * PANEL
        y = bottom - (math.log10(v) - low_y) / (high_y - low_y) * (bottom - TOP)
        return f"{x:.1f},{y:.1f}"

    out = [f'<text x="{left}" y="{TOP - 14}" font-weight="bold">{title}</text>']
    for power in range(low_y, high_y + 1):
        y = at(10**low_x, 10**power).split(",")[1]
        out.append(f'<path d="M{left},{y}h{PANEL}" stroke="#dddddd"/>')
        tick = f'<text x="{left - 6}" y="{float(y) + 4:.1f}" text-anchor="end">'
        out.append(f"{tick}{10.0**power:g} {unit}</text>")
    for power in range(round(low_x), round(high_x) + 1):
        x = at(10**power, 10**low_y).split(",")[0]
        out.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{10**power:,}</text>')
    for step, all_ in lines.items():
        path = " ".join(at(n, max(value(of), 1e-3)) for n, of in all_)
        out.append(
            f'<polyline points="{path}" fill="none" stroke="{COLOURS[step]}" stroke-width="2"/>'
        )
    return out
