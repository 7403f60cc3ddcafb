"""Repairing: keep the sound rows of damaged parts, drop the rest, and say what was lost."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import CacheCorruptError, CacheMissError
from featx.records import ExtractionKey
from featx.store.atomic import reporting, sweep, sync_folder
from featx.store.check import (
    Flaw,
    PartCheck,
    check_dataset,
    check_entry_file,
    check_part,
    check_view,
)
from featx.store.claim import Claim
from featx.store.compact import refresh_view
from featx.store.entry import CacheEntry
from featx.store.folders import (
    DATASET_FILE,
    ENTRY_FILE,
    PARTS,
    VIEW,
    entry_folders,
    entry_name,
    write_entry,
)
from featx.store.mirror import distrust, fetch, forget
from featx.store.part import Part
from featx.store.plan import NO_ROWS
from featx.store.view import View

_ROWS_BYTES = 32 << 20


def repair(
    path: str | os.PathLike[str],
    *,
    wait: bool | float = False,
    notify: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Bring a cache, a data set in it or one entry back to soundness.

    Sound rows of a damaged part are moved into a new one; then the damaged part is removed, and the
    view is built again. Rows that are lost stay in the view as lost: reading them is an error, and
    the next extraction computes just them.

    Parameters
    ----------
    path : path
        Cache directory, data set folder or entry folder.
    wait, notify
        As for `CacheEntry.claim`.

    Returns
    -------
    dict
        "entries" looked at, "bad" as `verify` gives it, "kept": rows moved out of damaged parts,
        "lost": rows to extract again, "removed": files taken away.

    Raises
    ------
    CacheMissError, CacheBusyError, CacheWriteError
    """
    root = Path(path)
    if not root.is_dir():
        raise CacheMissError(f"{root} is not a folder. See: featx cache ls")
    distrust(root)
    report: dict[str, Any] = {"entries": 0, "bad": [], "kept": 0, "lost": 0, "removed": []}
    folders = entry_folders(root)
    for folder in sorted({f.parent for f in folders}):
        for flaw in check_dataset(folder):
            _remove(folder / DATASET_FILE, report)
            report["bad"].append(flaw.to_json())
    for folder in folders:
        report["entries"] += 1
        with Claim(folder, wait, notify):
            if (folder / PARTS).is_dir():  # else another machine has removed it
                _repair_entry(folder, report)
    return report


def _repair_entry(folder: Path, report: dict[str, Any]) -> None:
    sweep(folder)
    sweep(folder / PARTS)
    key, flaws = check_entry_file(folder)
    if flaws:
        key = _key_from_parts(folder)
        if key is None:
            _remove(folder / ENTRY_FILE, report)
        else:
            write_entry(folder, key)
    paths = sorted((folder / PARTS).glob("*.h5"))
    fetch(paths)
    checks = {path: check_part(path, key) for path in paths}
    with suppress(CacheMissError):
        flaws += check_view(folder / VIEW, key)
    flaws += [flaw for check in checks.values() for flaw in check.flaws]
    if not flaws:
        return
    report["bad"] += [flaw.to_json() for flaw in flaws]
    if key is None:
        return
    entry = CacheEntry(folder, key)
    names = _names_in_view(entry)
    damaged = {path: check for path, check in checks.items() if check.flaws}
    for path, check in damaged.items():
        report["kept"] += _salvage(entry, path, check, names.get(path.name, {}))
    for path in damaged:
        _remove(path, report)
    report["lost"] += _rebuild_view(entry, flaws, report)


def _key_from_parts(folder: Path) -> ExtractionKey | None:
    """Return the key of the parts; where they differ, the one that the folder is named by."""
    keys = []
    for path in sorted((folder / PARTS).glob("*.h5")):
        with suppress(CacheCorruptError, CacheMissError), Part(path, salvage=True) as part:
            keys.append(part.key)
    named = [key for key in keys if entry_name(key) == folder.name]
    return next(iter(named or keys), None)


def _names_in_view(entry: CacheEntry) -> dict[str, dict[int, str]]:
    """Return what the view knows of rows: part file name to row to image digest."""
    found: dict[str, dict[int, str]] = defaultdict(dict)
    with suppress(CacheCorruptError, CacheMissError), View(entry.view_path, salvage=True) as view:
        digests = view.digests()
        for tap in view.taps:
            for digest, (part, row) in zip(digests, view.places(tap).tolist(), strict=True):
                if part >= 0:
                    found[Path(view.parts[part]).name][row] = digest
    return found


def _salvage(entry: CacheEntry, path: Path, check: PartCheck, known: dict[int, str]) -> int:
    """Write the sound rows of the part at `path` into new parts and return their number."""
    if not check.sound:
        return 0
    kept = 0
    with Part(path, salvage=True) as part:
        digests = part.mapped("digests").tolist()
        groups: dict[tuple[str, ...], list[int]] = defaultdict(list)
        for row in range(part.n):
            taps = tuple(tap for tap, sound in check.sound.items() if sound[row])
            if taps and (check.named[row] or row in known):
                groups[taps].append(row)
        for taps, rows in groups.items():
            shapes = {tap: part.taps[tap].shape for tap in taps}
            width = sum(part.taps[tap].width for tap in taps)
            step = max(1, _ROWS_BYTES // (4 * width))
            names = [digests[r].decode() if check.named[r] else known[r] for r in rows]
            with (
                suppress(CacheCorruptError),  # compressed rows in a file with no structure left
                entry.writer(
                    shapes,
                    part_seconds=np.inf,
                    provenance=part.header["provenance"],
                    compression=part.compression,
                ) as writer,
            ):
                for start in range(0, len(rows), step):
                    chosen = np.array(rows[start : start + step])
                    found = {tap: part.tap(tap).unchecked(chosen) for tap in taps}
                    writer.append(names[start : start + step], found)
                    kept += len(chosen)
    return kept


def _rebuild_view(entry: CacheEntry, flaws: list[Flaw], report: dict[str, Any]) -> int:
    """Build the view again from what it says and what is left; return the number of lost rows."""
    if any(f.path == entry.view_path and f.reason != "a damaged trailer" for f in flaws):
        _remove(entry.view_path, report)  # the next extraction makes it from the index
        return 0
    state = entry.state()
    try:
        with View(entry.view_path, salvage=True) as view:
            digests, taps = view.digests(), list(view.taps)
    except CacheMissError:
        return 0
    except CacheCorruptError:
        _remove(entry.view_path, report)
        return 0
    try:
        refresh_view(entry, state)
    except CacheMissError:  # nothing is left to show
        _remove(entry.view_path, report)
    lost = np.zeros(len(digests), bool)
    for tap in taps:
        lost |= ~state.rows.get(tap, NO_ROWS).holds(digests)
    return int(lost.sum())


def _remove(path: Path, report: dict[str, Any]) -> None:
    with reporting(path):
        if path.exists():
            forget(path)
            path.unlink()
            sync_folder(path.parent)
            report["removed"].append(str(path))
