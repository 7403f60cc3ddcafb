"""What every way of storing features must do, held over all of them."""

from __future__ import annotations

import os
import pickle
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from fake_cache import SHAPES, expected, extract, fake_key, make_index, many_files

from featx.errors import CacheError, CacheMissError, SpecError
from featx.records import DatasetIndex, FeatureSet, Sample
from featx.store import CacheEntry, load_features, plan_rows, verify
from featx.store.writer import COMPRESSIONS

STORED = ("float32", "float16")
VARIANTS = [(stored, compression) for stored in STORED for compression in COMPRESSIONS]
FILES = many_files(40) | {"a/copy.jpg": 3, "c/copy.jpg": 3, "b/ümlaut \n\udcff.jpg": "odd name"}


def test_variants_were_found() -> None:
    assert len(VARIANTS) >= 4


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here is about a machine that stops, and a busy disk takes its time."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture(params=VARIANTS, ids="-".join)
def variant(request: pytest.FixtureRequest) -> dict[str, Any]:
    stored, compression = request.param
    if compression == "blosc2":
        pytest.importorskip("hdf5plugin")
    size = 4 if stored == "float32" else 2
    return {"key": fake_key(stored=stored), "compression": compression, "part_bytes": 700 * size}


@pytest.fixture
def index() -> DatasetIndex:
    return make_index(FILES)


@pytest.fixture
def entry(tmp_path: Path, index: DatasetIndex, variant: dict[str, Any]) -> CacheEntry:
    made = extract(tmp_path, index, **variant)
    assert len(made.part_paths()) > 3
    return made


def rounded(values: np.ndarray, entry: CacheEntry) -> np.ndarray:
    return values.astype(entry.key.stored).astype(np.float32)


