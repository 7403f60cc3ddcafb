"""Real SIGKILLs at every system call that changes the disk; run as a program of its own.

For k = 1, 2, 3, … a forked child does the work and kills itself (SIGKILL, so nothing is cleaned up)
just before its k-th call of one that changes a file or folder, or in the middle of a write. Then
the parent checks what is left, lets another child finish, and compares the end with a run that was
never interrupted. It prints one JSON line: how many kills, and what went wrong.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

sys.path.insert(0, str(Path(__file__).parent.parent))
from fake_cache import expected, extract, make_index, many_files

from featx.records import DatasetIndex
from featx.store import gc, load_features, repair, verify

CALLS = (
    "open",
    "pwrite",
    "write",
    "fsync",
    "replace",
    "rename",
    "link",
    "unlink",
    "mkdir",
    "rmdir",
)
TAPS = ("avg", "flatten")
OPTIONS: dict[str, Any] = {"part_bytes": 3000}

FIRST = make_index(many_files(25))
SECOND = make_index(many_files(31) | {"a/00003.jpg": "edited", "b/copy.jpg": 4})


def arm(k: int) -> None:
    """Make this process kill itself at its k-th change of the disk."""
    left = k
    os.fsync = lambda descriptor: None  # the machine lives on: only the process dies

    def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            if name == "open" and not args[1] & os.O_CREAT:
                return real(*args, **kwargs)
            left -= 1
            if left == 0:
                if name == "pwrite":  # half of it is written
                    real(args[0], memoryview(args[1])[: len(args[1]) // 2], args[2])
                os.kill(os.getpid(), signal.SIGKILL)
            return real(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, wrap(name, getattr(os, name)))


def in_child(work: Callable[[], object], k: int = 0) -> int:
    """Run `work` in a forked child, killed at its k-th change; return the child's status."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            if k:
                arm(k)
            else:
                os.fsync = lambda descriptor: None
            work()
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1]


def state_is_trustworthy(cache: Path) -> list[str]:
    """Whatever can be read now must be right, and nothing may be damaged."""
    if not cache.exists():
        return []
    wrong = []
    bad = [flaw for flaw in verify(cache)["bad"] if flaw["reason"] != "missing"]
    if bad:
        wrong.append(f"verify found {bad}")
    for view in cache.glob("*/*/cache.h5"):
        found = load_features(view, "flatten")
        index = FIRST if len(found.paths) == len(FIRST.samples) else SECOND
        if not np.array_equal(found.X, expected(index, "flatten")):
            wrong.append("a view shows wrong rows")
    return wrong


def end_is_right(cache: Path, index: DatasetIndex) -> list[str]:
    wrong = []
    (view,) = cache.glob("*/*/cache.h5")
    for tap in TAPS:
        whole = expected(index, tap)
        if not np.array_equal(load_features(view, tap).X, whole):
            wrong.append(f"wrong {tap}")
        with h5py.File(view) as file:
            if not np.array_equal(file[f"features/{tap}"][:], whole):
                wrong.append(f"wrong {tap} through HDF5")
    if verify(cache)["bad"]:
        wrong.append("the end is damaged")
    left = [p.name for p in cache.rglob(".*")] + [p.name for p in cache.rglob("claim*")]
    if left:
        wrong.append(f"left behind: {left}")
    return wrong


def campaign(folder: Path, stage: str, step: int) -> dict[str, Any]:
    prepared, cache = folder / "prepared", folder / "cache"
    index = SECOND

    def damage() -> None:
        extract(prepared, FIRST, TAPS, **OPTIONS)
        part = sorted(prepared.glob("*/*/parts/*.h5"))[1]
        data = bytearray(part.read_bytes())
        data[len(data) // 2] ^= 1
        part.write_bytes(data)

    works: dict[str, tuple[Callable[[], object] | None, Callable[[], object]]] = {
        "first": (None, lambda: extract(cache, SECOND, TAPS, **OPTIONS)),
        "update": (
            lambda: extract(prepared, FIRST, TAPS, **OPTIONS),
            lambda: extract(cache, SECOND, TAPS, **OPTIONS),
        ),
        "derive": (
            lambda: extract(prepared, SECOND, ["flatten"], **OPTIONS),
            lambda: extract(cache, SECOND, TAPS, **OPTIONS),
        ),
        "repair": (damage, lambda: repair(cache, wait=True)),
        "gc": (
            lambda: [extract(prepared, i, TAPS, **OPTIONS) for i in (FIRST, SECOND)],
            lambda: gc(cache, wait=True),
        ),
    }
    prepare, work = works[stage]
    if prepare:
        assert in_child(prepare) == 0
    kills, problems = 0, []
    for k in range(1, 100_000, step):
        shutil.rmtree(cache, ignore_errors=True)
        if prepared.exists():
            shutil.copytree(prepared, cache)
        if in_child(work, k) == 0:
            break  # came to its end before its k-th change
        kills += 1
        found = [] if stage == "repair" else state_is_trustworthy(cache)
        if stage in ("repair", "gc") and in_child(work):
            found.append("a second run failed")
        if in_child(lambda: extract(cache, index, TAPS, **OPTIONS)):
            found.append("the next extraction failed")
        problems += [f"{stage}, kill {k}: {f}" for f in found + end_is_right(cache, index)]
    return {"stage": stage, "kills": kills, "problems": problems}


if __name__ == "__main__":
    print(json.dumps(campaign(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))))
