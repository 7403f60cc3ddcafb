"""Tables of a run of a recipe: a header and rows of text, and how they are set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from featx.compare.groups import group_runs
from featx.recipe.published import GETTERS, BesideRow
from featx.records import RunRecord

Table = tuple[Sequence[str], Sequence[Sequence[str]]]
"""Header and rows."""

NAMES = {
    "accuracy": "accuracy", "top5": "top-5", "top10": "top-10", "macro_precision": "precision",
    "macro_recall": "recall", "macro_f1": "F1", "entropy_bits": "entropy, bits",
    "train_accuracy": "training accuracy", "val_accuracy": "validation accuracy",
    "train_loss": "training loss", "val_loss": "validation loss", "epochs": "epochs",
    "epoch_seconds": "s an epoch", "train_seconds": "training", "extract_seconds": "extraction",
    "parameters_trained": "parameters trained", "parameters_frozen": "parameters frozen",
    "layers": "layers", "feature_dim": "features", "image_size": "pixels",
}  # fmt: skip
"""Figure to its heading."""

ENDS = 5
"""Classes shown from the best, and from the worst."""


def set_table(table: Table, left: Sequence[int] = (0,)) -> str:
    """Return a table in Markdown, padded so that it reads well as plain text too.

    Columns numbered in `left` (from the end where negative) stand to the left, others to the right.

    >>> print(set_table((("name", "n"), [("a", "10")])))
    | name |  n |
    | ---- | -: |
    | a    | 10 |
    """
    header, rows = table
    lines = [list(header), *(list(row) for row in rows)]
    lines = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in lines]
    widths = [max(2, *map(len, column)) for column in zip(*lines, strict=True)]
    to_left = {i % len(widths) for i in left}
    rule = ["-" * w if i in to_left else "-" * (w - 1) + ":" for i, w in enumerate(widths)]
    found = []
    for line in [lines[0], rule, *lines[1:]]:
        cells = [
            cell.ljust(w) if i in to_left else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ]
        found.append(f"| {' | '.join(cells)} |")
    return "\n".join(found)


def beside_table(rows: Sequence[BesideRow]) -> Table:
    """Return what the study published and ours, "0.986 / 0.841", a row each."""
    shown = [key for key in GETTERS if any(key in row.published.figures for row in rows)]
    header = ("study", "from", *(f"{NAMES[key]}: theirs / ours" for key in shown), "ours is")
    lines = []
    for row in rows:
        cells = [
            f"{figure_text(key, row.published.figures.get(key))} / "
            f"{figure_text(key, row.figures.get(key))}"
            if key in row.published.figures
            else ""
            for key in shown
        ]
        lines.append((row.published.name, row.published.source, *cells, row.ours or row.why))
    return header, lines


def results_table(records: Sequence[RunRecord]) -> Table:
    """Return every group of runs with what it reached and what it cost, best first."""
    groups = sorted(group_runs(records), key=lambda g: -g["accuracy"])
    keys = (
        "top5", "top10", "macro_f1", "entropy_bits", "train_seconds", "extract_seconds", "epochs",
        "epoch_seconds", "parameters_trained", "layers", "feature_dim",
    )  # fmt: skip
    values = [{key: _mean(key, records, g["members"]) for key in keys} for g in groups]
    shown = [key for key in keys if any(v[key] for v in values)]
    header = ("run", "accuracy [95%]", *(NAMES[key] for key in shown))
    lines = []
    for group, own in zip(groups, values, strict=True):
        low, high = group["accuracy_ci"]
        accuracy = f"{group['accuracy']:.3f} [{low:.3f}, {high:.3f}]"
        lines.append((group["name"], accuracy, *(figure_text(key, own[key], "") for key in shown)))
    return header, lines


def training_table(records: Sequence[RunRecord]) -> Table:
    """Return the training curves' ends of the runs that have some."""
    keys = (
        "epochs", "epoch_seconds", "train_loss", "train_accuracy", "val_loss", "val_accuracy",
        "parameters_trained", "parameters_frozen",
    )  # fmt: skip
    groups = [g for g in group_runs(records) if records[g["members"][0]].cost.get("history")]
    header = ("run", "best epoch", *(NAMES[key] for key in keys))
    lines = []
    for group in groups:
        best = [records[i].cost.get("best_epoch") for i in group["members"]]
        numbers = [float(b) for b in best if b is not None]
        cells = [figure_text(key, _mean(key, records, group["members"]), "") for key in keys]
        first = f"{np.mean(numbers):.0f}" if numbers else ""
        lines.append((group["name"], first, *cells))
    return header, lines


