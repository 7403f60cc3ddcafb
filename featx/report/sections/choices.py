"""What was chosen and how training went: selection curves and histories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.records import RunRecord
from featx.report.blocks import Block, Chart, Column, Section, Table
from featx.report.figures import MAX_LINES, axis, colour, figure, plain, power_ticks
from featx.report.subject import Subject


def show_choices(subject: Subject) -> Section | None:
    """Show how parameters were chosen, and how networks and small MLPs were trained."""
    runs = _best_runs(subject)
    blocks: list[Block] = [*_selection_charts(runs), *_histories(runs)]
    return Section("training", "Choices and training", tuple(blocks)) if blocks else None


def _best_runs(subject: Subject) -> list[tuple[str, RunRecord]]:
    """Return a name and the first draw of each group at its most images, the best first."""
    groups = subject.comparison.groups
    most: dict[tuple[str, ...], Any] = {}
    for group in groups:
        words = (group["kind"], group["backbone"], group["tap"], group["head"])
        best = most.get(words)
        if best is None or _shots(group) > _shots(best):
            most[words] = group
    ranked = sorted(most.values(), key=lambda g: -g["accuracy"])
    names = [" ".join(w for w in (g["backbone"], g["tap"], g["head"]) if w) for g in ranked]
    return [
        (name or g["kind"], subject.first_run(g)) for name, g in zip(names, ranked, strict=True)
    ]


def _shots(group: Any) -> float:
    return math.inf if group["shots"] is None else group["shots"]


def _selection_charts(runs: Sequence[tuple[str, RunRecord]]) -> list[Chart]:
    by_parameter: dict[str, list[tuple[str, RunRecord, list[Any]]]] = {}
    for name, record in runs:
        curve = [
            point
            for point in record.selection.get("curve") or ()
            if isinstance(point["value"], (int, float)) and point["value"] > 0
        ]
        if len(curve) > 1:
            parameter = str(record.selection["parameter"])
            by_parameter.setdefault(parameter, []).append((name, record, curve))
    return [
        _selection_chart(parameter, found, half=len(by_parameter) > 1)
        for parameter, found in by_parameter.items()
    ]


def _selection_chart(
    parameter: str, found: Sequence[tuple[str, RunRecord, list[Any]]], *, half: bool
) -> Chart:
    traces: list[dict[str, Any]] = []
    rows = []
    for i, (name, record, curve) in enumerate(found[:MAX_LINES]):
        chosen = record.selection.get("chosen")
        values = [p["value"] for p in curve]
        scores = [p["score"] for p in curve]
        spreads = [_spread(p) for p in curve]
        traces.append(
            {
                "type": "scatter",
                "name": plain(name),
                "mode": "lines+markers",
                "x": values,
                "y": scores,
                "customdata": spreads,
                "hovertemplate": f"{plain(name)}<br>{parameter} %{{x:.3g}}<br>"
                "accuracy %{y:.3f} ±%{customdata:.3f}<extra></extra>",
                "line": {"color": colour(i), "width": 2},
                "marker": {
                    "color": colour(i),
                    "size": [11 if v == chosen else 5 for v in values],
                    "symbol": ["diamond" if v == chosen else "circle" for v in values],
                },
            }
        )
        on = record.selection.get("on")
        rows += [
            (name, v, s, d, "chosen" if v == chosen else "", on)
            for v, s, d in zip(values, scores, spreads, strict=True)
        ]
    chosen_texts = ", ".join(
        f"{name} {record.selection['chosen']:.3g}"
        for name, record, _ in found[:MAX_LINES]
        if isinstance(record.selection.get("chosen"), (int, float))
    )
    return Chart(
        f"selection-{parameter}",
        f"Choosing {parameter}",
        f"Accuracy on held-out training images by {parameter}. Chosen: {chosen_texts}.",
        figure(
            traces,
            axis(parameter, type="log", **power_ticks([p["value"] for *_, c in found for p in c])),
            axis("held-out accuracy", tickformat=".3~f"),
        ),
        table=Table(
            f"selection-{parameter}",
            f"Choosing {parameter}",
            (
                Column("Model"),
                Column(parameter, "number"),
                Column("Accuracy", "share"),
                Column("Folds", "spread", "standard deviation over folds"),
                Column("Chosen"),
                Column("Chosen on"),
            ),
            tuple(rows),
        ),
        note="No test image is in these figures. Diamonds mark what was chosen; each is the "
        "model's first draw with the most images.",
        height=360,
        half=half,
    )


def _spread(point: Any) -> float | None:
    scores = point.get("fold_scores") or []
    return float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def _histories(runs: Sequence[tuple[str, RunRecord]]) -> list[Chart]:
    trained = [(name, r, r.cost["history"]) for name, r in runs if r.cost.get("history")]
    charts = []
    for what, key, validation in (
        ("Loss", "loss", "val_loss"),
        ("Accuracy", "accuracy", "val_accuracy"),
    ):
        having = [t for t in trained if t[2].get(key) or t[2].get(validation)]
        if having:
            charts.append(_history(what, key, validation, having[: MAX_LINES - 2]))
    return charts


def _history(
    what: str, key: str, validation: str, trained: Sequence[tuple[str, RunRecord, Any]]
) -> Chart:
    traces, rows = [], []
    for i, (name, record, history) in enumerate(trained):
        best = record.cost.get("best_epoch")
        for series, dash, words in ((key, "dot", "training"), (validation, "solid", "validation")):
            values = history.get(series) or []
            if not values:
                continue
            epochs = list(range(1, len(values) + 1))
            traces.append(
                {
                    "type": "scatter",
                    "name": f"{plain(name)}, {words}",
                    "mode": "lines+markers" if dash == "solid" else "lines",
                    "x": epochs,
                    "y": values,
                    "hovertemplate": f"{plain(name)}, {words}<br>epoch %{{x}}<br>%{{y:.4f}}"
                    "<extra></extra>",
                    "line": {
                        "color": colour(i),
                        "width": 2 if dash == "solid" else 1.5,
                        "dash": dash,
                    },
                    "marker": {
                        "color": colour(i),
                        "size": [10 if e == best else 0 for e in epochs],
                    },
                }
            )
            rows += [(name, words, e, v) for e, v in zip(epochs, values, strict=True)]
    names = ", ".join(
        f"{name} ({len(history.get(key) or history.get(validation))} epochs)"
        for name, _, history in trained
    )
    low = what.lower()
    return Chart(
        f"history-{low}",
        f"{what} while training",
        f"{what} by epoch of {names}.",
        figure(
            traces,
            axis("epoch", rangemode="tozero"),
            axis(low, tickformat=".3~f"),
        ),
        table=Table(
            f"history-{low}",
            f"{what} while training",
            (Column("Model"), Column("On"), Column("Epoch", "count"), Column(what, "number")),
            tuple(rows),
        ),
        note="Dotted: training images; solid: images held out of training. The dot is the epoch "
        "whose weights were kept.",
        height=360,
        half=True,
    )
