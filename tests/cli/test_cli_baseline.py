"""`featx baseline`: options, output, interruption."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import featx.baseline

Cli = Callable[..., tuple[int, str, str]]

QUICK = ("--image-size", "16", "--epochs", "1", "--quiet")


def test_table_and_json(cli: Cli, photos: Path) -> None:
    status, out, err = cli("baseline", photos, *QUICK, "--net", "simple_cnn(filters=(4,))")
    assert (status, err) == (0, "")
    assert "simple_cnn(filters=(4,))" in out
    assert ": 1 epoch × " in out
    assert "parameters trained. The last epoch was the best" in out
    status, out, err = cli("baseline", photos, *QUICK, "--shots", "3,all", "--json")
    assert (status, err) == (0, "")
    rows = json.loads(out)["rows"]
    assert [(r["kind"], r["head"], r["shots"]) for r in rows] == [
        ("baseline", "simple_cnn", 3),
        ("baseline", "simple_cnn", None),
    ]
    assert len(list(Path("runs").glob("*.keras"))) == 3


def test_options_reach_the_function(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    seen: dict[str, Any] = {}

    def baseline(data: str, **options: Any) -> None:
        seen.update(options, data=data)
        raise KeyboardInterrupt

    monkeypatch.setattr(featx.baseline, "baseline", baseline)
    status, _, _ = cli(
        "baseline", photos, "-n", "simple_cnn,scratch(mobilenet, alpha=0.25)", "-n", "small_cnn",
        "--image-size", "32x48", "-s", "20,all", "--draws", 2, "--epochs", 7, "--patience", 3,
        "--optimizer", "sgd(1e-4, momentum=0.9)", "--augment", "flip+zoom(0.1)", "--batch-size", 9,
        "--precision", "mixed", "--seed", 5, "--test-fraction", 0.4, "--target", "kind",
        "--no-resume", "--cache-dir", "c", "--runs-dir", "r",
    )  # fmt: skip
    assert status == 130
    assert seen == {
        "data": str(photos), "nets": ("simple_cnn", "scratch(mobilenet, alpha=0.25)", "small_cnn"),
        "image_size": (32, 48), "shots": (20, None), "draws": 2, "epochs": 7, "patience": 3,
        "optimizer": "sgd(1e-4, momentum=0.9)", "augment": "flip+zoom(0.1)", "batch_size": 9,
        "precision": "mixed", "seed": 5, "test_fraction": 0.4, "target": "kind", "resume": False,
        "cache_dir": Path("c"), "runs_dir": Path("r"), "progress": True,
    }  # fmt: skip
    cli("baseline")
    assert (seen["data"], seen["nets"], seen["resume"]) == ("digits", ("simple_cnn",), True)


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["nowhere"], 1, "nowhere"),
        (["PHOTOS", "--net", "simple_cn"], 1, "Did you mean 'simple_cnn'"),
        (["PHOTOS", "--optimizer", "adm(1e-3)"], 1, "Did you mean 'adam'"),
        (["PHOTOS", "--augment", "flip(up)"], 1, "flip takes horizontal"),
        (["PHOTOS", "--shots", "500"], 1, "fewer than 500 shots"),
        (["PHOTOS", "--image-size", "2"], 1, "below the minimum"),
        (["PHOTOS", "--image-size", "big"], 1, "Cannot read the image size"),
        (["PHOTOS", "--target", "kind"], 1, "no label column"),
        (["PHOTOS", "--epochs", "0"], 2, "--epochs"),
        (["PHOTOS", "--precision", "float16"], 2, "--precision"),
        (["PHOTOS", "--test-fraction", "1"], 2, "--test-fraction"),
        (["empty"], 1, "No images"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(
    cli: Cli, photos: Path, words: list[str], status: int, expected: str
) -> None:
    Path("empty").mkdir()
    found, out, err = cli("baseline", *[photos if w == "PHOTOS" else w for w in words], "--quiet")
    assert (found, out) == (status, "")
    assert expected in err
    assert "Traceback" not in err
    assert not list(Path().glob("runs/*"))


@pytest.mark.parametrize("what", ["nets", "augmentations", "optimizers"])
def test_lists_name_what_can_be_asked_for(cli: Cli, what: str) -> None:
    status, out, _ = cli("list", what)
    assert status == 0
    _, document, _ = cli("list", what, "--json")
    rows = json.loads(document)
    assert len(rows) >= 3
    for row in rows:
        assert set(row) == {"name", "summary", "params"}
        assert row["name"] in out
        assert row["summary"] in out


@pytest.mark.slow
def test_ctrl_c_leaves_what_the_same_command_goes_on_from(photos: Path, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "featx", "baseline", str(photos), "--image-size", "16"]
    words += ["--net", "small_cnn", "--epochs", "4000", "--patience", "4000", "--quiet"]
    process = subprocess.Popen(words, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("runs/checkpoints/*.npz")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "finished epochs are kept in runs/checkpoints/" in err
    assert "Traceback" not in err
    assert len(list(tmp_path.glob("runs/checkpoints/*"))) == 1
