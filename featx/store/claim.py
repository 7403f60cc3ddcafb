"""One writer an entry: a claim file that says who works here.

No lock of the file system is used, so that it works on network folders and in containers. A claim
is a file that only one process can create; its holder touches it every few seconds. On the same
machine a dead holder is known by its process being gone, elsewhere by a claim that is no longer
touched. A claim only spares double work: if it should fail, two writers still cannot harm each
other, as each writes parts under names of its own.
"""

from __future__ import annotations

import datetime
import errno
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from featx.errors import CacheBusyError
from featx.owner import Owner, this_process
from featx.store.atomic import reporting, sync_folder, temp_path

CLAIM_NAME = "claim.json"
BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
_POLL_SECONDS = 0.2
_FIELDS = {"host": str, "pid": int, "start": int, "machine": str, "since": str, "token": str}
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Claim:
    """The right to write into `folder`, as a context manager.

    Parameters
    ----------
    folder : Path
    wait : bool or float
        False raises at once where another process holds it, True waits until it is free, a number
        is the most seconds to wait.
    notify : callable taking str, optional
        Told once, in a readable line, who is being waited for.

    Attributes
    ----------
    path : Path
        Of the claim file.
    token : str
        What only this claim has in it, while it is held.

    Raises
    ------
    CacheBusyError
        Another process holds it: its host, process and since when.
    CacheWriteError
        The folder cannot be written.
    """

    def __init__(
        self,
        folder: Path,
        wait: bool | float = False,
        notify: Callable[[str], object] | None = None,
    ) -> None:
        self.path = folder / CLAIM_NAME
        self._wait = float("inf") if wait is True else float(wait)
        self._notify = notify
        self.token = ""
        self._stop = threading.Event()
        self._beats: threading.Thread | None = None

    def __enter__(self) -> Claim:
        deadline = time.monotonic() + self._wait
        told = False
        while not self._take():
            holder = read_claim(self.path)
            if holder is None:
                time.sleep(_POLL_SECONDS / 10)
                continue
            if is_dead(self.path, holder):
                _recover(self.path, holder["token"])
                continue
            if time.monotonic() >= deadline:
                raise CacheBusyError(f"{describe(self.path.parent, holder)} Wait until it is done.")
            if self._notify and not told:
                self._notify(f"{describe(self.path.parent, holder)} Waiting for it.")
                told = True
            time.sleep(_POLL_SECONDS)
        self._stop.clear()
        self._beats = threading.Thread(target=self._beat, name="featx-claim", daemon=True)
        self._beats.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._beats:
            self._beats.join()
        if self.held():
            with suppress(OSError):
                self.path.unlink()

    def held(self) -> bool:
        """Return whether the claim is still this one (nobody took it for dead)."""
        holder = read_claim(self.path)
        return bool(holder) and holder["token"] == self.token  # type: ignore[index]

    def _take(self) -> bool:
        me = this_process()
        self.token = os.urandom(8).hex()
        data = json.dumps(
            {
                "host": me.host,
                "pid": me.pid,
                "start": me.start,
                "machine": me.machine,
                "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "token": self.token,
            }
        ).encode()
        temp = temp_path(self.path)
        with reporting(self.path.parent):
            try:
                temp.write_bytes(data)
                try:
                    os.link(temp, self.path)  # all or nothing, and only where there is none
                except FileExistsError:
                    return False
                except OSError as error:
                    if error.errno not in _NO_LINKS:
                        raise
                    return self._take_without_links(data)
            finally:
                with suppress(OSError):
                    temp.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        return True

    def _take_without_links(self, data: bytes) -> bool:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        return True

    def _beat(self) -> None:
        while not self._stop.wait(BEAT_SECONDS):
            with suppress(OSError):
                if self.held():
                    os.utime(self.path)


def read_claim(path: Path) -> dict[str, Any] | None:
    """Return what the claim file says; None where there is none.

    A claim that cannot be read (a machine that stopped while writing it) has an empty token.
    """
    try:
        claim = json.loads(path.read_bytes())
        if isinstance(claim, dict) and all(
            isinstance(claim.get(name), kind) for name, kind in _FIELDS.items()
        ):
            return claim
    except FileNotFoundError:
        return None
    except (OSError, ValueError):
        pass
    return {"host": "?", "pid": 0, "start": 0, "machine": "", "since": "?", "token": ""}


def is_dead(path: Path, holder: dict[str, Any]) -> bool:
    """Return whether the holder of the claim at `path` is dead."""
    owner = Owner(holder["host"], holder["pid"], holder["start"], holder["machine"])
    alive = owner.alive()
    return silent_seconds(path) > STALE_SECONDS if alive is None else not alive


def silent_seconds(path: Path) -> float:
    """Return for how long the claim has not been touched, by the file system's own clock."""
    probe = temp_path(path)
    with reporting(path.parent):
        try:
            probe.touch()
            return probe.stat().st_mtime - path.stat().st_mtime
        except FileNotFoundError:
            return 0.0  # given back meanwhile
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)


def describe(folder: Path, holder: dict[str, Any]) -> str:
    """Return one readable sentence about who holds `folder`."""
    return (
        f"{folder} is held by process {holder['pid']} on {holder['host']} since {holder['since']}."
    )


def _recover(path: Path, token: str) -> None:
    """Take the dead claim with `token` away, and nobody else's."""
    aside = temp_path(path)
    try:
        os.rename(path, aside)
    except FileNotFoundError:
        return
    moved = read_claim(aside)
    if moved and moved["token"] != token:  # somebody was faster: give theirs back
        with suppress(OSError):
            os.link(aside, path)
    with suppress(OSError):
        aside.unlink()
