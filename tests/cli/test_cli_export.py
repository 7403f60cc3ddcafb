"""`featx export` and `featx predict`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def model(cli: Cli, photos: Path) -> Path:
    """The best of two heads on a tiny backbone, as a .keras file."""
    extract = ("extract", photos, "-b", "mobilenet(alpha=0.25)", "--image-size", 32, "-w", "random")
    assert cli(*extract, "-q")[0] == 0
    assert cli("classify", photos, "-e", "ridge(1.0),centroid", "-q")[0] == 0
    status, out, err = cli("export", "best", "--out", "m.keras", "-q")
    assert status == 0, err
    assert out.startswith("m.keras: keras, ")
    assert "checked on 6 test photos" in out
    return Path("m.keras")


def test_export_and_predict(cli: Cli, model: Path, photos: Path) -> None:
    status, out, err = cli("predict", model, photos, "-q")
    assert (status, err) == (0, "")
    lines = [line.split("\t") for line in out.splitlines()]
    assert len(lines) == 24
    assert all(len(line) == 3 and line[1].startswith("class") for line in lines)
    assert [line[0] for line in lines] == sorted(line[0] for line in lines)

    status, out, _ = cli("predict", model, photos / "class0", "--top", 2, "--json", "-q")
    assert status == 0
    document = json.loads(out)
    assert document["classes"] == ["class0", "class1", "class2"]
    assert [len(p["top"]) for p in document["predictions"]] == [2] * 8
    assert document["errors"] == []

    status, out, err = cli("predict", model, photos, "--csv", "all.csv", "-q")
    assert (status, out, err) == (0, "24 images -> all.csv\n", "")
    assert len(Path("all.csv").read_text().splitlines()) == 25

    status, out, err = cli("export", "best", "--out", model, "-q")
    assert status == 1
    assert "is there already" in err
    status, out, err = cli(
        "export", "best", "--out", model, "--check", 0, "--force", "--json", "-q"
    )
    assert status == 0, err
    document = json.loads(out)
    assert (document["path"], document["format"], document["checked"]) == ("m.keras", "keras", 0)
    assert document["model"]["classes"] == ["class0", "class1", "class2"]


def test_bad_images_are_told_and_the_status_is_1(cli: Cli, model: Path, photos: Path) -> None:
    (photos / "class0" / "bad.png").write_bytes(b"\xff\xd8\xff")
    (photos / "class1" / "empty one.png").write_bytes(b"")
    for words in ((), ("--json",), ("--csv", "all.csv")):
        status, out, err = cli("predict", model, photos, "-q", *words)
        assert status == 1
        assert len(err.splitlines()) == 3
        assert "bad.png: " in err
        assert "0 bytes" in err
        assert "2 of 26 images could not be read" in err
        if not words:
            assert len(out.splitlines()) == 24


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("export", "best", "--out", "m.keras"), "No runs in 'runs'. Run first: featx classify"),
        (("export", "best", "--out", "m.txt"), "Cannot tell the format"),
        (("predict", "m.keras", "photos"), "No model 'm.keras'"),
        (("predict", ".", "photos"), "without a saved_model.pb"),
    ],
)
def test_a_wrong_word_is_one_line_with_the_remedy(
    cli: Cli, words: tuple[str, ...], expected: str
) -> None:
    status, out, err = cli(*words)
    assert (status, out) == (1, "")
    assert len(err.strip().splitlines()) == 1
    assert expected in err


def test_usage(cli: Cli) -> None:
    for words in (("export", "best"), ("predict", "m.keras"), ("predict",)):
        assert cli(*words)[0] == 2
