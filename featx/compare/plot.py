"""A comparison as a chart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from featx.records import Comparison

if TYPE_CHECKING:
    import plotly.graph_objects

ROW_PIXELS = 26
"""Height of a line of the chart."""

Group = Mapping[str, Any]


def plot_accuracy(comparison: Comparison) -> plotly.graph_objects.Figure:
    """Draw the accuracy of each group with its 95% interval over test images.

    Parameters
    ----------
    comparison : Comparison

    Returns
    -------
    plotly.graph_objects.Figure
        Points with intervals, the best on top; or, where groups differ in images a class, lines
        over that number.
    """
    from plotly import graph_objects

    levels = {group["shots"] for group in comparison.groups}
    made = _over_shots(comparison) if len(levels) > 1 else _side_by_side(comparison.groups)
    traces, layout = made
    figure = graph_objects.Figure(traces)
    figure.update_layout(template="plotly_white", margin={"t": 30, "r": 20}, **layout)
    return figure


def _side_by_side(groups: Sequence[Group]) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    ordered = sorted(groups, key=lambda group: group["accuracy"])  # Plotly draws from below
    names = [_name(group) for group in ordered]
    values = [group["accuracy"] for group in ordered]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": values,
        "y": list(range(len(ordered))),
        "text": names,
        "error_x": _error_bars(ordered),
        "hovertemplate": "%{text}: %{x:.3f}<extra></extra>",
    }
    layout = {
        "xaxis": {"title": {"text": "accuracy, with 95% interval"}},
        "yaxis": {"tickvals": list(range(len(ordered))), "ticktext": names, "automargin": True},
        "height": 120 + ROW_PIXELS * len(ordered),
        "showlegend": False,
    }
    return [trace], layout


def _over_shots(comparison: Comparison) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    lines: dict[str, list[Group]] = {}
    for group in comparison.groups:
        lines.setdefault(_name(group), []).append(group)
    ends = sorted(lines, key=lambda name: -max(g["accuracy"] for g in lines[name]))
    traces = []
    for name in ends:
        points = sorted(((_images(comparison, g), g) for g in lines[name]), key=lambda p: p[0])
        traces.append(
            {
                "type": "scatter",
                "mode": "lines+markers",
                "name": name,
                "x": [images for images, _ in points],
                "y": [group["accuracy"] for _, group in points],
                "error_y": _error_bars([group for _, group in points]),
                "hovertemplate": f"{name}<br>%{{x}} training images: %{{y:.3f}}<extra></extra>",
            }
        )
    layout = {
        "xaxis": {"title": {"text": "training images"}, "type": "log"},
        "yaxis": {"title": {"text": "accuracy, with 95% interval"}},
    }
    return traces, layout


def _images(comparison: Comparison, group: Group) -> float:
    counts = [comparison.rows[i]["n_train"] for i in group["members"]]
    return float(sum(counts) / len(counts))


def _error_bars(groups: Sequence[Group]) -> dict[str, Any]:
    return {
        "type": "data",
        "symmetric": False,
        "array": [group["accuracy_ci"][1] - group["accuracy"] for group in groups],
        "arrayminus": [group["accuracy"] - group["accuracy_ci"][0] for group in groups],
    }


def _name(group: Group) -> str:
    """Name a group without its number of images; Plotly would read < as markup."""
    words = [group["backbone"], group["tap"], group["head"] or group["kind"]]
    return " ".join(filter(None, words)).replace("&", "&amp;").replace("<", "&lt;")
