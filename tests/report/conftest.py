"""A small data set, extracted and classified once, and records to change."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import fakes
import pytest
from conftest import make_photos
from report_blocks import ODD

from featx import extract
from featx.classify import classify
from featx.records import HeadSpec, RunRecord, to_json
from featx.runs import load_runs, save_run


@pytest.fixture(scope="session")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    fakes.register()
    home = tmp_path_factory.mktemp("report")
    photos = make_photos(home / "shapes", classes=3, each=24)
    (photos / "class2").rename(photos / ODD)
    shutil.copy(photos / "class0" / "000.jpg", photos / "class0" / "copy.jpg")
    (photos / "class0" / "bad.jpg").write_bytes(b"not an image")
    cache = home / "features"
    extract(photos, weights="random", engine="projection", cache_dir=cache)
    classify(
        photos,
        heads=("logreg", "knn", "centroid"),
        shots=(2, 5, None),
        draws=2,
        cache_dir=cache,
        runs_dir=home / "runs",
    )
    return home


@pytest.fixture
def home(_made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder with shapes/, features/ and runs/ of its own, and the working folder."""
    folder = tmp_path / "home"
    shutil.copytree(_made, folder)
    # The photos lie where the records say; a copy of them is not what was tested on.
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def records(_made: Path) -> list[RunRecord]:
    return load_runs(_made / "runs")


HISTORY = {
    "loss": [1.2, 0.7, 0.5, 0.45],
    "accuracy": [0.4, 0.6, 0.8, 0.9],
    "val_loss": [1.1, 0.8, 0.75, 0.8],
    "val_accuracy": [0.45, 0.6, 0.7, 0.68],
    "seconds": [1.0, 0.9, 0.9, 0.9],
}

AddRun = Callable[..., Path]


@pytest.fixture
def add_run(home: Path, records: Sequence[RunRecord]) -> AddRun:
    """Save a copy of a full-data record with changes: add_run(kind="baseline", ...)."""
    full = next(r for r in records if r.shots is None and r.head.name == "centroid")

    def add(head: str = "other", **changes: Any) -> Path:
        return save_run(replace(full, **{"head": HeadSpec(head), **changes}), home / "runs")

    return add


@pytest.fixture
def networks(add_run: AddRun, records: Sequence[RunRecord]) -> None:
    """Add a network from scratch, a fine-tuned one and the ImageNet head, with their costs."""
    first = records[0]
    cost = {
        "epochs": 4, "epoch_seconds": 0.9, "best_epoch": 3, "history": HISTORY, "layers": 12,
        "parameters_trained": 120_000, "parameters_frozen": 0, "peak_memory_bytes": 2_000_000_000,
        "warnings": [], "rows_a_class": [17, 17],
    }  # fmt: skip
    seconds = {"extract": 0.0, "select": 0.0, "fit": 81.0, "predict": 0.5}
    plain = {"key": None, "tap": "", "selection": {"on": "given", "parameter": None, "curve": []}}
    add_run("simple_cnn", kind="baseline", backbone="", cost=cost, seconds=seconds, **plain)
    add_run(
        "finetune",
        kind="finetune",
        backbone=first.backbone,
        cost={**cost, "parameters_frozen": 3_000_000},
        seconds={**seconds, "fit": 240.0},
        **plain,
    )
    add_run(
        "imagenet", kind="zeroshot", backbone=first.backbone, cost={"warnings": []},
        seconds={"extract": 0.0, "select": 0.0, "fit": 0.0, "predict": 2.0}, **plain,
    )  # fmt: skip


def damage_metrics(record: RunRecord, **changes: Any) -> dict[str, Any]:
    return {**to_json(record.metrics), **changes}
