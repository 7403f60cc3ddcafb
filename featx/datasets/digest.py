"""SHA-256 of image files, remembered between runs by what `stat` says of each file.

A digest is remembered under (path, size, mtime_ns, ctime_ns, inode). Any change of a file's bytes
moves its ctime, which user programs cannot set back; the one gap is a change within the clock's
granularity of the moment of hashing, so a file changed less than `SAFE_SECONDS` before it was
hashed is not remembered and is simply hashed again next time (git calls such entries racy).

The file that holds the digests is written under a temporary name and renamed; one that is damaged,
whatever the damage, is not used and is written anew.
"""

from __future__ import annotations

import binascii
import contextlib
import hashlib
import io
import itertools
import os
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featx.columns import DIGEST_BYTES, Digests, Texts, split_texts
from featx.datasets.kinds import Entries, Entry, EntryColumns, fingerprint
from featx.datasets.scan import why_unreadable
from featx.datasets.workdir import LEFTOVER_SECONDS, WorkDir
from featx.errors import DatasetError
from featx.owner import Owner, this_process

Fingerprint = tuple[int, int, int, int]

SAFE_SECONDS = 2.0
"""The coarsest clock of the file systems in use (FAT)."""

FILES_A_TASK = 64
ROWS_AT_ONCE = 1 << 16
MAGIC = b"featx stat cache 1\n"


class Remembered(NamedTuple):
    """What a stat cache holds: `marks` (n, 4) uint64 are fingerprints, `sums` (n, 32) uint8."""

    paths: Texts
    marks: np.ndarray
    sums: np.ndarray


NOTHING = Remembered(Texts.of(()), np.zeros((0, 4), np.uint64), np.zeros((0, 32), np.uint8))


def digest_entries(
    data: str, root: str, entries: EntryColumns, workdir: WorkDir
) -> tuple[Digests, list[tuple[str, str]]]:
    """Return the digest of every entry's file, reading only those not known or changed.

    Parameters
    ----------
    data : str
        The data set as the user named it; has a stat cache to itself.
    root : str
        What the paths are relative to.
    entries : EntryColumns
        What to digest.
    workdir : WorkDir
        Holds the stat caches.

    Returns
    -------
    digests : Digests
        SHA-256 in hex, an entry each; "" for those that failed.
    failed : list of (relpath, reason)
        Files that could not be read.
    """
    file = stat_cache_file(data, root, workdir.path)
    _remove_leftovers(file)
    known = load_remembered(file)
    hit, sums = _look_up(entries, known)
    outdated = hit.sum() < len(known.paths)
    del known  # as large as the index itself
    remember, failed = hit.copy(), []
    unread, marks = ~hit, entries.marks
    if unread.any():
        marks = marks.copy()
        for row, mark, digest, reason in _hash_all(root, entries, unread, workdir):
            if reason:
                failed.append((entries.relpaths[row], reason))
                continue
            unread[row] = False
            sums[row] = np.frombuffer(digest, np.uint8)
            if mark is not None:
                marks[row], remember[row] = mark, True
    if outdated or (remember & ~hit).any():
        kept = Remembered(entries.relpaths, marks, sums)
        if not remember.all():
            kept = Remembered(entries.relpaths.take(remember), marks[remember], sums[remember])
        with contextlib.suppress(OSError):  # a full or read-only disk costs time, not results
            save_remembered(file, kept)
    digests = np.frombuffer(binascii.hexlify(sums.data), f"S{DIGEST_BYTES}")
    if failed:
        digests = np.where(unread, b"", digests)
    return Digests(digests), failed


def stat_cache_file(data: str, root: str, work_dir: Path) -> Path:
    """Return where the digests of a data set are remembered."""
    where = hashlib.sha256(os.fsencode(f"{os.path.abspath(data)}\0{root}")).hexdigest()
    return work_dir / "stat" / f"{where[:24]}.digests"


def _look_up(entries: EntryColumns, known: Remembered) -> tuple[np.ndarray, np.ndarray]:
    """Return which entries are `known` unchanged, (n,) bool, and the digests of those, (n, 32)."""
    n = len(entries.relpaths)
    hit, sums = np.zeros(n, bool), np.zeros((n, 32), np.uint8)
    place = _places(entries.relpaths, known.paths)
    for start in range(0, n if len(known.paths) else 0, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        at = place[rows]
        hit[rows] = (at >= 0) & (known.marks[at] == entries.marks[rows]).all(axis=1)
        sums[rows] = known.sums[at]
    return hit, sums


def _places(paths: Texts, known: Texts) -> np.ndarray:
    """Return where in `known` each of `paths` is, (n,) int64; -1 where it is not.

    Both ascend: they are gone through side by side.
    """
    if len(paths) == len(known) and np.array_equal(paths.blob, known.blob):
        return np.arange(len(paths))
    found = np.full(len(paths), -1, np.int64)
    others = iter(enumerate(known))
    row, other = next(others, (0, None))
    for number, path in enumerate(paths):
        while other is not None and other < path:
            row, other = next(others, (0, None))
        if other == path:
            found[number] = row
    return found


def digest_path(path: str, workdir: WorkDir) -> str:
    """Return the SHA-256 of one file in hex, remembered like those of a listing.

    Raises
    ------
    DatasetError
        The file cannot be read.
    """
    root, name = os.path.split(os.path.abspath(path))
    try:
        mark = fingerprint(os.stat(path))
    except OSError as error:
        raise DatasetError(f"Cannot read {path!r}: {why_unreadable(path, error)}.") from error
    entries = Entries([Entry(name, (), "", "", mark)]).build()
    digests, failed = digest_entries(path, root, entries, workdir)
    if failed:
        raise DatasetError(f"Cannot read {path!r}: {failed[0][1]}.")
    return digests[0]


def digest_file(path: str) -> tuple[str, Fingerprint | None]:
    """Return the SHA-256 of a file, and its fingerprint where that may be remembered.

    Raises
    ------
    OSError
        The file cannot be read, or is not a regular file.
    """
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | getattr(os, "O_NONBLOCK", 0))
    with open(descriptor, "rb", buffering=0) as file:
        before, now = os.fstat(descriptor), time.time()
        if not stat.S_ISREG(before.st_mode):
            raise OSError("not a regular file")
        if before.st_size <= 1 << 20:
            digest = hashlib.sha256(file.read()).hexdigest()
        else:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        after = os.fstat(descriptor)
    settled = max(before.st_mtime, before.st_ctime) < now - SAFE_SECONDS
    same = fingerprint(before) == fingerprint(after)
    return digest, fingerprint(before) if settled and same else None


