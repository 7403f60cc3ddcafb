"""A thousand classes, 100,000 test images, 200 runs: the page stays small."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx import metrics
from featx.records import ExtractionKey, HeadSpec, ImageSpec, RunRecord, TestSetRecord
from featx.report import FORMATS, photos
from featx.report.choose import ChosenRuns
from featx.report.photos import Photos
from featx.report.sections import list_sections
from featx.report.subject import Subject

CLASSES, ROWS, RUNS = 1_000, 100_000, 200


def make_runs() -> ChosenRuns:
    rng = np.random.default_rng(0)
    y = (np.arange(ROWS) % CLASSES).astype(np.int32)
    near = ((y + rng.integers(1, 9, ROWS)) % CLASSES).astype(np.int32)
    names = tuple(f"a class with a rather long name, number {i}" for i in range(CLASSES))
    score = metrics.score(y, near, n_classes=CLASSES)
    score["per_class"]["entropy_bits"] = rng.random(CLASSES).tolist()
    curve = [{"value": 10.0**k, "score": 0.5, "fold_scores": [0.4, 0.6]} for k in range(-6, 4)]
    records = []
    for number in range(RUNS):
        y_pred = np.where(rng.random(ROWS) < 0.5 + 0.002 * number, y, near)
        accuracy = float((y_pred == y).mean())
        fields: dict[str, Any] = {
            "kind": "head",
            "dataset": "large",
            "key": ExtractionKey("mobilenet", {}, "0" * 64, "mobilenet", ImageSpec(224, 224)),
            "backbone": "mobilenet",
            "tap": "avg",
            "head": HeadSpec("linear_svc", {"C": 1.0 + number // 4}),
            "params": {"C": 1.0},
            "shots": (5, 20, 100, None)[number % 4],
            "draw": 0,
            "split": {"seed": 0, "n_train": 10**6, "n_test": ROWS, "test_digest": "a" * 64},
            "metrics": {**score, "accuracy": accuracy, "accuracy_ci": [accuracy, accuracy + 0.002]},
            "selection": {"on": "folds", "parameter": "C", "chosen": 1.0, "curve": curve},
            "seconds": {"extract": 900.0, "select": 9.0, "fit": number, "predict": 1.0},
            "cost": {"feature_dim": 1024, "history": {"loss": [0.1] * 100}},
            "environment": {"time": "2026-01-01T00:00:00Z", "command": ["featx"]},
            "classes": names,
            "arrays": {"y_true": y, "y_pred": y_pred, "confidence": rng.random(ROWS)},
        }
        records.append(RunRecord(**fields))
    tested = TestSetRecord(
        dataset="large",
        source="",
        root="",
        target="class",
        classes=names,
        paths=tuple(f"{names[c]}/{i}.jpg" for i, c in enumerate(y)),
        digests=("0" * 64,) * ROWS,
        labels=y,
    )
    paths = tuple(Path(f"run-{number}.json") for number in range(RUNS))
    return ChosenRuns(paths, tuple(records), tested)


@pytest.mark.slow
def test_a_large_report_is_a_small_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Photos, "_make", lambda self, row, size: "data:" + "x" * 9_000)
    report = list_sections(Subject.gather(make_runs(), photos=None, cache_dir=tmp_path))
    sizes = {suffix: len(write(report).encode()) for suffix, write in FORMATS.items()}
    assert sizes["html"] < 10e6
    assert max(sizes["md"], sizes["csv"], sizes["json"]) < 4e6
    assert len(report.comparison.rows) == RUNS


def test_thumbnails_stay_within_their_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Photos, "_make", lambda self, row, size: "x" * 50_000)
    monkeypatch.setattr(photos, "MAX_BYTES", 1_000_000)
    found = Photos(("a.jpg",) * 500, ("0" * 64,) * 500, ())
    made = [found.thumbnail(row, 100) for row in range(500)]
    assert 1_000_000 <= sum(map(len, made)) < 1_100_000
    assert made[0]
    assert not made[-1]
    assert found.thumbnail(0, 100) == made[0]
    assert found.asked == 500


def test_photos_outside_their_folder_are_those_tested_on_or_none(tmp_path: Path) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"not what was tested on")
    (tmp_path / "root").mkdir()
    paths = ("../secret.jpg", "/etc/passwd", "gone.jpg", "nul\0.jpg")
    found = Photos(paths, ("0" * 64,) * 4, [str(tmp_path / "root")])
    assert [found.read(row) for row in range(5)] == [None] * 5
    assert [found.thumbnail(row, 50) for row in range(5)] == [""] * 5
