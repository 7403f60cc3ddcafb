"""Digests: remembered while a file is the same, and never a moment longer."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from featx.datasets import digest, index_dataset
from featx.owner import this_process


@pytest.fixture
def settled(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Photos that count as older than the clock's granularity."""
    monkeypatch.setattr(digest, "SAFE_SECONDS", -1.0)
    return photos


@pytest.fixture
def hashed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Paths hashed so far."""
    seen: list[str] = []
    real = digest.digest_file

    def spy(path: str):
        seen.append(os.path.basename(path))
        return real(path)

    monkeypatch.setattr(digest, "digest_file", spy)
    return seen


def check(root: Path, work: Path) -> None:
    for sample in index_dataset(root, work_dir=work).samples:
        content = (root / sample.relpath).read_bytes()
        assert sample.digest == hashlib.sha256(content).hexdigest(), sample.relpath


def cache_file(work: Path) -> Path:
    (file,) = (work / "stat").iterdir()
    return file


def test_second_run_reads_no_file(settled: Path, work: Path, hashed: list[str]) -> None:
    check(settled, work)
    assert len(hashed) == 6
    check(settled, work)
    assert len(hashed) == 6


def test_fresh_files_are_not_trusted(photos: Path, work: Path, hashed: list[str]) -> None:
    # Changed less than SAFE_SECONDS before being hashed: a later edit might not move the clock.
    check(photos, work)
    check(photos, work)
    assert len(hashed) == 12


def test_edit_that_keeps_size_and_mtime(settled: Path, work: Path, hashed: list[str]) -> None:
    check(settled, work)
    file = settled / "cat" / "0.png"
    before = file.stat()
    time.sleep(0.02)
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    with open(file, "r+b") as out:
        out.write(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    check(settled, work)
    assert hashed[6:] == ["0.png"]


def test_swapped_files(settled: Path, work: Path) -> None:
    check(settled, work)
    a, b = settled / "cat" / "0.png", settled / "cat" / "1.png"
    for file in (a, b):
        os.utime(file, ns=(10**18, 10**18))
    check(settled, work)
    a.rename(settled / "t")
    b.rename(a)
    (settled / "t").rename(b)
    check(settled, work)


def test_added_and_removed(settled: Path, work: Path, hashed: list[str], paint) -> None:
    check(settled, work)
    (settled / "cat" / "0.png").unlink()
    paint(settled / "dog" / "new.png", 77)
    check(settled, work)
    assert hashed[6:] == ["new.png"]
    assert set(digest.load_remembered(cache_file(work)).paths) == {
        "cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png", "dog/5.png", "dog/new.png",
    }  # fmt: skip


def test_files_in_another_order_are_found(settled: Path, work: Path, hashed: list[str]) -> None:
    # Earlier versions wrote the files that were new at the end.
    check(settled, work)
    found = digest.load_remembered(cache_file(work))
    order = np.array([3, 5, 0, 1, 4, 2])
    mixed = digest.Remembered(found.paths.take(order), found.marks[order], found.sums[order])
    digest.save_remembered(cache_file(work), mixed)
    assert list(digest.load_remembered(cache_file(work)).paths) == list(found.paths)
    check(settled, work)
    assert len(hashed) == 6


def test_a_file_older_than_1970(settled: Path, work: Path, hashed: list[str]) -> None:
    os.utime(settled / "cat" / "0.png", ns=(-(10**18), -(10**18)))
    check(settled, work)
    check(settled, work)
    assert len(hashed) == 6


def test_any_damage_of_the_file_is_noticed(settled: Path, work: Path) -> None:
    check(settled, work)
    file = cache_file(work)
    whole = file.read_bytes()
    assert len(digest.load_remembered(file).paths) == 6
    for at in range(0, len(whole), 7):
        file.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
        assert digest.load_remembered(file) is digest.NOTHING, at
    for length in range(0, len(whole), 11):
        file.write_bytes(whole[:length])
        assert digest.load_remembered(file) is digest.NOTHING, length
    check(settled, work)
    assert file.read_bytes() == whole


def test_interrupted_writing_leaves_the_old_file(
    settled: Path, work: Path, monkeypatch: pytest.MonkeyPatch, paint
) -> None:
    check(settled, work)
    before = cache_file(work).read_bytes()
    paint(settled / "dog" / "new.png", 77)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(digest.os, "fsync", stop)
    with pytest.raises(KeyboardInterrupt):
        index_dataset(settled, work_dir=work)
    assert cache_file(work).read_bytes() == before  # and no leftover beside it


def test_what_a_killed_writer_left_behind_goes_with_the_next_run(settled: Path, work: Path) -> None:
    check(settled, work)
    file = cache_file(work)
    program = "from featx.owner import this_process; print(this_process().tag)"
    dead = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.strip()
    tags = {"dead": dead, "living": this_process().tag, "elsewhere": "0a1b2c3d-7-7"}
    drafts = {who: file.with_name(f".{file.name}-{tag}-x_y8") for who, tag in tags.items()}
    for draft in drafts.values():
        draft.write_bytes(b"half")
    check(settled, work)
    assert {who for who, draft in drafts.items() if draft.exists()} == {"living", "elsewhere"}


def test_no_place_to_write(settled: Path, tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    check(settled, blocked)


def test_file_that_changes_while_being_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(digest, "SAFE_SECONDS", -1.0)
    file = tmp_path / "x"
    file.write_bytes(b"one")
    real = hashlib.sha256

    def meddle(content: bytes):
        file.write_bytes(b"three")
        return real(content)

    monkeypatch.setattr(digest.hashlib, "sha256", meddle)
    assert digest.digest_file(str(file)) == (real(b"one").hexdigest(), None)


def test_large_file(tmp_path: Path) -> None:
    content = os.urandom(1 << 16) * 40
    (tmp_path / "x").write_bytes(content)
    assert digest.digest_file(str(tmp_path / "x"))[0] == hashlib.sha256(content).hexdigest()


def test_progress(photos: Path, work: Path) -> None:
    told: list[tuple[str, int, int]] = []
    index_dataset(photos, work_dir=work, progress=lambda *args: told.append(args))
    assert told[-1] == ("hash", 6, 6)
