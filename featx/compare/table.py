"""A comparison as plain text for the terminal."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from featx.compare.breakeven import break_even, format_break_even
from featx.records import Comparison

TABLE_WIDTH = 120
"""Columns of text that a table keeps to, long specs being cut."""

HEADER = (
    "backbone", "tap", "head", "shots", "accuracy [95%]", "±draws", "macro F1", "vs best",
    "extract", "fit", "predict", "width",
)  # fmt: skip
LEGEND = (
    "extract, fit (with choosing) and predict in seconds; ±draws: standard deviation over draws;\n"
    "vs best: at the same shots, ~ where no difference is shown"
)
TEXT_COLUMNS = 3
_NARROWEST = 8


def format_table(comparison: Comparison) -> str:
    """Return the groups of a comparison as an aligned table, the verdict, break-even, findings.

    Parameters
    ----------
    comparison : Comparison
        With its `groups` and `tests`, as `compare` makes it.

    Returns
    -------
    str
        Lines of at most 120 columns but for the verdict and findings. Seconds are means over draws;
        "fit" holds choosing too.
    """
    text = _aligned(table_cells(comparison))
    return "\n".join([*text, "", LEGEND, "", *table_notes(comparison)])


def table_cells(comparison: Comparison) -> list[tuple[str, ...]]:
    """Return the table: a line of names, then a line a group, by shots and then accuracy."""
    return [HEADER, *(_cells(comparison, i) for i in _ordered(comparison))]


def table_notes(comparison: Comparison) -> list[str]:
    """Return what is said below the table: verdict, members, networks, break-even, findings."""
    ordered = _ordered(comparison)
    notes = [verdict(comparison), *_members(comparison, ordered)]
    notes += _networks(comparison, ordered)
    notes += filter(None, [format_break_even(break_even(comparison.groups))])
    return notes + [f"{finding.code}: {finding.text}" for finding in comparison.findings]


def verdict(comparison: Comparison) -> str:
    """Say in words which group won, by how much, and whether the difference is shown."""
    best = next(g for g in comparison.groups if g["name"] == comparison.baseline)
    low, high = best["accuracy_ci"]
    text = f"Best: {best['name']}: accuracy {best['accuracy']:.3f} ({low:.3f} to {high:.3f})."
    return " ".join(filter(None, [text, runner_up(comparison)]))


def runner_up(comparison: Comparison) -> str:
    """Say which group is next to the best, and whether the difference is shown; may be empty."""
    groups = comparison.groups
    rivals = [t for t in comparison.tests if groups[t["best"]]["name"] == comparison.baseline]
    if not rivals:
        return ""
    second = max(rivals, key=lambda t: groups[t["other"]]["accuracy"])
    low, high = second["difference_ci"]
    detail = (
        f"by {100 * second['difference']:.1f} points (95% {100 * low:+.1f} to {100 * high:+.1f}, "
        f"{_p_text(second['p_holm'])})"
    )
    name = groups[second["other"]]["name"]
    if second["shown"]:
        return f"It beats the next, {name}, {detail}."
    level = sum(not t["shown"] for t in rivals)
    return (
        f"No difference shown to the next, {name}: ahead {detail}; "
        f"{level} of {len(rivals)} others are not shown to be worse."
    )


def _ordered(comparison: Comparison) -> list[int]:
    groups = comparison.groups
    return sorted(range(len(groups)), key=lambda i: (_shots(groups[i]), -groups[i]["accuracy"]))


def _members(comparison: Comparison, ordered: Sequence[int]) -> list[str]:
    """Say what heads each average is of, and in how many draws where they differ."""
    lines = []
    for group in (comparison.groups[i] for i in ordered):
        params = [comparison.rows[i]["params"] for i in group["members"]]
        found = Counter(name for p in params for name in p.get("members", ()))
        draws = group["draws"]
        names = [
            name if count == draws else f"{name} ({count} of {draws} draws)"
            for name, count in found.most_common()
        ]
        if names:
            lines.append(f"{group['name']}: {', '.join(names)}.")
    return lines


def _networks(comparison: Comparison, ordered: Sequence[int]) -> list[str]:
    """Say what the training of each network came to."""
    lines = []
    for group in (comparison.groups[i] for i in ordered):
        if not group.get("epochs"):
            continue
        plural = "" if round(group["epochs"]) == 1 else "s"
        line = (
            f"{group['name']}: {group['epochs']:.0f} epoch{plural} × "
            f"{group['epoch_seconds']:.1f} s, "
            f"{group['parameters_trained'] or 0:,} parameters trained."
        )
        if group["unfinished"]:
            line += " The last epoch was the best: more may do better (--epochs)."
        lines.append(line)
    return lines


def _cells(comparison: Comparison, index: int) -> tuple[str, ...]:
    group = comparison.groups[index]
    low, high = group["accuracy_ci"]
    spread = group["accuracy_spread"]
    return (
        group["backbone"],
        group["tap"],
        group["head"] or group["kind"],
        "all" if group["shots"] is None else str(group["shots"]),
        f"{group['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
        "" if spread is None else f"{spread:.3f}",
        f"{group['macro_f1']:.3f}",
        _against_best(comparison, index),
        _seconds(group["extract_seconds"]),
        _seconds(group["select_seconds"] + group["fit_seconds"]),
        _seconds(group["predict_seconds"]),
        str(group["feature_dim"] or ""),
    )


def _against_best(comparison: Comparison, index: int) -> str:
    for test in comparison.tests:
        if test["other"] == index:
            return f"{-test['difference']:+.3f}" if test["shown"] else "~"
        if test["best"] == index:
            return "best"
    return ""


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    """Pad cells to columns; too wide a table first draws them together, then cuts the texts."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    gap = 2 if sum(widths) + 2 * (len(widths) - 1) <= TABLE_WIDTH else 1
    excess = sum(widths) + gap * (len(widths) - 1) - TABLE_WIDTH
    while excess > 0:
        widest = max(range(TEXT_COLUMNS), key=lambda i: widths[i])
        if widths[widest] <= _NARROWEST:
            break
        widths[widest] -= 1
        excess -= 1
    result = []
    for line in lines:
        cells = [
            _cut(cell, width).ljust(width) if i < TEXT_COLUMNS else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        result.append((" " * gap).join(cells).rstrip())
    return result


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:.0f}"


def _p_text(p: float) -> str:
    return f"p = {p:.2g}" if p >= 0.001 else "p < 0.001"


def _shots(group: Mapping[str, Any]) -> float:
    return math.inf if group["shots"] is None else group["shots"]
