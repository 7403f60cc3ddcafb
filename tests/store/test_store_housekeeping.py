"""Folders, listing, gc, export and removal."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from fake_cache import expected, extract, fake_key, make_index, many_files

from featx.errors import CacheBusyError, CacheError, CacheMissError, SpecError
from featx.records import DatasetIndex
from featx.store import (
    CacheEntry,
    dataset_dir,
    export_entry,
    gc,
    list_entries,
    load_features,
    plan_rows,
    remove,
    verify,
)


class TestDatasetFolder:
    def test_named_after_the_data_set(self, tmp_path: Path) -> None:
        folder = dataset_dir(tmp_path / "cache", "flowers", "/data/flowers")
        assert folder == tmp_path / "cache" / "flowers"
        assert not folder.exists()

    def test_two_roots_of_one_name_do_not_share(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one" / "x", tmp_path / "two" / "x"
        one.mkdir(parents=True)
        two.mkdir(parents=True)
        cache = tmp_path / "cache"
        first = dataset_dir(cache, "x", str(one), create=True)
        second = dataset_dir(cache, "x", str(two), create=True)
        assert first.name == "x"
        assert second.name.startswith("x-")
        assert len(second.name) == len("x-") + 8
        assert dataset_dir(cache, "x", str(one)) == first
        assert dataset_dir(cache, "x", str(two)) == second

    def test_a_moved_root_keeps_its_folder(self, tmp_path: Path) -> None:
        one, two = tmp_path / "one", tmp_path / "two"
        one.mkdir()
        first = dataset_dir(tmp_path / "cache", "x", str(one), create=True)
        one.rename(two)
        assert dataset_dir(tmp_path / "cache", "x", str(two), create=True) == first
        one.mkdir()  # somebody else's, later
        assert dataset_dir(tmp_path / "cache", "x", str(one)).name != "x"

    @pytest.mark.parametrize(
        ("name", "folder"),
        [("../up", "up"), ("a b/c", "a_b_c"), ("", "data"), ("..", "data"), (".hidden", "hidden")],
    )
    def test_no_name_leads_out(self, tmp_path: Path, name: str, folder: str) -> None:
        assert dataset_dir(tmp_path, name, "/x") == tmp_path / folder

    def test_any_root_can_be_noted(self, tmp_path: Path) -> None:
        root = str(tmp_path / "ümlaut \udcff")
        os.makedirs(root)
        folder = dataset_dir(tmp_path / "cache", "x", root, create=True)
        assert dataset_dir(tmp_path / "cache", "x", root) == folder


class TestList:
    def test_what_is_there(self, tmp_path: Path, entry: CacheEntry) -> None:
        (info,) = list_entries(tmp_path)
        assert (info.path, info.dataset, info.key) == (entry.path, "toy", entry.key)
        assert (info.images, info.quarantined, info.state) == (30, 0, "ready")
        assert {t: s.shape for t, s in info.taps.items()} == {"avg": (8,), "flatten": (2, 3, 8)}
        assert info.parts == len(entry.part_paths())
        files = [p for p in entry.path.rglob("*") if p.is_file()]
        assert info.size_bytes == sum(p.stat().st_size for p in files)
        assert info.changed == max(p.stat().st_mtime for p in files)
        assert list_entries(entry.path.parent) == list_entries(entry.path) == [info]

    def test_an_interrupted_extraction(self, tmp_path: Path, index: DatasetIndex) -> None:
        extract(tmp_path, index, publish=False)
        (info,) = list_entries(tmp_path)
        assert (info.state, info.images) == ("no view", 0)
        assert info.parts > 0

    def test_nothing(self, tmp_path: Path) -> None:
        assert list_entries(tmp_path / "nowhere") == []
        (tmp_path / "README.md").write_text("not an entry")
        assert list_entries(tmp_path) == []

    def test_damage_is_shown(self, tmp_path: Path, entry: CacheEntry) -> None:
        entry.view_path.write_bytes(b"rubbish")
        (info,) = list_entries(tmp_path)
        assert info.state == "damaged"
        assert "cache.h5" in info.detail


class TestGc:
    def test_rows_of_deleted_images_go(self, tmp_path: Path, index: DatasetIndex) -> None:
        entry = extract(tmp_path, index, part_bytes=1500)
        fewer = make_index({f"a/{i}.jpg": i for i in range(0, 30, 3)})
        extract(tmp_path, fewer)
        size = sum(p.stat().st_size for p in entry.part_paths())
        would = gc(tmp_path, dry_run=True)
        assert sum(p.stat().st_size for p in entry.part_paths()) == size
        done = gc(tmp_path)
        assert would["rows"] == done["rows"] == 20
        assert done["freed_bytes"] > 0
        assert verify(tmp_path) == {"entries": 1, "rows": 10, "bad": []}
        for tap in ("avg", "flatten"):
            np.testing.assert_array_equal(load_features(entry.path, tap).X, expected(fewer, tap))
        assert gc(tmp_path)["parts"] == 0

    def test_unfinished_work_stays(self, tmp_path: Path, index: DatasetIndex) -> None:
        """What an extraction did that was interrupted is in no view yet."""
        entry = extract(tmp_path, index)
        more = make_index(many_files(50))
        extract(tmp_path, more, publish=False)
        assert gc(tmp_path)["rows"] == 0
        plan = plan_rows(entry.state(), [s.digest for s in more.samples], ["avg", "flatten"])
        assert len(plan.reuse) == 50

    def test_second_copies_go(self, tmp_path: Path, index: DatasetIndex) -> None:
        entry = extract(tmp_path, index)
        data = expected(index, "avg")
        with entry.writer({"avg": (8,)}) as writer:
            writer.append([s.digest for s in index.samples], {"avg": data})
        assert gc(tmp_path)["rows"] == 30
        assert verify(tmp_path)["rows"] == 30
        np.testing.assert_array_equal(load_features(entry.path).X, data)

    def test_leavings_of_the_dead_go(self, tmp_path: Path, entry: CacheEntry) -> None:
        for folder in (entry.path, entry.parts_dir):
            leaving = folder / ".x.h5.00000000.elsewhere-1-1.tmp"
            leaving.write_bytes(b"x" * 1000)
            os.utime(leaving, (0, 0))
        assert gc(tmp_path)["temps"] == 2
        assert list(entry.path.rglob(".*")) == []

    def test_not_while_somebody_writes(self, tmp_path: Path, entry: CacheEntry) -> None:
        with entry.claim(), pytest.raises(CacheBusyError):
            gc(tmp_path)

    def test_no_such_folder(self, tmp_path: Path) -> None:
        for work in (gc, verify, remove):
            with pytest.raises(CacheMissError, match="featx cache ls"):
                work(tmp_path / "nowhere")


class TestRemove:
    def test_an_entry(self, tmp_path: Path, index: DatasetIndex) -> None:
        one = extract(tmp_path, index)
        two = extract(tmp_path, index, key=fake_key(weights="1" * 64))
        assert remove(one.path) == 1
        assert not one.path.exists()
        np.testing.assert_array_equal(load_features(two.path).X, expected(index, "avg"))
        assert remove(two.path) == 1
        assert os.listdir(tmp_path) == []

    def test_what_is_not_ours_stays(self, tmp_path: Path, entry: CacheEntry) -> None:
        (entry.path / "notes.txt").write_text("mine")
        (tmp_path / "README.md").write_text("mine too")
        remove(tmp_path)
        left = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file())
        assert left == ["README.md", str(entry.path.relative_to(tmp_path) / "notes.txt")]

    def test_not_while_somebody_writes(self, entry: CacheEntry) -> None:
        with entry.claim(), pytest.raises(CacheBusyError):
            remove(entry.path)
        assert load_features(entry.path)


class TestExport:
    def test_hdf5(self, tmp_path: Path, entry: CacheEntry, index: DatasetIndex) -> None:
        out = export_entry(entry.path, tmp_path / "out.h5")
        with h5py.File(out) as file:
            for tap in ("avg", "flatten"):
                assert not file[f"features/{tap}"].is_virtual
                np.testing.assert_array_equal(file[f"features/{tap}"][:], expected(index, tap))
            assert file["paths"].asstr()[:].tolist() == [s.relpath for s in index.samples]
            classes = file["classes"].asstr()[:]
            named = [classes[i] for i in file["labels"][:]]
            assert named == [s.labels[0] for s in index.samples]

    def test_npz(self, tmp_path: Path, entry: CacheEntry, index: DatasetIndex) -> None:
        out = export_entry(entry.view_path, tmp_path / "out.npz", ["flatten"])
        with np.load(out, allow_pickle=False) as arrays:
            np.testing.assert_array_equal(arrays["features_flatten"], expected(index, "flatten"))
            assert "features_avg" not in arrays
            assert arrays["paths"].tolist() == [s.relpath for s in index.samples]
            assert arrays["digests"].tolist() == [s.digest for s in index.samples]
            assert arrays["classes"][arrays["labels"]].tolist() == [
                s.labels[0] for s in index.samples
            ]

    def test_parquet(self, tmp_path: Path, entry: CacheEntry, index: DatasetIndex) -> None:
        parquet = pytest.importorskip("pyarrow.parquet")
        table = parquet.read_table(export_entry(entry.path, tmp_path / "out.parquet"))
        found = np.array(table["flatten"].to_pylist(), np.float32)
        np.testing.assert_array_equal(found, expected(index, "flatten"))
        assert table["path"].to_pylist() == [s.relpath for s in index.samples]
        assert table["label"].to_pylist() == [s.labels[0] for s in index.samples]

    def test_parquet_without_pyarrow(
        self, tmp_path: Path, entry: CacheEntry, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow", None)
        with pytest.raises(CacheError, match=r"needs pyarrow.*\.h5 or \.npz"):
            export_entry(entry.path, tmp_path / "out.parquet")
        assert not list(tmp_path.glob("*out*"))

    def test_another_ending(self, tmp_path: Path, entry: CacheEntry) -> None:
        with pytest.raises(SpecError, match=r"out\.csv.*\.h5, \.npz or \.parquet"):
            export_entry(entry.path, tmp_path / "out.csv")

    def test_no_such_tap(self, tmp_path: Path, entry: CacheEntry) -> None:
        with pytest.raises(CacheMissError, match="no tap 'max'"):
            export_entry(entry.path, tmp_path / "out.h5", ["max"])


def test_compression_without_hdf5plugin(
    tmp_path: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("hdf5plugin")
    entry = extract(tmp_path, index, compression="blosc2")
    monkeypatch.setitem(sys.modules, "hdf5plugin", None)
    with pytest.raises(CacheError, match=r"needs? hdf5plugin.*featx\[compression\]"):
        load_features(entry.path)
    with pytest.raises(SpecError, match="gzip"):
        entry.writer({"avg": (8,)}, compression="gzip")


def test_nothing_is_ever_pickled() -> None:
    """No file of the cache can make featx run code: the store never loads a pickle."""
    source = Path(featx_store()).parent
    for path in source.glob("*.py"):
        text = path.read_text()
        for word in ("pickle.load", "allow_pickle=True", "eval(", "exec(", "import pickle"):
            assert word not in text, path


def featx_store() -> str:
    import featx.store

    assert featx.store.__file__
    return featx.store.__file__


def test_the_store_needs_nothing_heavy() -> None:
    code = (
        "import sys, featx.store\n"
        "heavy = {'keras', 'tensorflow', 'sklearn', 'hdf5plugin', 'pyarrow', 'PIL', 'openvino'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