@pytest.mark.parametrize("tap", ["avg", "flatten"])
class TestReading:
    def test_whole(self, entry: CacheEntry, index: DatasetIndex, tap: str) -> None:
        found = load_features(entry.path, tap)
        assert isinstance(found.X, np.ndarray)
        assert found.X.dtype == np.float32
        np.testing.assert_array_equal(found.X, rounded(expected(index, tap), entry))

    def test_what_belongs_to_the_rows(
        self, entry: CacheEntry, index: DatasetIndex, tap: str
    ) -> None:
        found = load_features(entry.path / "cache.h5", tap)
        assert isinstance(found, FeatureSet)
        assert found.paths == tuple(s.relpath for s in index.samples)
        assert found.digests == tuple(s.digest for s in index.samples)
        assert found.splits.tolist() == [s.split for s in index.samples]
        assert [found.classes[i] for i in found.y] == [s.labels[0] for s in index.samples]
        assert found.y.dtype == np.int32
        assert (found.key, found.dataset, found.tap) == (entry.key, "toy", tap)
        assert found.target == "class"

    def test_lazily(self, entry: CacheEntry, index: DatasetIndex, tap: str) -> None:
        lazy = load_features(entry.path, tap, lazy=True).X
        whole = rounded(expected(index, tap), entry)
        assert (lazy.shape, lazy.dtype, lazy.ndim, len(lazy)) == (whole.shape, "f4", 2, len(whole))
        np.testing.assert_array_equal(np.asarray(lazy), whole)
        np.testing.assert_array_equal(np.asarray(lazy, np.float64), whole)
        rows = np.random.default_rng(0).integers(0, len(whole), 100)
        for chosen in (rows, np.sort(rows), rows[:1], rows[:0], [2, 1, 1], range(len(whole))):
            np.testing.assert_array_equal(lazy.rows(chosen), whole[np.array(chosen, int)])
        width = whole.shape[1]
        for start, stop in ((0, width), (1, 2), (width - 3, width), (4, 4)):
            np.testing.assert_array_equal(lazy.columns(start, stop), whole[:, start:stop])
        blocks = list(lazy.row_blocks(whole.shape[1] * 4 * 9))
        assert len(blocks) == -(-len(whole) // 9)
        np.testing.assert_array_equal(np.concatenate([b for _, b in blocks]), whole)
        assert [r.stop for r, _ in blocks][-1] == len(whole)

    def test_lazily_in_another_process(
        self, entry: CacheEntry, index: DatasetIndex, tap: str
    ) -> None:
        lazy = pickle.loads(pickle.dumps(load_features(entry.path, tap, lazy=True).X))  # noqa: S301
        np.testing.assert_array_equal(
            lazy.rows([5, 3]), rounded(expected(index, tap), entry)[[5, 3]]
        )

    def test_outside(self, entry: CacheEntry, tap: str) -> None:
        lazy = load_features(entry.path, tap, lazy=True).X
        for rows in ([-1], [len(lazy)], [0.5], [[0]]):
            with pytest.raises(IndexError):
                lazy.rows(rows)
        for columns in ((-1, 2), (2, 1), (0, lazy.shape[1] + 1)):
            with pytest.raises(IndexError):
                lazy.columns(*columns)
        with pytest.raises(ValueError, match="copy"):
            np.array(lazy, copy=False)

    def test_with_plain_h5py(self, entry: CacheEntry, index: DatasetIndex, tap: str) -> None:
        with h5py.File(entry.view_path, "r") as file:
            data = file[f"features/{tap}"]
            assert data.dtype == entry.key.stored
            np.testing.assert_array_equal(data[:], expected(index, tap).astype(data.dtype))
            assert tuple(data.attrs["shape"]) == SHAPES[tap]
            assert [c.decode() for c in file["classes"][:]] == ["a", "b", "c"]
            assert file["labels"].shape == (len(index.samples),)
            paths = file["paths"].asstr(errors="surrogateescape")[:].tolist()
            assert paths == [s.relpath for s in index.samples]
            assert file.attrs["key_digest"] == entry.key.digest()

    def test_after_the_cache_was_moved(
        self,
        entry: CacheEntry,
        index: DatasetIndex,
        tap: str,
        tmp_path_factory: pytest.TempPathFactory,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        moved = tmp_path_factory.mktemp("moved") / "entry"
        shutil.move(entry.path, moved)
        monkeypatch.chdir(moved.parent)
        found = load_features(moved, tap).X
        with h5py.File("entry/cache.h5", "r") as file:
            np.testing.assert_array_equal(file[f"features/{tap}"][:].astype(np.float32), found)


class TestReuse:
    def test_a_second_extraction_computes_nothing(
        self, entry: CacheEntry, index: DatasetIndex, tmp_path: Path, variant: dict[str, Any]
    ) -> None:
        before = {p: p.stat().st_mtime_ns for p in entry.path.rglob("*") if p.is_file()}
        forwarded: list[str] = []
        extract(tmp_path, index, forwarded=forwarded, **variant)
        after = {p: p.stat().st_mtime_ns for p in entry.path.rglob("*") if p.is_file()}
        assert forwarded == []
        assert after == before

    def test_a_new_tap_joins(
        self, entry: CacheEntry, index: DatasetIndex, tmp_path: Path, variant: dict[str, Any]
    ) -> None:
        again = extract(tmp_path, index, ["avg", "flatten", "block:avg"], **variant)
        assert again.path == entry.path
        for tap in ("avg", "flatten", "block:avg"):
            found = load_features(entry.path, tap).X
            np.testing.assert_array_equal(found, rounded(expected(index, tap), entry))

    def test_pooled_taps_come_from_the_flattened(
        self, entry: CacheEntry, index: DatasetIndex, tmp_path: Path, variant: dict[str, Any]
    ) -> None:
        forwarded: list[str] = []
        extract(tmp_path, index, ["max"], forwarded=forwarded, **variant)
        assert forwarded == []
        found = load_features(entry.path, "max").X
        np.testing.assert_array_equal(found, rounded(expected(index, "max"), entry))

    def test_added_edited_renamed_deleted(
        self, entry: CacheEntry, tmp_path: Path, variant: dict[str, Any]
    ) -> None:
        files = dict(FILES)
        files["c/renamed.jpg"] = files.pop("a/00000.jpg")
        files["b/00001.jpg"] = "edited"
        files["b/added.jpg"] = "added"
        files["b/duplicate.jpg"] = files["c/00002.jpg"]
        del files["a/00003.jpg"], files["a/copy.jpg"], files["c/copy.jpg"]
        index, forwarded = make_index(files), []
        extract(tmp_path, index, forwarded=forwarded, **variant)
        assert len(forwarded) == 2
        found = load_features(entry.path, "avg")
        np.testing.assert_array_equal(found.X, rounded(expected(index, "avg"), entry))
        assert found.paths == tuple(sorted(files))

    def test_another_key_is_another_entry(
        self, entry: CacheEntry, index: DatasetIndex, tmp_path: Path, variant: dict[str, Any]
    ) -> None:
        other = fake_key(stored=entry.key.stored, weights="1" * 64)
        forwarded: list[str] = []
        made = extract(tmp_path, index, forwarded=forwarded, **{**variant, "key": other})
        assert made.path != entry.path
        assert len(forwarded) == 41

    def test_cost_of_quarantine(
        self, tmp_path: Path, index: DatasetIndex, variant: dict[str, Any]
    ) -> None:
        bad = ["a/00000.jpg", "b/00001.jpg"]
        made = extract(tmp_path, index, bad=bad, **variant)
        found = load_features(made.path, "avg")
        assert not set(bad) & set(found.paths)
        np.testing.assert_array_equal(found.X, rounded(expected(index, "avg", bad), made))
        with h5py.File(made.view_path) as file:
            assert file["quarantined/paths"].asstr()[:].tolist() == bad
            assert file["quarantined/reasons"].asstr()[:].tolist() == ["bad", "bad"]
        mended = extract(tmp_path, index, **variant)
        np.testing.assert_array_equal(
            load_features(mended.path, "avg").X, rounded(expected(index, "avg"), made)
        )


class TestRefusals:
    def test_no_such_tap_names_those_there(self, entry: CacheEntry) -> None:
        with pytest.raises(CacheMissError, match=r"no tap 'max', it has: avg, flatten.*--pooling"):
            load_features(entry.path, "max")

    def test_no_such_entry(self, tmp_path: Path, entry: CacheEntry) -> None:
        with pytest.raises(CacheMissError, match="featx extract"):
            load_features(tmp_path / "nothing")
        with pytest.raises(CacheMissError, match=f"holds some: {re.escape(str(entry.path))}"):
            load_features(tmp_path)
        with pytest.raises(CacheMissError, match="featx cache ls"):
            CacheEntry.open(tmp_path, "toy", fake_key(weights="1"))

    def test_no_such_target(self, entry: CacheEntry) -> None:
        with pytest.raises(SpecError, match=r"no label column 'clas'\. Did you mean 'class'"):
            load_features(entry.path, target="clas")

    def test_a_sample_without_row(self, entry: CacheEntry) -> None:
        index = make_index(FILES | {"a/new.jpg": "new"})
        with pytest.raises(CacheMissError, match="1 of 42 images have no 'avg' row"):
            entry.publish_view(index, taps=["avg"])

    def test_rows_that_do_not_fit(self, entry: CacheEntry) -> None:
        with entry.writer({"avg": (8,)}) as writer:
            for rows in ({"avg": np.zeros((2, 7))}, {"max": np.zeros((2, 8))}, {}):
                with pytest.raises(ValueError, match="expected"):
                    writer.append(["0" * 64, "1" * 64], rows)
            for digest in ("", "x" * 65, "ü"):
                with pytest.raises(ValueError, match="digest"):
                    writer.append([digest], {"avg": np.zeros((1, 8))})

    def test_values_that_are_not_finite(self, entry: CacheEntry) -> None:
        rows = np.zeros((2, 8), np.float32)
        with entry.writer({"avg": (8,)}) as writer:
            for value in (np.nan, np.inf, -np.inf):
                rows[1, 3] = value
                with pytest.raises(CacheError, match="Tap 'avg' has values that are not finite"):
                    writer.append(["0" * 64, "1" * 64], {"avg": rows})
            rows[1, 3] = 70_000
            if entry.key.stored == "float16":
                with pytest.raises(CacheError, match="up to 70000, which float16 cannot hold"):
                    writer.append(["0" * 64, "1" * 64], {"avg": rows})
        assert not plan_rows(entry.state(), ["0" * 64], ["avg"]).reuse


def test_several_label_columns(tmp_path: Path, variant: dict[str, Any]) -> None:
    plain = make_index(many_files(9))
    samples = tuple(
        Sample(s.relpath, (*s.labels, "yes" if i % 2 else "no"), s.split, s.digest, f"g{i // 2}")
        for i, s in enumerate(plain.samples)
    )
    classes = (*plain.classes, ("no", "yes"))
    index = DatasetIndex("toy", "/toy", classes, samples, ("item", "recyclable"))
    entry = extract(tmp_path, index, **variant)
    first, second = load_features(entry.path), load_features(entry.path, target="recyclable")
    assert (first.target, first.classes) == ("item", ("a", "b", "c"))
    assert (second.target, second.classes) == ("recyclable", ("no", "yes"))
    assert second.y.tolist() == [i % 2 for i in range(9)]
    assert first.groups == tuple(s.group for s in samples)
    with h5py.File(entry.view_path) as file:
        assert file["labels"].shape == (9, 2)
        assert file["classes/recyclable"].asstr()[:].tolist() == ["no", "yes"]


def test_it_is_stored_as_asked_for(entry: CacheEntry, variant: dict[str, Any]) -> None:
    assert entry.state().compression == variant["compression"]
    for path in entry.part_paths():
        with h5py.File(path) as file:
            data = file["features/flatten"]
            assert data.dtype == entry.key.stored
            assert bool(data._filters) == (variant["compression"] != "none")


def test_everything_written_is_sound(entry: CacheEntry, tmp_path: Path) -> None:
    report = verify(tmp_path)
    assert report == {"entries": 1, "rows": 41, "bad": []}
    leftovers = [p for p in tmp_path.rglob("*") if p.name.startswith(".") or "claim" in p.name]
    assert leftovers == []


def test_file_locking_is_never_used(
    entry: CacheEntry, tmp_path: Path, index: DatasetIndex, variant: dict[str, Any]
) -> None:
    """A file held under an exclusive HDF5 lock by somebody else is read all the same."""
    import fcntl

    files = [*entry.part_paths(), entry.view_path]
    held = [os.open(p, os.O_RDWR) for p in files]
    try:
        for descriptor in held:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        assert len(load_features(entry.path).X) == len(index.samples)
        assert not plan_rows(entry.state(), [s.digest for s in index.samples], ["avg"]).extract
    finally:
        for descriptor in held:
            os.close(descriptor)
