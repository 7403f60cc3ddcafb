"""Readers: a consistent view while others write, gc and repair; and any number of parts."""

from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest
from fake_cache import expected, extract, fake_key, make_index, many_files

import featx.store.features
import featx.store.lazy
from featx.errors import CacheCorruptError
from featx.records import DatasetIndex
from featx.store import CacheEntry, gc, load_features

HERE = Path(__file__).parent


def test_an_earlier_view_stays_whole(tmp_path: Path, index: DatasetIndex) -> None:
    entry = extract(tmp_path, index, part_bytes=2000)
    lazy = load_features(entry.path, "flatten", lazy=True)
    with h5py.File(entry.view_path, "r") as file:
        opened = file["features/flatten"]
        changed = make_index({f"b/{i}.jpg": i + 20 for i in range(30)})
        extract(tmp_path, changed)
        np.testing.assert_array_equal(opened[:], expected(index, "flatten"))
        gc(tmp_path)
        np.testing.assert_array_equal(opened[:], expected(index, "flatten"))
    np.testing.assert_array_equal(lazy.X.rows(range(30)), expected(index, "flatten"))
    np.testing.assert_array_equal(np.asarray(lazy.X), expected(index, "flatten"))
    assert lazy.paths == tuple(s.relpath for s in index.samples)
    np.testing.assert_array_equal(
        load_features(entry.path, "flatten").X, expected(changed, "flatten")
    )


@pytest.mark.slow
def test_reading_while_others_write(tmp_path: Path) -> None:
    """Whatever view is met while extractions come and go, it is one of theirs, whole."""
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[2])\n"
        "from fake_cache import *\n"
        "for i in range(25):\n"
        "    extract(pathlib.Path(sys.argv[1]), make_index(many_files(5 + i)), part_bytes=900)\n"
    )
    wanted = {n: expected(make_index(many_files(n)), "flatten") for n in range(5, 30)}
    entry = extract(tmp_path, make_index(many_files(5)))
    seen = set()
    command = [sys.executable, "-c", script, str(tmp_path), str(HERE.parent)]
    with subprocess.Popen(command) as writer:
        while writer.poll() is None:
            found = load_features(entry.path, "flatten").X
            np.testing.assert_array_equal(found, wanted[len(found)])
            with h5py.File(entry.view_path, "r") as file:
                data = file["features/flatten"][:]
                np.testing.assert_array_equal(data, wanted[len(data)])
            seen.add(len(found))
    assert writer.returncode == 0
    assert len(seen) > 3


def test_more_parts_than_may_be_open(
    tmp_path: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featx.store.lazy, "_OPEN_PARTS", 2)
    monkeypatch.setattr(featx.store.lazy, "_PIECE_BYTES", 300)
    entry = extract(tmp_path, index, part_bytes=1200)
    assert len(entry.part_paths()) > 6
    whole = expected(index, "flatten")
    lazy = load_features(entry.path, "flatten", lazy=True).X
    rows = np.random.default_rng(0).permutation(30)
    for _ in range(3):
        np.testing.assert_array_equal(np.asarray(lazy), whole)
        np.testing.assert_array_equal(lazy.rows(rows), whole[rows])
        np.testing.assert_array_equal(lazy.columns(3, 30), whole[:, 3:30])
    with ThreadPoolExecutor(8) as pool:
        for found in pool.map(lambda _: lazy.rows(rows), range(50)):
            np.testing.assert_array_equal(found, whole[rows])
    assert len(lazy._pool._open) <= 3


@pytest.mark.parametrize("compression", ["none", "blosc2"])
def test_scattered_rows(tmp_path: Path, compression: str) -> None:
    """Rows in another order than the view's, each a stretch of its own."""
    if compression == "blosc2":
        pytest.importorskip("hdf5plugin")
    from fake_cache import SHAPES, fake_rows

    index = make_index(many_files(200))
    names = [s.digest for s in index.samples]
    entry = CacheEntry.open(tmp_path, "toy", fake_key(), create=True)
    order = np.random.default_rng(0).permutation(200)
    shuffled = [names[i] for i in order]
    with entry.writer({"flatten": SHAPES["flatten"]}, compression=compression) as writer:
        writer.append(shuffled, {"flatten": fake_rows(shuffled, "flatten")})
    entry.publish_view(index)
    whole = expected(index, "flatten")
    np.testing.assert_array_equal(load_features(entry.path, "flatten").X, whole)
    with h5py.File(entry.view_path) as file:
        np.testing.assert_array_equal(file["features/flatten"][:], whole)


def test_opening_beside_plain_h5py(tmp_path: Path, index: DatasetIndex) -> None:
    """HDF5 refuses a file twice in one process with other locking: featx does not trip over it."""
    entry = extract(tmp_path, index)
    with h5py.File(entry.view_path, "r") as one, h5py.File(entry.part_paths()[0], "r"):
        assert len(load_features(entry.path).paths) == len(one["paths"])
        extract(tmp_path, index, ["avg", "block:avg"])
    with h5py.File(entry.view_path, "r", locking=True) as two:
        assert "block:avg" in two["features"]


def test_a_lazy_reader_of_what_is_gone(
    tmp_path: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featx.store.lazy, "_OPEN_PARTS", 1)
    entry = extract(tmp_path, index, part_bytes=2000)
    lazy = load_features(entry.path, lazy=True).X
    shutil.rmtree(entry.parts_dir)
    with pytest.raises(CacheCorruptError, match="is missing"):
        lazy.rows(range(30))


def test_parts_that_are_merged_while_a_view_is_opened(
    tmp_path: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The view says where the parts are, they are rewritten, and only then they are opened."""
    entry = extract(tmp_path, index, part_bytes=2000)
    real, calls = featx.store.features.PartPool, []

    def late(*args: object) -> object:
        if not calls:
            gc(tmp_path)
        calls.append(args)
        return real(*args)

    monkeypatch.setattr(featx.store.features, "PartPool", late)
    np.testing.assert_array_equal(load_features(entry.path).X, expected(index, "avg"))
    assert len(calls) == 2


@pytest.mark.parametrize("compression", ["none", "blosc2"])
@pytest.mark.parametrize("ending", ["", "; raise KeyError", "; sys.exit(3)"])
def test_a_reader_leaves_the_interpreter_in_peace(
    tmp_path: Path, index: DatasetIndex, compression: str, ending: str
) -> None:
    """HDF5 files that are open when Python ends can take it down."""
    if compression == "blosc2":
        pytest.importorskip("hdf5plugin")
    entry = extract(tmp_path, index, compression=compression)
    code = (
        "import sys; from featx.store import load_features\n"
        "lazy = load_features(sys.argv[1], lazy=True).X; lazy.rows([1, 2])" + ending
    )
    command = [sys.executable, "-c", code, str(entry.path)]
    done = subprocess.run(command, capture_output=True, check=False)
    assert done.returncode == {"": 0, "; raise KeyError": 1, "; sys.exit(3)": 3}[ending]
