"""What a study published, and what came of it here, row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from featx.backbones import parse_backbone
from featx.compare.groups import group_runs
from featx.recipe.model import Published
from featx.records import RunRecord
from featx.specstring import format_spec


@dataclass(frozen=True)
class BesideRow:
    """One published row with ours beside it.

    Attributes
    ----------
    published : Published
    ours : str
        Name of our group of runs; "" where there is none.
    figures : mapping of str to float or None
        Ours, by the names of the published ones and those that every row has.
    why : str
        Why there is none of ours.
    """

    published: Published
    ours: str
    figures: Mapping[str, float | None]
    why: str = ""


Rows = tuple[Sequence[RunRecord], Sequence[Sequence[str]]]
"""Records of one set of test rows, and the stages of each."""


def beside_rows(published: Sequence[Published], sections: Sequence[Rows]) -> tuple[BesideRow, ...]:
    """Set our runs beside each published row.

    Parameters
    ----------
    published : sequence of Published
    sections : sequence of (records, stages)

    Returns
    -------
    tuple of BesideRow
        In the order of `published`. Figures are means over draws.
    """
    return tuple(_beside(row, sections) for row in published)


def _beside(row: Published, sections: Sequence[Rows]) -> BesideRow:
    if not row.ours:
        return BesideRow(row, "", {}, row.note or "not repeated")
    groups: list[tuple[str, list[RunRecord]]] = []
    for records, stages in sections:
        chosen = [
            record
            for record, names in zip(records, stages, strict=True)
            if row.ours["stage"] in names and _matches(record, row.ours)
        ]
        if chosen:
            groups += [
                (group["name"], [chosen[i] for i in group["members"]])
                for group in group_runs(chosen)
            ]
    if not groups:
        return BesideRow(row, "", {}, f"stage {row.ours['stage']!r} has no such run")
    exact = [g for g in groups if g[1][0].head.text == row.ours.get("head")]
    groups = exact or groups
    if len(groups) > 1:
        names = ", ".join(name for name, _ in groups)
        return BesideRow(row, "", {}, f"{len(groups)} of our runs match it: {names}")
    name, runs = groups[0]
    figures = {key: _mean(key, runs) for key in GETTERS}
    if "layers" in row.figures and figures["layers"] is None:
        figures["layers"] = count_layers(_backbone(runs[0]))
    return BesideRow(row, name, figures)


@cache
def count_layers(backbone: str) -> int:
    """Return the layers of a backbone without its classifier, as Keras counts `model.layers`.

    Those without parameters are among them, the input too; a trained network's record counts only
    layers with parameters. Keras builds it to count, so this is asked only where a study says it.
    """
    from featx.backbones.graph import call_builder, channels_last

    with channels_last():
        return len(call_builder(parse_backbone(backbone), include_top=False).layers)


def _matches(record: RunRecord, wanted: Mapping[str, Any]) -> bool:
    """Tell whether a record is what a published row asks for; a head by its text or its name."""
    tests: dict[str, Callable[[Any], bool]] = {
        "stage": lambda value: True,
        "backbone": lambda value: _backbone(record) == parse_backbone(value).text,
        "tap": lambda value: record.tap == value,
        "head": lambda value: value in (record.head.text, record.head.name),
        "unfreeze": lambda value: str(record.params.get("unfreeze")) == str(value),
        "shots": lambda value: record.shots == (None if value == "all" else value),
        "target": lambda value: record.split.get("target", "class") == value,
        "image_size": lambda value: _size(record) == value,
    }
    return all(tests[key](value) for key, value in wanted.items())


def _backbone(record: RunRecord) -> str:
    """Return the spec text without what is said of its weights."""
    if record.key:
        return format_spec(record.key.backbone, record.key.params)
    return record.backbone.partition(" (")[0]


def _mean(key: str, runs: Sequence[RunRecord]) -> float | None:
    values = [GETTERS[key](run) for run in runs]
    known = [float(v) for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _size(run: RunRecord) -> float | None:
    if run.key:
        return run.key.image.height
    size = run.params.get("image_size")
    return size[0] if isinstance(size, (list, tuple)) else size


def _history(name: str) -> Callable[[RunRecord], float | None]:
    """Read a training curve where the weights that were kept are from."""

    def read(run: RunRecord) -> float | None:
        values = run.cost.get("history", {}).get(name)
        if not values:
            return None
        best = run.cost.get("best_epoch")
        place = len(values) if best is None else min(max(int(best), 1), len(values))
        value = values[place - 1]
        return None if value is None else float(value)

    return read


def _metric(name: str) -> Callable[[RunRecord], float | None]:
    return lambda run: run.metrics.get(name)


def _cost(name: str) -> Callable[[RunRecord], float | None]:
    return lambda run: run.cost.get(name)


GETTERS: dict[str, Callable[[RunRecord], float | None]] = {
    **{
        name: _metric(name)
        for name in (
            "accuracy", "top5", "top10", "macro_precision", "macro_recall", "macro_f1",
            "entropy_bits",
        )
    },
    "train_accuracy": _history("accuracy"),
    "val_accuracy": _history("val_accuracy"),
    "train_loss": _history("loss"),
    "val_loss": _history("val_loss"),
    "train_seconds": lambda run: sum(run.seconds.get(s) or 0.0 for s in ("select", "fit")),
    "extract_seconds": lambda run: run.seconds.get("extract") or None,
    **{
        name: _cost(name)
        for name in (
            "epochs", "epoch_seconds", "parameters_trained", "parameters_frozen", "layers",
            "feature_dim",
        )
    },
    "image_size": _size,
}  # fmt: skip
"""Figure to what reads it off a record."""