def class_table(records: Sequence[RunRecord]) -> Table:
    """Return the classes each group of runs tells best and worst by F1, and mixes up most."""
    header = ("run", "best by F1", "worst by F1", "taken for another most often")
    lines = []
    for group in group_runs(records):
        runs = [records[i] for i in group["members"]]
        classes = runs[0].classes
        f1 = np.mean([r.metrics["per_class"]["f1"] for r in runs], axis=0)
        support = np.asarray(runs[0].metrics["per_class"]["support"])
        tested = [int(i) for i in np.argsort(-f1, kind="stable") if support[i]]
        several = min(ENDS, (len(tested) + 1) // 2)
        best = ", ".join(f"{classes[i]} {f1[i]:.2f}" for i in tested[:several])
        worst = ", ".join(f"{classes[i]} {f1[i]:.2f}" for i in tested[::-1][:several])
        lines.append((group["name"], best, worst, _confusions(runs)))
    return header, lines


def entropy_table(records: Sequence[RunRecord]) -> Table:
    """Return how sure the runs that give probabilities are of which classes, in bits."""
    header = ("run", "mean entropy", "surest of", "least sure of")
    lines = []
    for group in group_runs(records):
        runs = [records[i] for i in group["members"]]
        rows = [r.metrics["per_class"]["entropy_bits"] for r in runs]
        known = [i for i in range(len(runs[0].classes)) if all(row[i] is not None for row in rows)]
        mean = _mean("entropy_bits", records, group["members"])
        if mean is None or not known:
            continue
        bits = {runs[0].classes[i]: float(np.mean([row[i] for row in rows])) for i in known}
        order = sorted(bits, key=lambda name: bits[name])
        several = min(ENDS, (len(order) + 1) // 2)
        texts = [
            ", ".join(f"{name} {bits[name]:.2f}" for name in names)
            for names in (order[:several], order[::-1][:several])
        ]
        lines.append((group["name"], f"{mean:.2f}", *texts))
    return header, lines


def count_table(counts: Mapping[str, Mapping[str, int]]) -> Table:
    """Return how many images and classes each split has, from the smallest class to the largest."""
    header = ("split", "images", "classes", "smallest class", "largest class")
    lines = []
    for split, found in counts.items():
        few, many = min(found, key=lambda c: found[c]), max(found, key=lambda c: found[c])
        lines.append(
            (
                split or "divided by featx",
                str(sum(found.values())),
                str(len(found)),
                f"{few} {found[few]}",
                f"{many} {found[many]}",
            )
        )
    return header, lines


def figure_text(key: str, value: Any, missing: str = "–") -> str:
    """Write one figure in its unit.

    >>> figure_text("accuracy", 0.98635), figure_text("train_seconds", 840)
    ('0.986', '14.0 min')
    >>> figure_text("parameters_trained", 2536493), figure_text("epochs", None)
    ('2,536,493', '–')
    """
    if value is None:
        return missing
    if key in ("train_seconds", "extract_seconds", "epoch_seconds"):
        return seconds_text(float(value))
    if key in ("epochs", "parameters_trained", "parameters_frozen", "layers", "feature_dim",
               "image_size"):  # fmt: skip
        return f"{value:,.0f}"
    return f"{value:.2f}" if key.endswith("loss") or key == "entropy_bits" else f"{value:.3f}"


def seconds_text(value: float) -> str:
    """Write a duration for people.

    >>> seconds_text(0.03), seconds_text(39), seconds_text(368), seconds_text(28800)
    ('0.03 s', '39.0 s', '6.1 min', '8.0 h')
    """
    if value < 100:
        return f"{value:.2f} s" if value < 1 else f"{value:.1f} s"
    return f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"


def _mean(key: str, records: Sequence[RunRecord], members: Sequence[int]) -> float | None:
    values = [GETTERS[key](records[i]) for i in members]
    known = [float(v) for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _confusions(runs: Sequence[RunRecord]) -> str:
    """Name the pairs mixed up most, with how many test images (a mean over draws)."""
    counts = np.mean([r.metrics["confusion"] for r in runs], axis=0)
    np.fill_diagonal(counts, 0)
    names = runs[0].classes
    order = np.argsort(-counts, axis=None, kind="stable")[:ENDS]
    pairs = [divmod(int(flat), len(names)) for flat in order if counts.flat[flat] > 0]
    return ", ".join(f"{names[a]} for {names[b]} {counts[a, b]:.0f}" for a, b in pairs)
