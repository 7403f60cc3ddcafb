"""Taking out what nobody needs any more: rows of deleted images, second copies, leavings."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from featx.errors import CacheMissError
from featx.store.atomic import reporting, stale_temps
from featx.store.claim import Claim
from featx.store.compact import compact, plan_compaction, refresh_view
from featx.store.entry import CacheEntry
from featx.store.folders import PARTS, entry_folders, read_entry
from featx.store.plan import EntryState
from featx.store.view import View


def gc(
    path: str | os.PathLike[str],
    *,
    dry_run: bool = False,
    wait: bool | float = False,
    notify: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Take out the rows that no view shows (deleted images), second copies and leavings.

    Parameters
    ----------
    path : path
        Cache directory, data set folder or entry folder.
    dry_run : bool
        Only say what would go.
    wait, notify
        As for `CacheEntry.claim`.

    Returns
    -------
    dict
        "entries" looked at, "rows" dropped, "parts" rewritten, "temps" removed and "freed_bytes"
        (with `dry_run`, what the rows dropped take).

    Raises
    ------
    CacheMissError, CacheBusyError, CacheCorruptError, CacheWriteError
    """
    root = Path(path)
    if not root.is_dir():
        raise CacheMissError(f"{root} is not a folder. See: featx cache ls")
    report = {"entries": 0, "rows": 0, "parts": 0, "temps": 0, "freed_bytes": 0}
    for folder in entry_folders(root):
        report["entries"] += 1
        if dry_run:
            _collect(folder, report, dry_run=True)
        else:
            with Claim(folder, wait, notify):
                _collect(folder, report, dry_run=False)
    return report


def _collect(folder: Path, report: dict[str, int], *, dry_run: bool) -> None:
    before = _size(folder)
    temps = [*stale_temps(folder), *stale_temps(folder / PARTS)]
    report["temps"] += len(temps)
    if not dry_run:
        for temp in temps:
            _unlink(temp)
    if not read_entry(folder):  # its making was interrupted, or repair has to look at it
        return
    entry = CacheEntry.at(folder)
    state = entry.state()
    plan = plan_compaction(state)
    with suppress(CacheMissError), View(entry.view_path) as view:
        plan = plan_compaction(state, view.digests(), view.header["known_parts"])
    report["rows"] += plan.rows
    report["parts"] += len(plan.parts)
    if dry_run:
        mean_bytes = sum(state.part_bytes) // max(1, sum(state.part_rows))
        report["freed_bytes"] += plan.rows * mean_bytes
        return
    if plan.parts:
        compact(entry, plan, state, lambda left: _refresh(entry, left))
    report["freed_bytes"] += before - _size(folder)


def _refresh(entry: CacheEntry, left: EntryState) -> None:
    with suppress(CacheMissError):  # no view yet
        refresh_view(entry, left)


def _size(folder: Path) -> int:
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())


def _unlink(path: Path) -> None:
    with reporting(path):
        path.unlink(missing_ok=True)
