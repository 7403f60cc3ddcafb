"""`featx classify`: fused backbones, steps, averages."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.runs import load_runs

Cli = Callable[..., tuple[int, str, str]]

SMALL = "mobilenet(alpha=0.25)"


@pytest.fixture
def two(cli: Cli, photos: Path, projection: str) -> Path:
    """Photos, extracted by two backbones at two taps."""
    status, _, err = cli(
        "extract", photos, "-b", f"mobilenet,{SMALL}", "-p", "avg,max",
        "-w", "random", "--engine", projection, "--quiet",
    )  # fmt: skip
    assert status == 0, err
    return photos


def rows(cli: Cli, photos: Path, *words: object) -> list[dict[str, Any]]:
    status, out, err = cli("classify", photos, "-e", "centroid", "--json", "--quiet", *words)
    assert status == 0, err
    found: list[dict[str, Any]] = json.loads(out)["rows"]
    return found


def named(found: list[dict[str, Any]]) -> list[tuple[str, str, int]]:
    return [
        (row["backbone"].replace(" (random weights)", ""), row["tap"], row["feature_dim"])
        for row in found
    ]


def test_fused_rows_stand_beside_those_of_their_parts(cli: Cli, two: Path) -> None:
    found = named(rows(cli, two, "--fuse", f"mobilenet+{SMALL}"))
    assert found == [
        ("mobilenet", "avg", 6),
        (SMALL, "avg", 6),
        (f"mobilenet+{SMALL}", "avg", 12),
    ]
    (record,) = [r for r in load_runs("runs") if r.parts]
    assert [(p["tap"], p["feature_dim"]) for p in record.parts] == [("avg", 6), ("avg", 6)]
    assert record.parts[1]["key"]["params"] == {"alpha": 0.25}


def test_taps_of_parts(cli: Cli, two: Path) -> None:
    mixed = f"mobilenet:max+{SMALL}:avg"
    assert named(rows(cli, two, "--fuse", mixed, "--fused-only")) == [
        (f"mobilenet+{SMALL}", "max+avg", 12)
    ]
    both = named(rows(cli, two, "--fuse", f"mobilenet+{SMALL}", "--pooling", "avg,max"))
    assert [tap for _, tap, width in both if width == 12] == ["avg", "max"]
    assert len(both) == 6
    same = named(rows(cli, two, "--fuse", "mobilenet:avg+mobilenet:max", "--fused-only"))
    assert same == [("mobilenet", "avg+max", 12)]


def test_the_backbones_named_are_the_single_rows(cli: Cli, two: Path) -> None:
    found = named(rows(cli, two, "-b", SMALL, "-p", "avg", "--fuse", f"mobilenet+{SMALL}"))
    assert found == [(SMALL, "avg", 6), (f"mobilenet+{SMALL}", "avg", 12)]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--fuse", "mobilenet"], "join two or more"),
        (["--fuse", "mobilenet+mobilenet"], "has mobilenet avg twice"),
        (["--fuse", "mobilenet+mobilnet"], "Did you mean 'mobilenet'"),
        (["--fuse", "mobilenet+vgg16"], "--backbone vgg16 --pooling avg"),
        (
            ["--fuse", f"mobilenet+{SMALL}:flatten"],
            f"--backbone '{SMALL}' --pooling flatten --weights random",
        ),
        (["--fused-only"], "--fuse"),
        (["--fused-only", "--fuse", f"mobilenet+{SMALL}", "-b", SMALL], "--fused-only or"),
        (["--fuse", f"mobilenet+{SMALL}", "--image-size", "128"], "--image-size 128x128"),
    ],
)
def test_what_cannot_be_fused_is_one_line_with_the_remedy(
    cli: Cli, two: Path, words: list[str], expected: str
) -> None:
    status, out, err = cli("classify", two, "--quiet", *words)
    assert (status, out) == (1, "")
    assert len(err.strip().splitlines()) == 1
    assert expected in err


def test_nothing_cached_names_all_parts(cli: Cli, photos: Path) -> None:
    status, _, err = cli("classify", photos, "--fuse", "vgg16:flatten+resnet50", "--quiet")
    assert status == 1
    assert "--backbone vgg16,resnet50 --pooling flatten,avg" in err


def test_a_backbone_cached_twice_must_be_told_apart(
    cli: Cli, two: Path, projection: str, tmp_path: Path
) -> None:
    (tmp_path / "w.weights.h5").write_bytes(b"weights")
    cli("extract", two, "-w", tmp_path / "w.weights.h5", "--engine", projection, "--quiet")
    status, _, err = cli("classify", two, "--fuse", f"mobilenet+{SMALL}", "--quiet")
    assert status == 1
    assert "mobilenet is cached 2 times" in err
    assert "w.weights.h5" in err
    found = rows(
        cli, two, "--fuse", f"mobilenet+{SMALL}", "-w", tmp_path / "w.weights.h5", "-w", "random"
    )
    assert found[-1]["backbone"] == f"mobilenet+{SMALL} (random weights)"


def test_averages_stand_below_the_heads(cli: Cli, two: Path) -> None:
    words = ["--head", "l2+knn(k=3)", "--fuse", f"mobilenet+{SMALL}", "--average", "2,3"]
    found = rows(cli, two, *words, "--average", "4")
    assert [row["head"] for row in found] == (
        ["centroid", "l2+knn(k=3)"] * 3 + [f"average(n={n})" for n in (2, 3, 4)]
    )
    average = found[-1]
    assert (average["kind"], average["backbone"], average["tap"]) == ("head", "", "")
    names = {f"{row['backbone']} {row['tap']} {row['head']}" for row in found[:6]}
    assert set(average["params"]["members"]) < names
    assert average["n_test"] == found[0]["n_test"]
    status, out, _ = cli("classify", two, "--quiet", *words)
    assert status == 0
    assert "average(n=2), all images: " in out


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--average", "9"], "Cannot average the best 9 heads: 8 are compared"),
        (["--average", "2", "--shots", "1"], "1 shots leave a class without any"),
        (["--head", "l2+knnn"], "Did you mean 'knn'"),
        (["--head", "l2"], "l2 is a step"),
    ],
)
def test_what_cannot_be_averaged_or_stepped_is_one_line_with_the_remedy(
    cli: Cli, two: Path, words: list[str], expected: str
) -> None:
    status, out, err = cli("classify", two, "--quiet", *words)
    assert (status, out) == (1, "")
    assert len(err.strip().splitlines()) == 1
    assert expected in err


@pytest.mark.parametrize("value", ["1", "0", "x", "2.5", "-3"])
def test_averages_of_less_than_two_are_wrong_usage(cli: Cli, value: str) -> None:
    status, _, err = cli("classify", "--average", value)
    assert status == 2
    assert "whole number from 2" in err


def test_a_sweep_of_image_sizes(cli: Cli, photos: Path, projection: str) -> None:
    common = ("-w", "random", "--engine", projection, "-q")
    assert cli("extract", photos, "--image-size", "32,64", "--image-size", "64x96", *common)[0] == 0
    status, out, err = cli("classify", photos, "-e", "centroid", "-q", "--json")
    assert status == 0, err
    sizes = [row["image_size"] for row in json.loads(out)["rows"]]
    assert sorted(sizes) == [[32, 32], [64, 64], [64, 96]]
    status, out, _ = cli("classify", photos, "-e", "centroid", "-q", "--image-size", "64x96,32")
    assert status == 0
    assert "mobilenet (random weights) 64x96" in out
    assert "64x64" not in out
    status, _, err = cli("classify", photos, "-e", "centroid", "--image-size", "32,128")
    assert status == 1
    assert "--image-size 128x128" in err


def test_an_image_size_below_the_minimum_of_one_is_told(cli: Cli, photos: Path) -> None:
    status, _, err = cli("extract", photos, "-w", "random", "--image-size", "64,16x64")
    assert status == 1
    assert "16x64 is below the minimum of mobilenet: 32x32" in err


def test_views_stand_beside_the_plain_features(cli: Cli, photos: Path, projection: str) -> None:
    extract = ("extract", photos, "-w", "random", "--engine", projection, "-q")
    assert cli(*extract)[0] == 0
    status, _, err = cli("classify", photos, "-e", "centroid", "--views")
    assert status == 1
    assert "--views flip" in err
    assert cli(*extract, "--views", "flip,1")[0] == 0
    assert cli(*extract, "--image-size", "64")[0] == 0

    _, out, _ = cli("classify", photos, "-e", "centroid", "-q", "--json")
    assert len(json.loads(out)["rows"]) == 2  # the views alone are no row
    _, out, _ = cli("classify", photos, "-e", "centroid", "-q", "--json", "--views")
    found = {(row["backbone"], row["image_size"][0]): row for row in json.loads(out)["rows"]}
    name = "mobilenet (random weights)"
    assert set(found) == {(name, 224), (name, 64), (f"{name} with 2 views", 224)}
    views, plain = found[f"{name} with 2 views", 224], found[name, 224]
    assert (views["n_train"], views["n_test"]) == (plain["n_train"], plain["n_test"])
    assert views["extract_seconds"] > plain["extract_seconds"]


def test_unknown_views_are_one_line(cli: Cli, photos: Path) -> None:
    status, _, err = cli("extract", photos, "-w", "random", "--views", "flop")
    assert status == 1
    assert "flip,3" in err


def test_an_unknown_cluster_is_told_before_any_work(cli: Cli, photos: Path) -> None:
    for words in (("classify", photos), ("run", "vgg-svm")):
        status, _, err = cli(*words, "--cluster", "moon")
        assert status == 1
        assert err == "Error: Unknown cluster 'moon'. Use auto, local, or ray://HOST:PORT.\n"
