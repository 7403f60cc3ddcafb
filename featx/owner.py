"""Who a process is, so that another process can tell whether it still lives."""

from __future__ import annotations

import hashlib
import os
import platform
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

_BOOT = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class Owner:
    """A process on a machine.

    Attributes
    ----------
    host : str
        Name of the machine, for people.
    pid : int
        Process number.
    start : int
        When the process started, in ticks since the machine did; 0 where the system does not say.
        A number that is used again has another start.
    machine : str
        Same for two processes exactly if one can see whether the other lives: one boot of one
        machine, one space of process numbers (containers have their own).
    """

    host: str
    pid: int
    start: int
    machine: str

    @property
    def tag(self) -> str:
        """Short text for file names: "<machine>-<pid>-<start>"."""
        return f"{self.machine}-{self.pid}-{self.start}"

    @classmethod
    def from_tag(cls, tag: str) -> Owner | None:
        """Read `tag` back (the host is not in it); None where it is something else."""
        machine, *numbers = tag.split("-")
        if len(numbers) != 2 or not all(n.isdecimal() for n in numbers):
            return None
        return cls("", int(numbers[0]), int(numbers[1]), machine)

    def alive(self) -> bool | None:
        """Return whether the process lives; None where that cannot be seen from here."""
        if self.machine != _machine():
            return None
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except OSError:
            pass  # lives, and is somebody else's
        return self.start in (0, _start(self.pid))


def this_process() -> Owner:
    """Return the owner that the calling process is."""
    pid = os.getpid()
    return Owner(platform.node() or "localhost", pid, _start(pid), _machine())


def _start(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return 0
    fields = text.rpartition(")")[2].split()  # the name before ")" may hold anything
    if fields[0] in "ZX":
        return -1  # a zombie is dead, whatever its number
    return int(fields[19])


@lru_cache(maxsize=1)
def _machine() -> str:
    """Return a digest of the boot and the process space."""
    try:
        text = _BOOT.read_text() + str(os.stat("/proc/self/ns/pid").st_ino)
    except OSError:
        text = platform.node()
    return hashlib.sha256(text.encode()).hexdigest()[:8]
