"""Something that happens at the k-th change of the disk: a kill, a full disk, a read-only one.

The functions of `os` that change files are wrapped, in the forked child only; featx itself knows
nothing of it.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

CALLS = ("open", "pwrite", "fsync", "replace", "rename", "link", "unlink", "mkdir")
_MS_RDONLY, _MS_REMOUNT = 1, 32


@dataclass(frozen=True)
class Trap:
    """When and what.

    Attributes
    ----------
    at : int
        Number of the call, from 1; 0 only counts.
    calls : tuple of str
        Functions of `os` that count.
    pattern : str
        Regular expression that the path has to hold.
    moment : str
        "before", "half" (of the bytes of a write) or "after" the call.
    action : str
        "kill", "fill" (the disk at `disk`, but for `slack` bytes) or "readonly".
    """

    at: int
    calls: tuple[str, ...] = CALLS
    pattern: str = ""
    moment: str = "before"
    action: str = "kill"
    disk: str = ""
    slack: int = 0

    def arm(self, tell: Callable[[dict[str, Any]], None]) -> Callable[[], int]:
        """Wrap the functions; return what gives the number of calls so far."""
        wanted, lock = re.compile(self.pattern), threading.Lock()
        count, busy = 0, threading.local()

        def act() -> None:
            tell({"trap": self.action})
            if self.action == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            elif self.action == "fill":
                fill_disk(self.disk, self.slack)
            else:
                remount(self.disk, readonly=True)

        def wrap(name: str, real: Callable[..., Any]) -> Callable[..., Any]:
            def call(*args: Any, **kwargs: Any) -> Any:
                nonlocal count
                if getattr(busy, "now", False) or not _counts(name, args, wanted):
                    return real(*args, **kwargs)
                with lock:
                    count += 1
                    mine = count
                if mine != self.at:
                    return real(*args, **kwargs)
                busy.now = True
                try:
                    if self.moment == "before":
                        act()
                    elif self.moment == "half" and name == "pwrite":
                        real(args[0], memoryview(args[1])[: len(args[1]) // 2], args[2])
                        act()
                    result = real(*args, **kwargs)
                    if self.moment != "before":
                        act()
                    return result
                finally:
                    busy.now = False

            return call

        for name in self.calls:
            setattr(os, name, wrap(name, getattr(os, name)))
        return lambda: count


def _counts(name: str, args: tuple[Any, ...], wanted: re.Pattern[str]) -> bool:
    if name == "open" and not args[1] & os.O_CREAT:
        return False
    target = args[1] if name in ("replace", "rename", "link") else args[0]
    if isinstance(target, int):
        target = os.readlink(f"/proc/self/fd/{target}")
    return bool(wanted.search(os.fsdecode(target)))


def fill_disk(disk: str, slack: int) -> None:
    """Write a file until the file system of `disk` is full, but for about `slack` bytes."""
    with open(os.path.join(disk, "ballast"), "ab", buffering=0) as file:
        try:
            for size in (1 << 20, 1 << 12):
                while True:
                    try:
                        if file.write(bytes(size)) < size:
                            break
                    except OSError:
                        break
        finally:
            file.truncate(max(0, os.fstat(file.fileno()).st_size - slack))


def remount(disk: str, *, readonly: bool) -> None:
    """Turn the mounted file system read-only, or writable again."""
    libc = ctypes.CDLL(None, use_errno=True)
    flags = _MS_REMOUNT | (_MS_RDONLY if readonly else 0)
    if libc.mount(b"none", os.fsencode(disk), b"tmpfs", flags, None):
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error), disk)
