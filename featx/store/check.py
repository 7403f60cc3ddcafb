"""Verifying: every byte of the cache against what was written.

Files are read once, in pieces, so memory stays bounded and the disk is the limit.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import CacheCorruptError, CacheError, CacheMissError
from featx.records import ExtractionKey
from featx.store.folders import (
    DATASET_FILE,
    ENTRY_FILE,
    PARTS,
    VIEW,
    entry_folders,
    read_dataset,
    read_entry,
)
from featx.store.mirror import distrust, fetch
from featx.store.part import Part
from featx.store.view import View


@dataclass(frozen=True)
class Flaw:
    """Something that is not as written.

    Attributes
    ----------
    path : Path
        The file.
    rows : tuple of int
        Rows of it that are lost; none where the damage costs no row.
    reason : str
    """

    path: Path
    rows: tuple[int, ...]
    reason: str

    def to_json(self) -> dict[str, Any]:
        """Return it as `cache verify --json` shows it."""
        return {"path": str(self.path), "rows": list(self.rows), "reason": self.reason}


@dataclass(frozen=True)
class PartCheck:
    """What was found in one part.

    Attributes
    ----------
    rows : int
        Rows of the part; 0 where that cannot be told.
    flaws : tuple of Flaw
    sound : dict of str to ndarray of shape (rows,), bool
        A tap: which rows are as written.
    named : ndarray of shape (rows,), bool
        Which rows' image digest is as written.
    """

    rows: int
    flaws: tuple[Flaw, ...]
    sound: dict[str, np.ndarray] = field(default_factory=dict)
    named: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))


def check_part(path: Path, key: ExtractionKey | None = None) -> PartCheck:
    """Read all of the part at `path`.

    Parameters
    ----------
    path : Path
    key : ExtractionKey, optional
        What it should belong to.

    Raises
    ------
    CacheMissError
        There is no such file.
    """
    try:
        part = Part(path, salvage=True)
    except CacheCorruptError:
        return PartCheck(0, (Flaw(path, (), "truncated, or its trailer is damaged"),))
    with part:
        if key is not None and part.key.digest() != key.digest():
            return PartCheck(0, (Flaw(path, (), "belongs to another extraction"),))
        sound = {tap: np.ones(part.n, bool) for tap in part.taps}
        named = np.ones(part.n, bool)
        try:
            ranges = part.damaged_ranges()
        except CacheCorruptError as error:
            return PartCheck(0, (Flaw(path, (), str(error)),))
        flaws = []
        for tap in part.taps:
            rows = part.tap(tap).damaged_rows(ranges)
            if rows:
                sound[tap][rows] = False
                flaws.append(Flaw(path, tuple(rows), f"damaged rows of {tap!r}"))
        rows = part.damaged_digests(ranges)
        if rows:
            named[rows] = False
            flaws.append(Flaw(path, tuple(rows), "damaged image digests"))
        if ranges and not flaws:
            flaws.append(Flaw(path, (), "damaged structure or checksums"))
        if not part.copies_agree:
            flaws.append(Flaw(path, (), "a damaged trailer"))
        return PartCheck(part.n, tuple(flaws), sound, named)


def check_view(path: Path, key: ExtractionKey | None = None) -> list[Flaw]:
    """Read all of the view at `path`, and whether its parts are the ones it was made of.

    Raises
    ------
    CacheMissError
        There is no view.
    """
    try:
        with View(path, salvage=True) as view:
            if view.damaged_ranges():
                return [Flaw(path, (), "damaged")]
            flaws = [] if view.copies_agree else [Flaw(path, (), "a damaged trailer")]
            if key is not None and view.key.digest() != key.digest():
                flaws.append(Flaw(path, (), "belongs to another extraction"))
            for number, (name, seal) in enumerate(zip(view.parts, view.seals, strict=True)):
                reason = _part_flaw(path.parent / name, seal)
                if reason:
                    there = [p[p[:, 0] == number, 1] for p in map(view.places, view.taps)]
                    rows = np.unique(np.concatenate(there))
                    flaws.append(Flaw(path.parent / name, tuple(rows.tolist()), reason))
            return flaws
    except CacheCorruptError:
        return [Flaw(path, (), "truncated, or its trailer is damaged")]


def _part_flaw(path: Path, seal: str) -> str:
    try:
        with Part(path) as part:
            return "" if part.seal == seal else "not the part that the view was made of"
    except CacheMissError:
        return "missing"
    except CacheCorruptError:
        return ""  # the part's own check says more


def verify(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Check every byte of a cache, of a data set in it, or of one entry.

    Parameters
    ----------
    path : path
        Cache directory, data set folder or entry folder.

    Returns
    -------
    dict
        "entries" and "rows" checked, and "bad": "path", "rows" (numbers in that part; empty where
        no row is lost) and "reason" of each damage.

    Raises
    ------
    CacheMissError
        There is no such folder.
    """
    root = Path(path)
    if not root.is_dir():
        raise CacheMissError(f"{root} is not a folder. See: featx cache ls")
    distrust(root)
    entries = rows = 0
    bad: list[Flaw] = []
    for folder in sorted({f.parent for f in entry_folders(root)}):
        bad += check_dataset(folder)
    for folder in entry_folders(root):
        entries += 1
        for check in _checks(folder):
            rows += check.rows
            bad += check.flaws
    return {"entries": entries, "rows": rows, "bad": [flaw.to_json() for flaw in bad]}


def check_dataset(folder: Path) -> list[Flaw]:
    """Check the dataset.json of a data set's folder; that there is none is no flaw."""
    try:
        read_dataset(folder)
    except CacheCorruptError as error:
        return [Flaw(folder / DATASET_FILE, (), str(error))]
    return []


def check_entry_file(folder: Path) -> tuple[ExtractionKey | None, list[Flaw]]:
    """Return the key of an entry, None where it cannot be told, and what is wrong about it."""
    file = folder / ENTRY_FILE
    try:
        said = read_entry(folder)
        if not said:
            return None, [Flaw(file, (), "missing")]
        key = ExtractionKey.from_json(said["key"])
    except (CacheError, KeyError, TypeError, AttributeError):
        return None, [Flaw(file, (), "damaged")]
    return key, []


def _checks(folder: Path) -> Iterator[PartCheck]:
    """Give what is found in the entry at `folder`, piece by piece."""
    key, flaws = check_entry_file(folder)
    yield PartCheck(0, tuple(flaws))
    paths = sorted((folder / PARTS).glob("*.h5"))
    fetch(paths)
    for path in paths:
        try:
            yield check_part(path, key)
        except CacheMissError:
            continue  # removed since it was listed
    try:
        yield PartCheck(0, tuple(check_view(folder / VIEW, key)))
    except CacheMissError as error:
        if (folder / VIEW).exists():
            yield PartCheck(0, (Flaw(folder / VIEW, (), str(error)),))
