"""Where a claim lies: in a file of the folder, and for a cache in a bucket in an object there too.

Both are made only where there is none, and touched by their holder. How long one has been silent is
told by the clock of the file system, or of the bucket: machines have clocks of their own.
"""

from __future__ import annotations

import errno
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from featx.errors import CacheError, CacheWriteError
from featx.store.atomic import reporting, sync_folder, temp_path
from featx.store.mirror import find_remote
from featx.store.remote import RemoteCache

CLAIM_NAME, PROBE_NAME = "claim.json", "claim.probe"
_FIELDS = {"host": str, "pid": int, "start": int, "machine": str, "since": str, "token": str}
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

Holder = dict[str, Any]
"""What a claim says: who holds it, since when, and a token of its own."""


class ClaimPlace(Protocol):
    """What holds one claim at a time; every method raises CacheError where it cannot be reached.

    Attributes
    ----------
    folder : str
        What is claimed, for people.
    poll_seconds : float
        How often to look whether it is free.
    may_be_left : bool
        Whether a process that lives may have failed to give it back.
    """

    folder: str
    poll_seconds: float
    may_be_left: bool

    def create(self, data: bytes) -> bool:
        """Write the claim where there is none; return whether there was none."""

    def read(self) -> Holder | None:
        """Return what the claim says; None where there is none.

        A claim that cannot be read (a machine that stopped while writing it) has an empty token.
        """

    def touch(self, data: bytes) -> None:
        """Show that the holder of the claim, which is `data`, still lives."""

    def silent_seconds(self) -> float:
        """Return for how long the claim has not been touched."""

    def remove(self) -> None:
        """Remove the claim."""

    def recover(self, token: str) -> None:
        """Remove the claim of a dead holder with `token`, and nobody else's."""


def list_places(folder: Path) -> list[ClaimPlace]:
    """Return the places of a claim on `folder`, in the order in which to take them."""
    cache = find_remote(folder / CLAIM_NAME)
    return [ClaimFile(folder), *([ClaimObject(cache, folder)] if cache else [])]


class ClaimFile:
    """A file, between the processes that see the folder."""

    poll_seconds = 0.2
    may_be_left = False

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = str(folder), folder / CLAIM_NAME

    def create(self, data: bytes) -> bool:
        """Write the claim where there is none; return whether there was none."""
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
                    return self._create_without_links(data)
            finally:
                with suppress(OSError):
                    temp.unlink(missing_ok=True)
            sync_folder(self.path.parent)
        return True

    def _create_without_links(self, data: bytes) -> bool:
        try:
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC)
        except FileExistsError:
            return False
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)
        return True

    def read(self) -> Holder | None:
        """Return what the claim says; None where there is none."""
        return _read(self.path)

    def touch(self, data: bytes) -> None:
        """Show that the holder still lives."""
        with reporting(self.path):
            os.utime(self.path)

    def silent_seconds(self) -> float:
        """Return for how long the claim has not been touched."""
        probe = temp_path(self.path)
        with reporting(self.path.parent):
            try:
                probe.touch()
                return probe.stat().st_mtime - self.path.stat().st_mtime
            except FileNotFoundError:
                return 0.0  # given back meanwhile
            finally:
                with suppress(OSError):
                    probe.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the claim."""
        with reporting(self.path):
            self.path.unlink(missing_ok=True)

    def recover(self, token: str) -> None:
        """Remove the claim of a dead holder with `token`, and nobody else's."""
        aside = temp_path(self.path)
        try:
            os.rename(self.path, aside)
        except FileNotFoundError:
            return
        moved = _read(aside)
        if moved and moved["token"] != token:  # somebody was faster: give theirs back
            with suppress(OSError):
                os.link(aside, self.path)
        with suppress(OSError):
            aside.unlink()


class ClaimObject:
    """An object of the bucket that a cache is kept in, between machines.

    Two may hold it where two take over from a dead one in the same moment, where a store knows no
    writing of what is not there yet, or where a line holds a touch up until the claim is another's.
    """

    poll_seconds = 5.0
    may_be_left = True

    def __init__(self, cache: RemoteCache, folder: Path) -> None:
        self.folder = f"{cache.url}/{cache.name_of(folder)}"
        self._cache, self._name = cache, cache.name_of(folder / CLAIM_NAME)

    def create(self, data: bytes) -> bool:
        """Write the claim where there is none; return whether there was none."""
        with self._cache.talking(CacheWriteError, "write", self._name) as (files, base):
            path = f"{base}/{self._name}"
            found = _cat(files, path)
            if found is None:
                try:
                    files.pipe_file(path, data, mode="create")
                    return True
                except Exception as error:  # each store has its own for what is there already
                    found = _cat(files, path)
                    if found is None and getattr(error, "errno", None) == errno.ENOSYS:
                        files.pipe_file(path, data)
                        return True
                    if found is None and not _is_conflict(error):
                        raise
            return found == data  # where the answer to it was lost

    def read(self) -> Holder | None:
        """Return what the claim says; None where there is none."""
        with self._cache.talking(CacheError, "read", self._name) as (files, base):
            found = _cat(files, f"{base}/{self._name}")
        return None if found is None else _parse(found)

    def touch(self, data: bytes) -> None:
        """Show that the holder still lives."""
        with self._cache.talking(CacheWriteError, "write", self._name) as (files, base):
            files.pipe_file(f"{base}/{self._name}", data)

    def silent_seconds(self) -> float:
        """Return for how long the claim has not been touched; 0 where the store does not say."""
        probe = self._name.removesuffix(CLAIM_NAME) + PROBE_NAME
        with self._cache.talking(CacheWriteError, "write", probe) as (files, base):
            files.pipe_file(f"{base}/{probe}", b"now")
            try:
                now, then = (files.modified(f"{base}/{name}") for name in (probe, self._name))
                return float((now - then).total_seconds())
            except FileNotFoundError:  # given back meanwhile
                return 0.0
            except NotImplementedError:
                return 0.0
            finally:
                with suppress(Exception):  # another has removed it
                    files.rm_file(f"{base}/{probe}")

    def remove(self) -> None:
        """Remove the claim."""
        self._cache.remove(self._name)

    def recover(self, token: str) -> None:
        """Remove the claim of a dead holder with `token`, and nobody else's."""
        found = self.read()
        if found and found["token"] == token:
            self.remove()


def _cat(files: Any, path: str) -> bytes | None:
    try:
        return bytes(files.cat_file(path))
    except FileNotFoundError:
        return None


def _is_conflict(error: Exception) -> bool:
    """Return whether a store has refused to write what was there, or was being removed, just then.

    S3 says ConditionalRequestConflict of the latter, which s3fs knows by no error of its own.
    """
    words = ("ConditionalRequestConflict", "PreconditionFailed", "pre-condition")
    return isinstance(error, FileExistsError) or any(word in str(error) for word in words)


def _read(path: Path) -> Holder | None:
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError:
        return _parse(b"")


def _parse(data: bytes) -> Holder:
    try:
        claim = json.loads(data)
        if isinstance(claim, dict) and all(
            isinstance(claim.get(name), kind) for name, kind in _FIELDS.items()
        ):
            return claim
    except ValueError:
        pass
    return {"host": "?", "pid": 0, "start": 0, "machine": "", "since": "?", "token": ""}
