"""SIGKILL at any moment: nothing finished is lost, no damage is read, the next run resumes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from fake_cache import (
    SHAPES,
    expected,
    extract,
    fake_key,
    fake_rows,
    make_index,
    many_files,
)

from featx.errors import CacheWriteError
from featx.records import DatasetIndex
from featx.store import CacheEntry, dataset_dir, load_features, plan_rows, verify
from featx.store.atomic import new_file, stale_temps, temp_path, write_file

HERE = Path(__file__).parent


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "step", "least"),
    [("first", 3, 20), ("update", 3, 10), ("derive", 3, 8), ("repair", 2, 8), ("gc", 2, 8)],
)
def test_killed_at_every_stage(tmp_path: Path, stage: str, step: int, least: int) -> None:
    command = [sys.executable, str(HERE / "killed.py"), str(tmp_path), stage, str(step)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    outcome = json.loads(done.stdout)
    assert outcome["problems"] == []
    assert outcome["kills"] >= least


@pytest.mark.slow
def test_killed_from_outside(tmp_path: Path) -> None:
    """At random moments, by somebody else, over and over on one cache."""
    index = make_index(many_files(300))
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[2])\n"
        "from fake_cache import *\n"
        "extract(pathlib.Path(sys.argv[1]), make_index(many_files(300)), part_bytes=2000)\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(HERE.parent)]
    rng = np.random.default_rng(0)
    survived, rows = 0, 0
    for _ in range(12):
        with subprocess.Popen(command) as process:
            until = time.monotonic() + 20
            while not list(tmp_path.glob("*/*/parts/*.h5")) and time.monotonic() < until:
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
        survived += process.returncode == 0
        report = verify(tmp_path)
        assert report["bad"] == []
        assert report["rows"] >= rows
        rows = report["rows"]
    forwarded: list[str] = []
    entry = extract(tmp_path, index, part_bytes=2000, forwarded=forwarded)
    assert len(forwarded) <= 300 - min(300, rows)
    np.testing.assert_array_equal(
        load_features(entry.path, "flatten").X, expected(index, "flatten")
    )
    assert [p for p in tmp_path.rglob(".*")] == []


def digests(index: DatasetIndex) -> list[str]:
    return [s.digest for s in index.samples]


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_exception_keeps_what_was_appended(
    tmp_path: Path, index: DatasetIndex, error: type[BaseException]
) -> None:
    entry = extract(tmp_path, index, ["avg"])
    fresh = make_index({f"a/{i}.jpg": f"new {i}" for i in range(20)})

    def work() -> None:
        with entry.claim(), entry.writer({"avg": SHAPES["avg"]}) as writer:
            writer.append(digests(fresh)[:13], {"avg": fake_rows(digests(fresh)[:13], "avg")})
            raise error

    with pytest.raises(error):
        work()
    plan = plan_rows(entry.state(), digests(fresh), ["avg"])
    assert (len(plan.reuse), len(plan.extract)) == (13, 7)
    assert [p for p in tmp_path.rglob(".*")] == []
    with entry.claim():
        pass


def test_parts_are_closed_by_size_and_by_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import featx.store.writer

    now = 0.0
    monkeypatch.setattr(featx.store.writer.time, "monotonic", lambda: now)
    entry = CacheEntry.open(tmp_path, "toy", fake_key(), create=True)
    names = [f"{i:064x}" for i in range(100)]
    with entry.writer({"avg": SHAPES["avg"]}, part_bytes=10 * (32 + 64), part_seconds=30) as writer:
        writer.append(names[:25], {"avg": fake_rows(names[:25], "avg")})
        writer.wait()
        assert len(writer.published) == 2
        now = 12.0
        writer.append(names[25:26], {"avg": fake_rows(names[25:26], "avg")})
        writer.wait()
        assert len(writer.published) == 2
        now = 24.0  # the next would come at 36: too late
        writer.append(names[26:27], {"avg": fake_rows(names[26:27], "avg")})
        writer.wait()
        assert len(writer.published) == 3
    assert len(writer.published) == 3
    assert len(plan_rows(entry.state(), names, ["avg"]).reuse) == 27


def test_a_file_is_flushed_before_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []

    def note(name: str) -> None:
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, **k: (calls.append(name), real(*a, **k))[1])

    for name in ("pwrite", "fsync", "replace"):
        note(name)
    write_file(tmp_path / "file", b"content")
    assert calls == ["pwrite", "fsync", "replace", "fsync"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_file(path, b"old")

    def write(error: BaseException) -> None:
        with new_file(path) as descriptor:
            os.write(descriptor, b"half of the n")
            raise error

    with pytest.raises(CacheWriteError, match=r"file: the disk is full.*--cache-dir"):
        write(OSError(28, "No space left on device"))
    with pytest.raises(KeyboardInterrupt):
        write(KeyboardInterrupt())
    assert path.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_only_the_leavings_of_the_dead_are_swept(tmp_path: Path) -> None:
    mine = temp_path(tmp_path / "a.h5")
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, pathlib; from featx.store.atomic import temp_path\n"
            "p = temp_path(pathlib.Path(sys.argv[1]) / 'a.h5'); p.touch(); print(p)",
            str(tmp_path),
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = Path(child.stdout.strip())
    foreign = tmp_path / ".a.h5.00000000.elsewhere-1-1.tmp"
    old = tmp_path / ".a.h5.00000001.elsewhere-1-1.tmp"
    for path in (mine, foreign, old):
        path.touch()
    os.utime(old, (0, 0))
    assert set(stale_temps(tmp_path)) == {theirs, old}


def test_what_a_run_left_that_was_killed_naming_the_data_set_is_swept(tmp_path: Path) -> None:
    """Also where another run has noted the name since, so that there is nothing to write."""
    script = """
import os, signal, sys
from pathlib import Path
from featx.store import dataset_dir
os.replace = lambda *args, **kwargs: os.kill(os.getpid(), signal.SIGKILL)
dataset_dir(Path(sys.argv[1]), "photos", "/photos", create=True)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    folder = tmp_path / "photos"
    (left,) = folder.iterdir()
    waiting = left.rename(tmp_path / left.name)
    assert dataset_dir(tmp_path, "photos", "/photos", create=True) == folder
    waiting.rename(left)  # the other run was faster, and did not see it
    dataset_dir(tmp_path, "photos", "/photos", create=True)
    assert [path.name for path in folder.iterdir()] == ["dataset.json"]
