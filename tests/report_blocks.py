"""Runs to report, and blocks of a report to look at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.records import HeadSpec, RunRecord
from featx.report.blocks import Block, Report, Text
from featx.runs import load_runs, save_run

ODD = "<b>a & b<i> $x$ | `c`"
"""A class name that every format must show as it is."""

HISTORY = {
    "loss": [1.2, 0.7, 0.5, 0.45],
    "accuracy": [0.4, 0.6, 0.8, 0.9],
    "val_loss": [1.1, 0.8, 0.75, 0.8],
    "val_accuracy": [0.45, 0.6, 0.7, 0.68],
    "seconds": [1.0, 0.9, 0.9, 0.9],
}


def full_run(home: Path) -> RunRecord:
    """Return a run of `home` with all training images."""
    runs = load_runs(home / "runs")
    return next(r for r in runs if r.shots is None and r.head.name == "centroid")


def add_run(home: Path, head: str = "other", **changes: Any) -> Path:
    """Save a copy of `full_run` with changes."""
    return save_run(replace(full_run(home), **{"head": HeadSpec(head), **changes}), home / "runs")


def add_networks(home: Path) -> None:
    """Add a network from scratch, a fine-tuned one and the ImageNet head, with their costs."""
    backbone = full_run(home).backbone
    cost = {
        "epochs": 4, "epoch_seconds": 0.9, "best_epoch": 3, "history": HISTORY, "layers": 12,
        "parameters_trained": 120_000, "parameters_frozen": 0, "peak_memory_bytes": 2_000_000_000,
        "warnings": [], "rows_a_class": [17, 17],
    }  # fmt: skip
    seconds = {"extract": 0.0, "select": 0.0, "fit": 81.0, "predict": 0.5}
    plain = {"key": None, "tap": "", "selection": {"on": "given", "parameter": None, "curve": []}}
    scratch = {"kind": "baseline", "backbone": "", "cost": cost, "seconds": seconds}
    add_run(home, "simple_cnn", **scratch, **plain)
    tuned = {"cost": {**cost, "parameters_frozen": 3_000_000}, "seconds": {**seconds, "fit": 240.0}}
    add_run(home, "finetune", kind="finetune", backbone=backbone, **tuned, **plain)
    told = {"cost": {"warnings": []}, "seconds": {**seconds, "fit": 0.0, "predict": 2.0}}
    add_run(home, "imagenet", kind="zeroshot", backbone=backbone, shots=0, **told, **plain)


def add_wrong_run(home: Path) -> None:
    """Add a model that is best by its accuracy, and has mistakes to show."""
    full = full_run(home)
    y = full.arrays["y_true"]
    y_pred = np.where(np.arange(len(y)) % 3 == 0, (y + 1) % 3, y).astype(np.int32)
    metrics = {**full.metrics, "accuracy": 1.5}
    add_run(home, "wrong", arrays={**full.arrays, "y_pred": y_pred}, metrics=metrics)


def blocks_of(report: Report, section: str) -> tuple[Block, ...]:
    return next(s.blocks for s in report.sections if s.name == section)


def find(report: Report, section: str, name: str, kind: type | None = None) -> Any:
    """Return the first block of that name, of that kind where one is given."""
    return next(
        b
        for b in blocks_of(report, section)
        if getattr(b, "name", "") == name and (kind is None or isinstance(b, kind))
    )


def texts(report: Report, section: str) -> str:
    return " ".join(b.text for b in blocks_of(report, section) if isinstance(b, Text))
