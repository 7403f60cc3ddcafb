"""SHA-256 of image files, remembered between runs by what `stat` says of each file.

A digest is remembered under (path, size, mtime_ns, ctime_ns, inode). Any change of a file's bytes
moves its ctime, which user programs cannot set back; the one gap is a change within the clock's
granularity of the moment of hashing, so a file changed less than `SAFE_SECONDS` before it was
hashed is not remembered and is simply hashed again next time (git calls such entries racy).

The file that holds the digests is written under a temporary name and renamed; one that is damaged,
whatever the damage, is not used and is written anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import stat
import tempfile
import time
import zipfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from featx.datasets.kinds import Entry, Listing, fingerprint
from featx.datasets.scan import why_unreadable
from featx.datasets.workdir import LEFTOVER_SECONDS, WorkDir
from featx.errors import DatasetError

Fingerprint = tuple[int, int, int, int]
Remembered = dict[str, tuple[Fingerprint, str]]

SAFE_SECONDS = 2.0
"""The coarsest clock of the file systems in use (FAT)."""

FILES_A_TASK = 64
MAGIC = b"featx stat cache 1\n"


def digest_entries(
    data: str, listing: Listing, workdir: WorkDir
) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return the digest of every entry's file, reading only those not known or changed.

    Parameters
    ----------
    data : str
        The data set as the user named it; has a stat cache to itself.
    listing : Listing
        Whose entries to digest.
    workdir : WorkDir
        Holds the stat caches.

    Returns
    -------
    digests : dict
        relpath to SHA-256 in hex.
    failed : list of (relpath, reason)
        Files that could not be read.
    """
    where = hashlib.sha256(os.fsencode(f"{os.path.abspath(data)}\0{listing.root}")).hexdigest()
    file = workdir.path / "stat" / f"{where[:24]}.digests"
    known = load_remembered(file)
    digests: dict[str, str] = {}
    unknown = []
    for entry in listing.entries:
        hit = known.get(entry.relpath)
        if hit is not None and hit[0] == entry.fingerprint:
            digests[entry.relpath] = hit[1]
        else:
            unknown.append(entry)
    remembered = {path: known[path] for path in digests}
    failed = []
    for path, mark, digest, reason in _hash_all(listing.root, unknown, workdir):
        if reason:
            failed.append((path, reason))
            continue
        digests[path] = digest
        if mark is not None:
            remembered[path] = (mark, digest)
    if remembered != known:
        with contextlib.suppress(OSError):  # a full or read-only disk costs time, not results
            save_remembered(file, remembered)
    return digests, failed


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
    listing = Listing(root, entries=[Entry(name, (), "", "", mark)])
    digests, failed = digest_entries(path, listing, workdir)
    if failed:
        raise DatasetError(f"Cannot read {path!r}: {failed[0][1]}.")
    return digests[name]


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
        content = file.read_bytes()
        start = len(MAGIC) + 32
        if content[: len(MAGIC)] != MAGIC:
            return {}
        if content[len(MAGIC) : start] != hashlib.sha256(content[start:]).digest():
            return {}
        with np.load(io.BytesIO(content[start:]), allow_pickle=False) as arrays:
            paths = os.fsdecode(arrays["paths"].tobytes()).split("\0")
            marks = map(tuple, arrays["marks"].tolist())
            digests = arrays["digests"].tobytes().hex()
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return {}
    return {
        path: (mark, digests[i : i + 64])
        for path, mark, i in zip(paths, marks, range(0, len(digests), 64), strict=False)
    }


def save_remembered(file: Path, remembered: Mapping[str, tuple[Fingerprint, str]]) -> None:
    """Write a stat cache: whole under a temporary name, then renamed.

    Raises
    ------
    OSError
        It cannot be written.
    """
    payload = io.BytesIO()
    marks = [mark for mark, _ in remembered.values()]
    digests = bytes.fromhex("".join(digest for _, digest in remembered.values()))
    np.savez(
        payload,
        paths=np.frombuffer(os.fsencode("\0".join(remembered)), dtype=np.uint8),
        marks=np.asarray(marks, dtype=np.uint64).reshape(-1, 4),
        digests=np.frombuffer(digests, dtype=np.uint8),
    )
    content = payload.getvalue()
    file.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(file)
    descriptor, draft = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.parent)
    try:
        with open(descriptor, "wb") as out:
            out.write(MAGIC + hashlib.sha256(content).digest() + content)
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
        with contextlib.suppress(OSError):
            if time.time() - draft.stat().st_mtime > LEFTOVER_SECONDS:
                draft.unlink()


def _hash_all(
    root: str, entries: list[Entry], workdir: WorkDir
) -> Iterable[tuple[str, Fingerprint | None, str, str]]:
    """Yield (relpath, fingerprint or None, digest, reason) of every entry, read by some threads."""

    def hash_some(some: list[Entry]) -> list[tuple[str, Fingerprint | None, str, str]]:
        results: list[tuple[str, Fingerprint | None, str, str]] = []
        for entry in some:
            path = os.path.join(root, entry.relpath)
            try:
                digest, mark = digest_file(path)
            except OSError as error:
                results.append((entry.relpath, None, "", why_unreadable(path, error)))
            else:
                results.append((entry.relpath, mark, digest, ""))
        return results

    if not entries:
        return
    tasks = [entries[i : i + FILES_A_TASK] for i in range(0, len(entries), FILES_A_TASK)]
    done = 0
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for results in pool.map(hash_some, tasks):
            yield from results
            done += len(results)
            workdir.progress("hash", done, len(entries))
