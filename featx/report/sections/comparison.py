"""All models side by side: the table, accuracy against time, and learning curves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from featx.report.blocks import Block, Chart, Column, Section, Table, Text
from featx.report.figures import (
    KIND_COLOURS,
    KIND_NAMES,
    KIND_SYMBOLS,
    MAX_LINES,
    axis,
    band,
    colour,
    figure,
    log_ticks,
    plain,
)
from featx.report.numbers import write_seconds
from featx.report.subject import Group, Subject, total_seconds

_COLUMNS = (
    Column("Kind"),
    Column("Backbone"),
    Column("Tap"),
    Column("Head"),
    Column("Images a class", "shots", "training images a class; all is every one", short="Images"),
    Column("Accuracy", "interval", "with its 95% interval over test images"),
    Column("Draws", "spread", "standard deviation over draws of training images"),
    Column("Macro F1", "share", "mean of the classes' F1"),
    Column("Against best", "verdict", "at the same number of images a class", short="vs best"),
    Column("Total", "seconds", "photos to predictions"),
    Column("Extract", "seconds", "once for all heads"),
    Column("Choose and fit", "seconds", "choosing parameters, then fitting", short="Fit"),
    Column("Predict", "seconds", "all test images"),
    Column("Width", "count", "features an image"),
)


def show_comparison(subject: Subject) -> Section:
    """Show every model once."""
    blocks: list[Block] = [list_groups(subject)]
    if len(subject.comparison.groups) > 1:
        blocks.append(_accuracy_and_time(subject))
    curves = _learning_curves(subject)
    if curves:
        blocks.append(curves)
    else:
        blocks.append(
            Text(
                "There is no learning curve: runs at two numbers of images a class at least make "
                "one. featx classify --shots 20,100,all adds them."
            )
        )
    return Section("models", "Models", tuple(blocks))


def list_groups(subject: Subject) -> Table:
    """Return the comparison: a row a model, the most images and the best first."""
    groups = subject.comparison.groups
    order = sorted(range(len(groups)), key=lambda i: (-_shots(groups[i]), -groups[i]["accuracy"]))
    against = _against_best(subject)
    rows = tuple(_row(groups[i], against.get(i, "")) for i in order)
    best = groups.index(subject.winner)
    return Table(
        "models",
        "All models",
        _COLUMNS,
        rows,
        note="vs best: the difference in accuracy where the paired test shows one (95%, "
        "corrected for all tests), ~ where it does not. Seconds are means over draws.",
        marked=(order.index(best),),
    )


def _row(group: Group, against: str) -> tuple[Any, ...]:
    low, high = group["accuracy_ci"]
    return (
        group["kind"],
        group["backbone"],
        group["tap"],
        group["head"],
        _shots_text(group["shots"]),
        (group["accuracy"], low, high),
        group["accuracy_spread"],
        group["macro_f1"],
        against,
        total_seconds(group),
        group["extract_seconds"],
        group["select_seconds"] + group["fit_seconds"],
        group["predict_seconds"],
        group["feature_dim"],
    )


def _against_best(subject: Subject) -> dict[int, str]:
    told = {}
    for test in subject.comparison.tests:
        told[test["best"]] = "best"
        told[test["other"]] = f"{-test['difference']:+.3f}" if test["shown"] else "~"
    return told


def _has_most(group: Group, most: float) -> bool:
    return _shots(group) == most or group["kind"] == "zeroshot"


def _shots_text(shots: int | None) -> int | str:
    return "all" if shots is None else shots


def _shots(group: Group) -> float:
    return math.inf if group["shots"] is None else group["shots"]


def _accuracy_and_time(subject: Subject) -> Chart:
    groups = subject.comparison.groups
    most = max(_shots(g) for g in groups)
    traces: list[dict[str, Any]] = []
    for kind, words in KIND_NAMES.items():
        for full in (True, False):
            # The ImageNet classifier is shown no training image: that is all it can be.
            mine = [g for g in groups if g["kind"] == kind and _has_most(g, most) == full]
            if mine:
                traces.append(_points(mine, kind, words if full else f"{words}, fewer images"))
    front = pareto_front(groups)
    traces.insert(
        0,
        {
            "type": "scatter",
            "name": "Best for the time",
            "mode": "lines",
            "x": [_time(g) for g in front],
            "y": [g["accuracy"] for g in front],
            "line": {"color": "@muted", "dash": "dot", "width": 1.5, "shape": "hv"},
            "hoverinfo": "skip",
        },
    )
    times = [_time(g) for g in groups]
    winner = subject.winner
    names = ", ".join(g["name"] for g in front)
    return Chart(
        "accuracy-and-time",
        "Accuracy against time",
        f"{len(groups)} models by total time and accuracy. None is both faster and more accurate "
        f"than these: {names}.",
        figure(
            traces,
            axis(
                "total time, photos to predictions", type="log", **log_ticks(min(times), max(times))
            ),
            axis("accuracy", tickformat=".3~f"),
            hovermode="closest",
            annotations=[
                {
                    "x": math.log10(_time(winner)),
                    "y": winner["accuracy"],
                    "text": plain(winner["head"] or winner["kind"]),
                    "showarrow": False,
                    "yshift": 16,
                    "font": {"color": "@ink", "size": 12},
                }
            ],
        ),
        table=Table(
            "best-for-the-time",
            "Best for the time",
            (Column("Model"), Column("Total", "seconds"), Column("Accuracy", "share")),
            tuple((g["name"], total_seconds(g), g["accuracy"]) for g in front),
        ),
        note="Up and to the left is better. Open marks had fewer training images. Every model "
        "carries the full extraction, though one extraction serves all heads on it.",
    )


def _time(group: Group) -> float:
    return max(total_seconds(group), 1e-3)


def _points(groups: Sequence[Group], kind: str, name: str) -> dict[str, Any]:
    full = "fewer" not in name
    symbol = KIND_SYMBOLS[kind] + ("" if full else "-open")
    return {
        "type": "scatter",
        "name": name,
        "mode": "markers",
        "x": [_time(g) for g in groups],
        "y": [g["accuracy"] for g in groups],
        "customdata": [
            [plain(g["name"]), write_seconds(total_seconds(g)), *g["accuracy_ci"]] for g in groups
        ],
        "hovertemplate": "%{customdata[0]}<br>accuracy %{y:.3f} (%{customdata[2]:.3f} to "
        "%{customdata[3]:.3f})<br>%{customdata[1]}<extra></extra>",
        "marker": {
            "symbol": symbol,
            "size": 10 if full else 7,
            "color": KIND_COLOURS[kind],
            "opacity": 0.95 if full else 0.7,
        },
    }


def pareto_front(groups: Sequence[Group]) -> list[Group]:
    """Return the groups that no other beats in both time and accuracy, fastest first."""
    front: list[Group] = []
    for group in sorted(groups, key=lambda g: (total_seconds(g), -g["accuracy"])):
        if not front or group["accuracy"] > front[-1]["accuracy"]:
            front.append(group)
    return front


def _learning_curves(subject: Subject) -> Chart | None:
    lines: dict[tuple[str, ...], list[Group]] = {}
    for group in subject.comparison.groups:
        model = (group["kind"], group["backbone"], group["tap"], group["head"])
        lines.setdefault(model, []).append(group)
    curves = {
        words: sorted(groups, key=lambda g: _images_a_class(subject, g))
        for words, groups in lines.items()
        if len({g["shots"] for g in groups}) > 1
    }
    if not curves:
        return None
    ranked = sorted(curves, key=lambda words: -curves[words][-1]["accuracy"])
    traces: list[dict[str, Any]] = []
    bands: list[dict[str, Any]] = []
    for i, words in enumerate(ranked[:MAX_LINES]):
        groups = curves[words]
        x = [_images_a_class(subject, g) for g in groups]
        name = " ".join(w for w in words[1:] if w) or words[0]
        lows, highs = ([g["accuracy_ci"][side] for g in groups] for side in (0, 1))
        bands.append({**band(x, lows, highs, colour(i)), "legendgroup": name})
        traces.append(
            {
                "type": "scatter",
                "name": plain(name),
                "legendgroup": name,
                "mode": "lines+markers",
                "x": x,
                "y": [g["accuracy"] for g in groups],
                "customdata": list(zip(lows, highs, strict=True)),
                "hovertemplate": f"{plain(name)}<br>%{{x:.0f}} images a class<br>"
                "accuracy %{y:.3f} (%{customdata[0]:.3f} to %{customdata[1]:.3f})<extra></extra>",
                "line": {"color": colour(i), "width": 2},
                "marker": {"color": colour(i), "size": 6},
            }
        )
    ticks = {
        round(_images_a_class(subject, g)): f"{g['shots']}"
        if g["shots"] is not None
        else f"all ({_images_a_class(subject, g):.0f})"
        for gs in curves.values()
        for g in gs
    }
    top = " ".join(w for w in ranked[0][1:] if w)
    more = f" The {MAX_LINES} best of {len(curves)} are shown." if len(curves) > MAX_LINES else ""
    return Chart(
        "learning-curves",
        "Learning curves",
        f"Accuracy by training images a class, {min(len(curves), MAX_LINES)} models; with the most "
        f"images {top} is best.",
        figure(
            [*bands, *traces],
            axis(
                "training images a class",
                type="log",
                tickvals=list(ticks),
                ticktext=list(ticks.values()),
            ),
            axis("accuracy", tickformat=".3~f"),
        ),
        table=_curve_table(subject, [curves[words] for words in ranked]),
        note="Bands: 95% over test images, of the mean over draws. All images: at their mean "
        f"number a class.{more}",
    )


def _images_a_class(subject: Subject, group: Group) -> float:
    """Return the training images a class: the shots, or with all images their mean."""
    if group["shots"] is not None:
        return float(group["shots"])
    record = subject.records[group["members"][0]]
    return max(1.0, (record.split["n_train"] + record.split.get("n_val", 0)) / len(record.classes))


def _curve_table(subject: Subject, curves: Sequence[Sequence[Group]]) -> Table:
    return Table(
        "learning-curves",
        "Learning curves",
        (
            Column("Model"),
            Column("Images a class", "shots"),
            Column("Accuracy", "interval"),
            Column("Draws", "spread"),
        ),
        tuple(
            (
                " ".join(w for w in (g["backbone"], g["tap"], g["head"]) if w) or g["kind"],
                _shots_text(g["shots"]),
                (g["accuracy"], *g["accuracy_ci"]),
                g["accuracy_spread"],
            )
            for groups in curves
            for g in groups
        ),
    )
