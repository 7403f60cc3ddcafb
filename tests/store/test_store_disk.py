"""A disk that is full or cannot be written: a readable error, and nothing half-written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from fake_cache import expected, extract, fake_key, make_index, many_files

from featx.errors import CacheWriteError
from featx.records import DatasetIndex
from featx.store import CacheEntry, export_entry, gc, load_features, verify

HERE = Path(__file__).parent

# Runs with every file limited to argv[3] bytes: the system refuses to write beyond.
LIMITED = """
import json, pathlib, resource, signal, sys
sys.path.insert(0, sys.argv[2])
from fake_cache import *
from featx.errors import CacheWriteError
from featx.store import CacheEntry
limit = int(sys.argv[3])
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
try:
    extract(pathlib.Path(sys.argv[1]), make_index(many_files(60)), part_bytes=4000)
    print(json.dumps("done"))
except CacheWriteError as error:
    print(json.dumps(str(error)))
"""


@pytest.mark.slow
def test_files_that_cannot_grow(tmp_path: Path) -> None:
    index = make_index(many_files(60))
    outcomes = []
    for limit in (10, 2_000, 4_200, 6_000, 12_000, 20_000, 1_000_000):
        command = [sys.executable, "-c", LIMITED, str(tmp_path), str(HERE.parent), str(limit)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        outcomes.append(json.loads(done.stdout))
        bad = [f for f in verify(tmp_path)["bad"] if f["reason"] != "missing"]
        assert bad == []
        assert [p for p in tmp_path.rglob(".*")] == []
    assert outcomes[-1] == "done"
    for text in outcomes[:3]:
        assert "the disk is full" in text
        assert str(tmp_path) in text
        assert "--cache-dir" in text
    forwarded: list[str] = []
    entry = extract(tmp_path, index, forwarded=forwarded)
    assert forwarded == []
    np.testing.assert_array_equal(load_features(entry.path).X, expected(index, "avg"))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of 256 KiB; its size can be changed by mounting it again."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a tmpfs needs root")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def resize(folder: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(folder)], check=True)


def test_a_full_disk(tiny_disk: Path) -> None:
    index = make_index(many_files(300))
    rows, failures = -1, 0
    for kibibytes in range(8, 400, 24):
        resize(tiny_disk, f"size={kibibytes}k")
        try:
            entry = extract(tiny_disk, index, part_bytes=6000)
        except CacheWriteError as error:
            failures += 1
            text = str(error)
        else:
            break
        assert "the disk is full" in text
        assert str(tiny_disk) in text
        assert [p for p in tiny_disk.rglob(".*")] == []
        assert [p for p in tiny_disk.rglob("claim*")] == []
        report = verify(tiny_disk)
        assert [f for f in report["bad"] if f["reason"] != "missing"] == []
        assert report["rows"] >= rows  # what was done stays done
        rows = report["rows"]
    assert failures >= 5
    assert rows > 0
    np.testing.assert_array_equal(load_features(entry.path).X, expected(index, "avg"))
    before = load_features(entry.path, "flatten").X

    resize(tiny_disk, f"size={sum(p.stat().st_blocks for p in tiny_disk.rglob('*')) // 2 + 24}k")
    for work in (
        lambda: extract(tiny_disk, make_index(many_files(600)), part_bytes=6000),
        lambda: gc(tiny_disk),
        lambda: export_entry(entry.path, tiny_disk / "out.h5"),
        lambda: export_entry(entry.path, tiny_disk / "out.npz"),
    ):
        with pytest.raises(CacheWriteError, match="the disk is full"):
            work()
        assert [p for p in tiny_disk.rglob(".*")] == []
        assert not list(tiny_disk.glob("out*"))
        np.testing.assert_array_equal(load_features(entry.path, "flatten").X, before)


def test_a_disk_that_turns_read_only(tiny_disk: Path, index: DatasetIndex) -> None:
    entry = extract(tiny_disk, index)
    resize(tiny_disk, "ro")
    with pytest.raises(CacheWriteError, match=r"cannot be written.*--cache-dir"):
        CacheEntry.open(tiny_disk, "toy", fake_key(), create=True)
    with pytest.raises(CacheWriteError, match="cannot be written"), entry.claim():
        pass
    np.testing.assert_array_equal(load_features(entry.path).X, expected(index, "avg"))
    assert verify(tiny_disk)["bad"] == []


def test_a_file_where_the_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("")
    with pytest.raises(CacheWriteError, match=r"cache.*not a folder.*--cache-dir"):
        CacheEntry.open(tmp_path / "cache", "toy", fake_key(), create=True)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CacheWriteError, match=r"cannot be written.*--cache-dir"):
        CacheEntry.open(tmp_path, "toy", fake_key(), create=True)
