"""The main job, end to end, on real photos with real weights, by the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.shared]


def featx(folder: Path, *words: object) -> Any:
    """Run the command in `folder`; give its JSON."""
    done = subprocess.run(
        [sys.executable, "-m", "featx", *map(str, words), "--json", "--quiet"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_trashnet_from_photos_to_a_comparison(shared: Path, tmp_path: Path) -> None:
    photos = shared / "datasets" / "trashnet"
    weights = shared / "weights" / "mobilenet_0.25_224_notop.weights.h5"
    backbone = ("--backbone", "mobilenet(alpha=0.25)", "--weights", weights)

    first = featx(tmp_path, "extract", photos, *backbone, "--pooling", "avg")
    assert (first["images"], first["quarantined"]) == (2527, [])
    assert first["extracted"] + first["duplicates"] == 2527
    assert first["caches"][0]["taps"]["avg"]["shape"] == [2527, 256]

    second = featx(tmp_path, "extract", photos, *backbone, "--pooling", "avg")
    assert (second["extracted"], second["engine"]) == (0, "")
    assert second["caches"] == first["caches"]

    heads = ("--head", "linear_svc,ridge,centroid", "--shots", "20,all", "--draws", "2")
    rows = featx(tmp_path, "classify", photos, *heads)["rows"]
    accuracy = {(row["head"], row["shots"]): row["accuracy"] for row in rows if row["draw"] == 0}
    assert accuracy["linear_svc", None] > 0.78
    assert accuracy["ridge", None] > 0.78
    assert accuracy["linear_svc", None] > accuracy["centroid", None]
    assert accuracy["linear_svc", None] > accuracy["linear_svc", 20] > 0.5
    assert {row["n_train"] for row in rows if row["shots"] == 20} == {120}
    for row in rows:
        low, high = row["accuracy_ci"]
        assert low < row["accuracy"] < high
        assert row["n_test"] == rows[0]["n_test"]


def test_clothing_keeps_its_own_splits_and_two_backbones_share_a_call(
    shared: Path, tmp_path: Path
) -> None:
    photos = shared / "datasets" / "clothing"
    weights = [
        shared / "weights" / name
        for name in (
            "mobilenet_0.25_224_notop.weights.h5",
            "mobilenet_v2_1.0_224_float_notop.weights.h5",
        )
    ]
    report = featx(
        tmp_path,
        "extract", photos, "--backbone", "mobilenet(alpha=0.25),mobilenet_v2",
        "--weights", weights[0], "--weights", weights[1], "--image-size", "128",
    )  # fmt: skip
    assert [c["taps"]["avg"]["shape"][1] for c in report["caches"]] == [256, 1280]
    fused = "mobilenet(alpha=0.25)+mobilenet_v2"
    rows = featx(
        tmp_path,
        "classify", photos, "--head", "ridge,l2+centroid", "--fuse", fused, "--average", "3",
    )["rows"]  # fmt: skip
    assert {row["n_test"] for row in rows} == {372}
    accuracy = {row["backbone"]: row["accuracy"] for row in rows if row["head"] == "ridge"}
    assert accuracy["mobilenet_v2"] > 0.7
    assert accuracy["mobilenet(alpha=0.25)"] > 0.6
    assert accuracy[fused] > 0.7
    widths = {row["backbone"]: row["feature_dim"] for row in rows}
    assert widths[fused] == 256 + 1280
    average = rows[-1]
    assert average["head"] == "average(n=3)"
    assert average["accuracy"] > 0.7
    assert len(set(average["params"]["members"])) == 3


def test_large_backbones_go_the_same_way_in_one_call(shared: Path, tmp_path: Path) -> None:
    widths = {"vgg16": 25_088, "resnet50": 100_352, "inception_v3": 51_200}
    photos = tmp_path / "photos"
    for name in ("glass", "metal"):
        (photos / name).mkdir(parents=True)
        for image in sorted((shared / "datasets" / "trashnet" / name).iterdir())[:4]:
            (photos / name / image.name).write_bytes(image.read_bytes())
    report = featx(
        tmp_path,
        "extract", photos, "--backbone", ",".join(widths), "--weights", "random",
        "--image-size", "224", "--pooling", "flatten,avg",
    )  # fmt: skip
    found = {c["backbone"]: c["taps"]["flatten"]["shape"] for c in report["caches"]}
    assert found == {f"{n} (random weights)": [8, width] for n, width in widths.items()}