def load_remembered(file: Path) -> Remembered:
    """Read a stat cache; empty where there is none or it is damaged."""
    try:
        with open(file, "rb") as stream:
            if stream.read(len(MAGIC)) != MAGIC or stream.read(32) != _digest_rest(stream):
                return NOTHING
            with np.load(stream, allow_pickle=False) as arrays:
                text, marks, sums = arrays["paths"], arrays["marks"], arrays["digests"]
        if not len(marks):
            return NOTHING
        paths = split_texts(text)
        found = Remembered(paths, marks.reshape(-1, 4), sums.reshape(-1, 32))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return NOTHING
    if len({len(column) for column in found}) > 1:
        return NOTHING
    names = list(paths) if not _ascends(paths) else []  # as featx wrote them once
    order = np.array(sorted(range(len(names)), key=names.__getitem__), np.int64)
    return Remembered(paths.take(order), found.marks[order], found.sums[order]) if names else found


def _digest_rest(stream: io.BufferedReader | io.BufferedRandom) -> bytes:
    """Return the SHA-256 of what follows the 32 bytes at `stream`'s place; go behind these."""
    stream.seek(len(MAGIC) + 32)
    digest = hashlib.file_digest(stream, "sha256").digest()
    stream.seek(len(MAGIC) + 32)
    return digest


def _ascends(texts: Texts) -> bool:
    return all(a < b for a, b in itertools.pairwise(texts))


def save_remembered(file: Path, remembered: Remembered) -> None:
    """Write a stat cache: whole under a temporary name, then renamed.

    Raises
    ------
    OSError
        It cannot be written.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    prefix = f".{file.name}-{this_process().tag}-"
    descriptor, draft = tempfile.mkstemp(prefix=prefix, dir=file.parent)
    try:
        with open(descriptor, "w+b") as out:
            out.write(MAGIC + bytes(32))
            np.savez(
                out,
                paths=remembered.paths.blob[:-1],
                marks=remembered.marks,
                digests=remembered.sums.reshape(-1),
            )
            out.flush()
            digest = _digest_rest(out)
            out.seek(len(MAGIC))
            out.write(digest)
            out.flush()
            os.fsync(out.fileno())
        os.replace(draft, file)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(draft)
        raise


def _remove_leftovers(file: Path) -> None:
    """Remove what runs that were killed while writing `file` left behind."""
    for draft in file.parent.glob(f".{file.name}-*"):
        tag = draft.name.removeprefix(f".{file.name}-").rpartition("-")[0]
        owner = Owner.from_tag(tag)
        alive = owner.alive() if owner else None
        with contextlib.suppress(OSError):
            if alive is None:  # of another machine, it may be
                alive = time.time() - draft.stat().st_mtime <= LEFTOVER_SECONDS
            if not alive:
                draft.unlink()


def _hash_all(
    root: str, entries: EntryColumns, unread: np.ndarray, workdir: WorkDir
) -> Iterator[tuple[int, Fingerprint | None, bytes, str]]:
    """Yield (row, fingerprint or None, digest, reason) of each `unread` entry, read by threads."""

    def hash_some(rows: np.ndarray) -> list[tuple[int, Fingerprint | None, bytes, str]]:
        results: list[tuple[int, Fingerprint | None, bytes, str]] = []
        for row in rows.tolist():
            path = os.path.join(root, entries.relpaths[row])
            try:
                digest, mark = digest_file(path)
            except OSError as error:
                results.append((row, None, b"", why_unreadable(path, error)))
            else:
                results.append((row, mark, bytes.fromhex(digest), ""))
        return results

    rows = np.flatnonzero(unread)
    done = 0
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            tasks = [some[i : i + FILES_A_TASK] for i in range(0, len(some), FILES_A_TASK)]
            for results in pool.map(hash_some, tasks):
                yield from results
                done += len(results)
                workdir.progress("hash", done, len(rows))
