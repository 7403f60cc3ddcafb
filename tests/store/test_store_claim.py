"""One writer an entry: others wait or are told who holds it, and the dead are not waited for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from fake_cache import (
    SHAPES,
    claim_of_another,
    expected,
    extract,
    fake_key,
    fake_rows,
    kill_holder,
    make_index,
    many_files,
)

import featx.store.claim
from featx.errors import CacheBusyError
from featx.owner import Owner, this_process
from featx.store import CacheEntry, Claim, list_entries, load_features, verify
from featx.store.claim_places import CLAIM_NAME, ClaimFile

HERE = Path(__file__).parent


def write_claim(folder: Path, **changes: object) -> None:
    (folder / CLAIM_NAME).write_bytes(claim_of_another(**changes))


def test_a_holder_is_named(tmp_path: Path) -> None:
    write_claim(tmp_path, host="laptop", machine="elsewhere", pid=4711)
    with pytest.raises(CacheBusyError, match=re.escape(str(tmp_path))) as caught, Claim(tmp_path):
        pass
    for word in ("process 4711", "laptop", "2026-01-02T03:04:05"):
        assert word in str(caught.value)
    assert ClaimFile(tmp_path).read()["token"] == "theirs"


def test_it_is_given_back(tmp_path: Path) -> None:
    with Claim(tmp_path) as claim:
        assert claim.held()
        with pytest.raises(CacheBusyError), Claim(tmp_path):
            pass
    with pytest.raises(KeyError), Claim(tmp_path):
        raise KeyError
    assert os.listdir(tmp_path) == []


def test_waiting(tmp_path: Path) -> None:
    told: list[str] = []
    order: list[str] = []

    def second() -> None:
        with Claim(tmp_path, wait=20, notify=told.append):
            order.append("second")

    with Claim(tmp_path):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join()
    assert order == ["first", "second"]
    assert len(told) == 1
    assert f"process {os.getpid()}" in told[0]


def test_waiting_has_an_end(tmp_path: Path) -> None:
    with Claim(tmp_path), pytest.raises(CacheBusyError), Claim(tmp_path, wait=0.3):
        pass


def test_a_killed_holder_is_recovered_at_once(tmp_path: Path) -> None:
    kill_holder(tmp_path)
    assert ClaimFile(tmp_path).read()
    with Claim(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"start": 1},  # the number is in use again, by a process that started at another time
        {"pid": 2**22 + 1},  # no such process
    ],
)
def test_a_dead_holder_here(tmp_path: Path, changes: dict[str, object]) -> None:
    write_claim(tmp_path, **changes)
    with Claim(tmp_path):
        pass


def test_a_holder_elsewhere_is_dead_when_it_is_silent(tmp_path: Path) -> None:
    write_claim(tmp_path, machine="elsewhere")
    with pytest.raises(CacheBusyError), Claim(tmp_path):
        pass
    before = time.time() - featx.store.claim.STALE_SECONDS - 5
    os.utime(tmp_path / CLAIM_NAME, (before, before))
    with Claim(tmp_path):
        pass


def test_a_holder_is_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featx.store.claim, "BEAT_SECONDS", 0.02)
    path = tmp_path / CLAIM_NAME
    with Claim(tmp_path):
        os.utime(path, (0, 0))
        until = time.monotonic() + 10
        while path.stat().st_mtime < 1000 and time.monotonic() < until:
            time.sleep(0.01)
        assert path.stat().st_mtime > 1000


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"token": "x", "pid": "y"}', b"\xff\0"])
def test_an_unreadable_claim_is_waited_for_and_then_recovered(
    tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / CLAIM_NAME
    path.write_bytes(content)
    with pytest.raises(CacheBusyError), Claim(tmp_path):
        pass
    os.utime(path, (0, 0))
    with Claim(tmp_path):
        pass
    assert os.listdir(tmp_path) == []


def test_a_file_system_without_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    with Claim(tmp_path) as claim:
        assert claim.held()
        with pytest.raises(CacheBusyError), Claim(tmp_path):
            pass
    assert os.listdir(tmp_path) == []


def test_a_claim_that_was_taken_for_dead_is_left_alone(tmp_path: Path) -> None:
    with Claim(tmp_path) as claim:
        write_claim(tmp_path, machine="elsewhere")
        assert not claim.held()
    assert ClaimFile(tmp_path).read()["token"] == "theirs"


def test_recovery_takes_the_dead_claim_only(tmp_path: Path) -> None:
    """Two wait for a dead holder: the slower must not take away what the faster has just made."""
    write_claim(tmp_path)
    ClaimFile(tmp_path).recover("the dead one's")
    assert ClaimFile(tmp_path).read()["token"] == "theirs"
    assert os.listdir(tmp_path) == [CLAIM_NAME]


@pytest.mark.slow
def test_many_processes_take_turns(tmp_path: Path) -> None:
    """Each adds one to a number in a file, without any lock but the claim; some die holding it."""
    script = (
        "import sys, os, signal, pathlib, time\n"
        "from featx.store import Claim\n"
        "folder, die = pathlib.Path(sys.argv[1]), sys.argv[2] == 'die'\n"
        "for i in range(5):\n"
        "    with Claim(folder, wait=60):\n"
        "        n = int((folder / 'n').read_text()); time.sleep(0.005)\n"
        "        (folder / 'n').write_text(str(n + 1))\n"
        "        if die and i == 2: os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    (tmp_path / "n").write_text("0")
    processes = [
        subprocess.Popen([sys.executable, "-c", script, str(tmp_path), how])
        for how in ("live", "die", "live", "die", "live", "die")
    ]
    for process in processes:
        process.wait(100)
    assert (tmp_path / "n").read_text() == str(3 * 5 + 3 * 3)


@pytest.mark.slow
def test_two_processes_extract_one_entry(tmp_path: Path) -> None:
    """One works, the other waits and finds the work done."""
    script = (
        "import sys, pathlib; sys.path.insert(0, sys.argv[2])\n"
        "from fake_cache import *\n"
        "forwarded = []\n"
        "extract(pathlib.Path(sys.argv[1]), make_index(many_files(120)), part_bytes=5000,"
        " forwarded=forwarded)\n"
        "print(len(forwarded))"
    )
    command = [sys.executable, "-c", script, str(tmp_path), str(HERE.parent)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    counts = [int(process.communicate(timeout=100)[0]) for process in running]
    assert sorted(counts) == [0, 0, 120]
    assert verify(tmp_path)["bad"] == []


def test_writers_without_claim_do_no_harm(tmp_path: Path) -> None:
    """If the claim should ever fail: the same rows twice, and nothing else."""
    index = make_index(many_files(30))
    names = [s.digest for s in index.samples]
    entry = CacheEntry.open(tmp_path, "toy", fake_key(), create=True)
    with (
        entry.writer({"avg": SHAPES["avg"]}, part_bytes=500) as one,
        entry.writer({"avg": SHAPES["avg"]}, part_bytes=700) as two,
    ):
        for start in range(0, 30, 5):
            for writer in (one, two):
                chosen = names[start : start + 5]
                writer.append(chosen, {"avg": fake_rows(chosen, "avg")})
    entry.publish_view(index)
    assert (expected(index, "avg") == load_features(entry.path).X).all()
    assert verify(tmp_path)["rows"] == 60


def test_the_list_says_who_is_at_work(tmp_path: Path) -> None:
    entry = extract(tmp_path, make_index(many_files(3)))
    with entry.claim():
        (info,) = list_entries(tmp_path)
        assert info.state == "busy"
        assert f"process {os.getpid()}" in info.detail
    assert list_entries(tmp_path)[0].state == "ready"


class TestOwner:
    def test_this_process_lives(self) -> None:
        me = this_process()
        assert me.alive() is True
        assert me.start > 0
        assert Owner.from_tag(me.tag) == Owner("", me.pid, me.start, me.machine)

    def test_init_lives_though_it_is_not_ours(self) -> None:
        me = this_process()
        assert Owner(me.host, 1, 0, me.machine).alive() is True

    def test_a_zombie_is_dead(self) -> None:
        me = this_process()
        with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
            start = featx.owner._start(process.pid)
            child = Owner(me.host, process.pid, start, me.machine)
            assert child.alive() is True
            process.kill()
            until = time.monotonic() + 10
            while child.alive() and time.monotonic() < until:
                time.sleep(0.01)
            assert child.alive() is False

    @pytest.mark.parametrize("tag", ["", "a", "a-b", "a-1", "a-1-x", "a-1-2-3"])
    def test_other_text_is_no_tag(self, tag: str) -> None:
        assert Owner.from_tag(tag) is None
