"""A control group with little memory, in which the kernel kills for want of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")


def memory_group() -> tuple[Path, str] | None:
    """Return where a group can be made and its limit's name; None where none can be."""
    for root, limit in ((_ROOT / "memory", "memory.limit_in_bytes"), (_ROOT, "memory.max")):
        group = root / f"featx-faults-{os.getpid()}"
        if not (root / "cgroup.procs").exists():
            continue
        try:
            group.mkdir()
        except OSError:
            continue
        usable = (group / limit).exists()
        with suppress(OSError):
            group.rmdir()
        if usable:
            return root, limit
    return None


@contextmanager
def limited_memory(limit_bytes: int) -> Iterator[Path]:
    """Give the cgroup.procs file of a group whose processes may use `limit_bytes`."""
    found = memory_group()
    assert found is not None
    root, limit = found
    group = root / f"featx-faults-{os.getpid()}"
    group.mkdir()
    try:
        (group / limit).write_text(str(limit_bytes))
        yield group / "cgroup.procs"
    finally:
        group.rmdir()
