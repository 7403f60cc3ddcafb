"""`featx finetune`: options, output, messages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import featx.finetune

Cli = Callable[..., tuple[int, str, str]]

QUICK = (
    "--backbone", "mobilenet(alpha=0.25)", "--weights", "random", "--image-size", "32",
    "--epochs", "1", "--start", "cold", "--trunk", "whole", "--quiet",
)  # fmt: skip


def test_table_and_json(cli: Cli, photos: Path) -> None:
    status, out, err = cli("finetune", photos, *QUICK, "--unfreeze", "none,5")
    assert (status, err) == (0, "")
    assert "mobilenet(alpha=0.25) (random weights) finetune('none', " in out
    assert "parameters trained" in out
    status, out, err = cli("finetune", photos, *QUICK, "-u", "5", "--json")
    assert (status, err) == (0, "")
    (row,) = json.loads(out)["rows"]
    assert (row["kind"], row["params"]["unfreeze"]) == ("finetune", "5")
    assert len(list(Path("runs").glob("*.keras"))) == 3


def test_options_reach_the_function(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    seen: dict[str, Any] = {}

    def finetune(data: str, **options: Any) -> None:
        seen.update(options, data=data)
        raise KeyboardInterrupt

    monkeypatch.setattr(featx.finetune, "finetune", finetune)
    status, _, _ = cli(
        "finetune", photos, "-b", "mobilenet(alpha=0.25),vgg16", "-w", "imagenet,random",
        "--image-size", "32x48", "-u", "5,half", "--unfreeze", "from:conv1", "-p", "avg,flatten",
        "--head", "mlp(hidden=(512,256), dropout=0.2)", "--start", "cold", "--drop-last", 6,
        "--add-conv", "conv(8)+conv(9)", "--trunk", "whole", "-s", "20,all", "--draws", 2,
        "--epochs", 7, "--patience", 3, "--optimizer", "sgd(1e-4, momentum=0.9)",
        "--augment", "flip", "--batch-size", 9, "--precision", "mixed", "--seed", 5,
        "--test-fraction", 0.4, "--target", "kind", "--no-resume", "--cache-dir", "c",
        "--runs-dir", "r",
    )  # fmt: skip
    assert status == 130
    assert seen == {
        "data": str(photos), "backbones": ("mobilenet(alpha=0.25)", "vgg16"),
        "weights": ("imagenet", "random"), "image_size": (32, 48),
        "unfreeze": ("5", "half", "from:conv1"), "pooling": ("avg", "flatten"),
        "head": "mlp(hidden=(512,256), dropout=0.2)", "start": "cold", "drop_last": 6,
        "add_conv": "conv(8)+conv(9)", "trunk": "whole", "shots": (20, None), "draws": 2,
        "epochs": 7, "patience": 3, "optimizer": "sgd(1e-4, momentum=0.9)", "augment": "flip",
        "batch_size": 9, "precision": "mixed", "seed": 5, "test_fraction": 0.4, "target": "kind",
        "resume": False, "cache_dir": Path("c"), "runs_dir": Path("r"), "progress": True,
    }  # fmt: skip
    cli("finetune")
    left_out = ("data", "backbones", "unfreeze", "pooling", "optimizer")
    assert [seen[name] for name in left_out] == [
        "digits", ("mobilenet",), ("half",), ("avg",), "adam(1e-4)",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "status", "expected"),
    [
        (["nowhere"], 1, "nowhere"),
        (["PHOTOS", "--unfreeze", "halv"], 1, "Did you mean 'half'"),
        (["PHOTOS", "--unfreeze", "from:conv_pw_14"], 1, "Unknown layer of mobilenet"),
        (["PHOTOS", "--unfreeze", "87"], 1, "has 86 layers"),
        (["PHOTOS", "--drop-last", "86"], 1, "Give 0 to 84"),
        (["PHOTOS", "--add-conv", "cnov(3)"], 1, "Did you mean 'conv'"),
        (["PHOTOS", "--trunk", "cached", "--augment", "flip"], 1, "--trunk whole"),
        (["PHOTOS", "--head", "knn"], 1, "Use one of: logreg"),
        (["PHOTOS", "--shots", "500"], 1, "fewer than 500 shots"),
        (["PHOTOS", "--trunk", "half"], 2, "--trunk"),
        (["PHOTOS", "--drop-last", "-1"], 2, "--drop-last"),
        (["empty"], 1, "No images"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_message(
    cli: Cli, photos: Path, words: list[str], status: int, expected: str
) -> None:
    Path("empty").mkdir()
    given = [photos if word == "PHOTOS" else word for word in words]
    options = ["--backbone", "mobilenet(alpha=0.25)", "--weights", "random", "--start", "cold"]
    found, out, err = cli("finetune", *given, *options, "--image-size", "32", "--quiet")
    assert (found, out) == (status, "")
    assert expected in err
    assert "Traceback" not in err
    assert not list(Path().glob("runs/*"))
