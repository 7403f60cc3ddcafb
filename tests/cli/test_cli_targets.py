"""`featx classify`: several label columns, attributes, and another data set to test on."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.runs import load_runs, load_test_set

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "map.csv"
    path.write_text("class,warm\nclass0,yes\nclass1,no\nclass2,no\n")
    return path


@pytest.fixture
def manifest(cli: Cli, photos: Path, projection: str, tmp_path: Path) -> Path:
    lines = [
        f"photos/{p.parent.name}/{p.name},{p.parent.name},{'jpeg' if p.suffix == '.jpg' else 'png'}"
        for p in sorted(photos.glob("*/*"))
    ]
    path = tmp_path / "list.csv"
    path.write_text("\n".join(["path,label,kind of file", *lines]))
    status, _, err = cli("extract", path, "-w", "random", "--engine", projection, "-q")
    assert status == 0, err
    return path


def document(cli: Cli, *words: object) -> dict[str, Any]:
    status, out, err = cli("classify", *words, "--json", "--quiet")
    assert status == 0, err
    found: dict[str, Any] = json.loads(out)
    return found


def test_a_table_gives_more_columns(cli: Cli, extracted: Path, table: Path) -> None:
    found = document(cli, extracted, "-e", "centroid", "--attributes", table)
    rows = found["rows"]
    assert [row["target"] for row in rows] == ["class", "warm"]
    assert rows[0]["n_test"] == rows[1]["n_test"]
    assert {f["target"] for f in found["findings"]} == {"class", "warm"}
    assert set(found["break_even"]) == {"class", "warm"}
    a, b = load_runs("runs")
    assert a.arrays["test_rows"].tolist() == b.arrays["test_rows"].tolist()
    shown = {record.split["target"]: load_test_set(record, "runs") for record in (a, b)}
    assert shown["warm"].classes == ("no", "yes")
    assert shown["warm"].paths == shown["class"].paths
    status, out, _ = cli("classify", extracted, "-e", "centroid", "-q", "--attributes", table)
    assert status == 0
    assert out.startswith("class\n-----\nbackbone")
    assert "\n\nwarm\n----\nbackbone" in out


def test_an_attribute_alone_is_tested_on_the_rows_of_its_classes(
    cli: Cli, extracted: Path, table: Path
) -> None:
    both = document(cli, extracted, "-e", "centroid", "--attributes", table)["rows"]
    alone = document(cli, extracted, "-e", "centroid", "--attributes", table, "--target", "warm")
    (row,) = alone["rows"]
    assert row["accuracy"] == both[1]["accuracy"]
    assert {"target"} & alone["findings"][0].keys() == set()
    digests = {r.split["test_digest"] for r in load_runs("runs") if r.split["target"] == "warm"}
    assert len(digests) == 1


def test_columns_of_a_manifest_and_one_network_for_all(cli: Cli, manifest: Path) -> None:
    words = ["-e", "centroid", "-e", "mlp(hidden=8,epochs=2)", "--draws", "1"]
    rows = document(cli, manifest, *words, "--target", "label,kind of file")["rows"]
    joint = "mlp(hidden=8, epochs=2, joint=True)"
    assert [(row["target"], row["head"]) for row in rows] == [
        (target, head)
        for target in ("label", "kind of file")
        for head in ("centroid", "mlp(hidden=8, epochs=2)", joint)
    ]
    assert len({row["n_test"] for row in rows}) == 1
    only = document(cli, manifest, *words[2:], "--target", "kind of file", "--target", "label")
    assert [row["target"] for row in only["rows"]] == ["kind of file"] * 2 + ["label"] * 2


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--target", "lable"], "Did you mean 'label'"),
        (["--target", "warm"], "There are: label, kind of file"),
        (["--head", "mlp(joint=True)"], "name two or more, such as --target class,recyclable"),
        (["--attributes", "nowhere.csv"], "No such file"),
        (["--attributes", "map.csv"], "says nothing of class 'class2'"),
        (["--test-on", "nowhere"], "Run first: featx extract nowhere"),
        (["--average", "2", "-e", "centroid,mlp(joint=True)"], "1 is compared"),
    ],
)
def test_what_cannot_be_done_is_one_line_with_the_remedy(
    cli: Cli, manifest: Path, tmp_path: Path, words: list[str], expected: str
) -> None:
    (tmp_path / "map.csv").write_text("label,warm\nclass0,yes\nclass1,no\n")
    status, out, err = cli("classify", manifest, "--quiet", *words)
    assert (status, out) == (1, "")
    assert len(err.strip().splitlines()) == 1
    assert expected in err


@pytest.fixture
def other(cli: Cli, photos: Path, projection: str, tmp_path: Path) -> Path:
    """Half of the photos elsewhere, under names in capitals, one of them a photo of both."""
    root = tmp_path / "other"
    for path in sorted(photos.glob("*/*"))[::2]:
        folder = root / path.parent.name.upper()
        folder.mkdir(parents=True, exist_ok=True)
        shutil.move(path, folder / path.name)
    shutil.copy(root / "CLASS0" / "000.jpg", photos / "class0" / "copy.jpg")
    for data in (photos, root):
        status, _, err = cli("extract", data, "-w", "random", "--engine", projection, "-q")
        assert status == 0, err
    return root


def test_another_data_set_is_tested_on(cli: Cli, photos: Path, other: Path, table: Path) -> None:
    found = document(cli, photos, "--test-on", other, "-e", "centroid", "-s", "2,all")
    assert {(r["test_on"], r["n_test"]) for r in found["rows"]} == {("other", 12)}
    assert [r["n_train"] for r in found["rows"]] == [6, 6, 6, 13]
    texts = {f["code"]: f["text"] for f in found["findings"]}
    assert "1 of 12 test images are also training images" in texts["train-test-duplicates"]
    record = load_runs("runs")[0]
    assert (record.dataset, record.split["test_on"]) == ("photos", "other")
    shown = load_test_set(record, "runs")
    assert shown is not None
    assert (shown.dataset, shown.root) == ("other", str(other))
    assert all((other / path).is_file() for path in shown.paths)
    back = document(cli, other, "--test-on", photos, "-e", "centroid")
    assert [r["n_test"] for r in back["rows"]] == [13]
    rows = document(cli, photos, "--test-on", other, "-e", "centroid", "--attributes", table)
    assert [(r["target"], r["n_test"]) for r in rows["rows"]] == [("class", 12), ("warm", 12)]


def test_both_must_be_cached_in_the_same_way(
    cli: Cli, photos: Path, other: Path, projection: str
) -> None:
    words = ("-w", "random", "--engine", projection, "-q")
    assert cli("extract", photos, "--image-size", "64", *words)[0] == 0
    status, out, err = cli("classify", photos, "--test-on", other, "-q")
    assert (status, out) == (1, "")
    assert "mobilenet avg at 64x64" in err
    assert "--backbone mobilenet --pooling avg --weights random --image-size 64x64" in err
    status, _, err = cli(
        "classify", photos, "--test-on", other, "--image-size", "224", "-e", "centroid", "-q"
    )
    assert status == 0, err
