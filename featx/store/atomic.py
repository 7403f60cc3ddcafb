"""Files that appear whole or not at all.

A file is written under a temporary name in its own folder, flushed to the disk and renamed; then
the folder is flushed. Whatever fails, the old file (or none) stays visible and the temporary one is
removed. A process that is killed leaves a temporary file behind, which says in its name whose it
was, so that `sweep` can tell those of the dead from those in work.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import xxhash

from featx.errors import CacheWriteError
from featx.owner import Owner, this_process

checksum = xxhash.xxh3_64_intdigest
"""XXH3, 64 bits: on the machines at hand faster than memory can be copied."""

TEMP_SUFFIX = ".tmp"
_ABANDONED_SECONDS = 3600.0


def write_error(path: Path, error: OSError) -> CacheWriteError:
    """Return the readable error for a write to `path` that failed with `error`."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        why, remedy = "the disk is full", "Free space, or choose another disk with --cache-dir."
    elif error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
        why = "the folder cannot be written"
        remedy = "Make it writable, or choose another with --cache-dir."
    elif error.errno in (errno.ENOENT, errno.ENOTDIR, errno.EEXIST):
        why = f"the folder is gone or is not a folder ({error.strerror})"
        remedy = "Choose another with --cache-dir."
    else:
        why, remedy = error.strerror or str(error), "Choose another disk with --cache-dir."
    return CacheWriteError(f"Cannot write {path}: {why}. {remedy}")


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a CacheWriteError that names `path`."""
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def make_folder(path: Path) -> None:
    """Create `path` and its parents, each flushed into its own parent."""
    with reporting(path):
        missing = [p for p in (path, *path.parents) if not p.exists()]
        for folder in reversed(missing):
            folder.mkdir(exist_ok=True)
            sync_folder(folder.parent)
        if not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path))


def require_writable(folder: Path) -> None:
    """Raise CacheWriteError unless a file can be created and filled in `folder`.

    Permission bits do not tell (root, read-only mounts, quotas), so one is written.
    """
    probe = temp_path(folder / "probe")
    with reporting(folder):
        try:
            probe.write_bytes(b"\0" * 4096)
        finally:
            with suppress(OSError):
                probe.unlink(missing_ok=True)


@contextmanager
def new_file(path: Path) -> Iterator[int]:
    """Give a file descriptor to fill; the file appears at `path` when the block ends well.

    Raises
    ------
    CacheWriteError
        Writing, flushing or renaming failed; nothing has changed at `path`.
    """
    temp = temp_path(path)
    with reporting(path):
        descriptor = os.open(temp, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            try:
                yield descriptor
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(temp, path)
        except BaseException:
            with suppress(OSError):
                temp.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def write_file(path: Path, data: bytes) -> None:
    """Replace the file at `path` by `data`, atomically."""
    with new_file(path) as descriptor:
        write_at(descriptor, data, 0)


def write_at(descriptor: int, data: bytes | memoryview, offset: int) -> None:
    """Write all of `data` at `offset`; the system may take it in pieces."""
    view = memoryview(data).cast("B")
    while len(view):
        done = os.pwrite(descriptor, view[: 1 << 30], offset)
        view, offset = view[done:], offset + done


def temp_path(path: Path) -> Path:
    """Return a new temporary name beside `path`; it says whose it is."""
    unique = os.urandom(4).hex()
    return path.with_name(f".{path.name}.{unique}.{this_process().tag}{TEMP_SUFFIX}")


def stale_temps(folder: Path) -> list[Path]:
    """Return the temporary files in `folder` that nobody is going to finish.

    That is: their process is dead, or cannot be seen from here and has not touched them for an
    hour.
    """
    found = []
    for temp in folder.glob(f".*{TEMP_SUFFIX}"):
        owner = Owner.from_tag(temp.name.removesuffix(TEMP_SUFFIX).rpartition(".")[2])
        alive = owner.alive() if owner else None
        with suppress(FileNotFoundError):
            age = time.time() - temp.stat().st_mtime
            if alive is False or (alive is None and age > _ABANDONED_SECONDS):
                found.append(temp)
    return sorted(found)


def sweep(folder: Path) -> int:
    """Remove `stale_temps` and return how many there were."""
    stale = stale_temps(folder)
    for temp in stale:
        with reporting(temp):
            temp.unlink(missing_ok=True)
    return len(stale)


def sync_folder(folder: Path) -> None:
    """Flush the names in `folder`, where the file system can."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP, errno.EBADF):
            raise
    finally:
        os.close(descriptor)
