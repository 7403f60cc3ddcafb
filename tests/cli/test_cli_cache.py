"""`featx cache` and `featx list`."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

Cli = Callable[..., tuple[int, str, str]]


def test_an_empty_cache_says_how_to_start(cli: Cli) -> None:
    status, out, _ = cli("cache", "ls")
    assert status == 0
    assert "featx extract" in out


def test_ls_and_info_show_the_entry(cli: Cli, extracted: Path) -> None:
    _, out, _ = cli("cache", "ls")
    (line,) = out.splitlines()[1:]
    for word in ("photos/mobilenet-", "24", "avg", "ready"):
        assert word in line
    _, out, _ = cli("cache", "info", "photos", "--json")
    (document,) = json.loads(out)
    assert document["key"]["backbone"] == "mobilenet"
    assert document["provenance"]["source"] == str(extracted)
    _, out, _ = cli("cache", "info", "photos")
    assert "random weights" in out


def test_damage_is_found_mended_and_extracted_again(
    cli: Cli, extracted: Path, tmp_path: Path, projection: str
) -> None:
    _, out, _ = cli("cache", "verify", "--json")
    assert json.loads(out)["bad"] == []
    (part,) = tmp_path.glob("features/photos/*/parts/*.h5")
    data = bytearray(part.read_bytes())
    with h5py.File(part) as file:
        offset = file["features/avg"].id.get_offset()
    data[offset + 5] ^= 1
    part.write_bytes(data)

    status, out, err = cli("cache", "verify")
    assert status == 1
    assert part.name in out
    assert "featx cache repair" in err
    status, _, err = cli("classify", extracted, "--quiet")
    assert status == 1
    assert part.name in err
    assert "avg" in err

    status, out, _ = cli("cache", "repair", "--json")
    assert status == 0
    assert json.loads(out)["lost"] == 1
    _, out, _ = cli("extract", extracted, "-w", "random", "--engine", projection, "--json", "-q")
    assert json.loads(out)["extracted"] == 1
    assert cli("cache", "verify")[0] == 0


def test_gc_drops_the_rows_of_deleted_images(cli: Cli, extracted: Path, projection: str) -> None:
    (extracted / "class0" / "000.jpg").unlink()
    cli("extract", extracted, "-w", "random", "--engine", projection, "-q")
    _, out, _ = cli("cache", "gc", "--dry-run", "--json")
    assert json.loads(out)["rows"] == 1
    _, out, _ = cli("cache", "gc", "--json")
    assert json.loads(out)["rows"] == 1
    _, out, _ = cli("cache", "gc")
    assert "0 rows gone" in out
    assert cli("classify", extracted, "-e", "centroid", "-q")[0] == 0


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_export_is_one_plain_file(cli: Cli, extracted: Path, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"plain{suffix}"
    entry = next(tmp_path.glob("features/photos/*")).relative_to(tmp_path / "features")
    assert cli("cache", "export", entry, out)[0] == 0
    opened = h5py.File(out) if suffix == ".h5" else np.load(out, allow_pickle=False)
    with opened as file:
        assert len(file["labels"]) == 24
        assert len(file["paths"]) == 24


def test_rm_asks_and_then_removes(
    cli: Cli, extracted: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    status, _, err = cli("cache", "rm", "photos")  # nobody there to answer
    assert status == 130
    assert "Remove 1 entries" in err
    assert cli("cache", "rm", "photos", "--yes")[0] == 0
    assert not list(tmp_path.glob("features/photos/*/cache.h5"))


@pytest.mark.parametrize("words", [["info", "nowhere"], ["verify", "nowhere"], ["rm", "nowhere"]])
def test_what_is_not_there_is_one_line(cli: Cli, words: list[str]) -> None:
    status, _, err = cli("cache", *words)
    assert status == 1
    assert "featx cache ls" in err


@pytest.mark.parametrize("what", ["backbones", "heads", "engines", "datasets"])
def test_lists_are_text_and_json(cli: Cli, what: str) -> None:
    status, out, _ = cli("list", what)
    assert status == 0
    _, document, _ = cli("list", what, "--json")
    names = [row["name"] for row in json.loads(document)]
    assert len(names) > 2
    assert all(name in out for name in names)
