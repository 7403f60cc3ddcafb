"""Rewriting parts: without the rows that nobody needs any more, and fewer, larger ones.

New parts are published first, then the view, then the old parts go: whenever that is interrupted,
every row is still there, some twice.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from featx.columns import Digests, Finder
from featx.store.atomic import reporting, sync_folder
from featx.store.folders import read_dataset
from featx.store.lazy import LazyFeatures, PartPool
from featx.store.mirror import forget
from featx.store.plan import EntryState
from featx.store.publish import publish_view
from featx.store.view import View
from featx.store.writer import PART_BYTES

if TYPE_CHECKING:
    from featx.store.entry import CacheEntry

SMALL_BYTES = PART_BYTES // 4
_BLOCK_BYTES = 32 << 20


@dataclass(frozen=True)
class Compaction:
    """What is to be rewritten.

    Attributes
    ----------
    parts : tuple of str
        Parts that go.
    keep : mapping of tuple of str to Digests
        Taps to the image digests whose rows of those taps move into new parts.
    rows : int
        Rows that are kept nowhere.
    """

    parts: tuple[str, ...]
    keep: Mapping[tuple[str, ...], Digests]
    rows: int


def plan_compaction(
    state: EntryState, live: Sequence[str] | None = None, known: Collection[str] = ()
) -> Compaction:
    """Decide which parts are rewritten: those with rows to drop, and small ones that can be merged.

    Parameters
    ----------
    state : EntryState
    live : sequence of str, optional
        Image digests in demand, in the order to lay them out.
    known : collection of str
        Parts that rows not in demand are dropped from. The others hold the work of an extraction
        that was interrupted before any view could show it.
    """
    finder = Finder(Digests.of(live or ()))
    heights = np.array(state.part_rows, np.int64)
    starts = np.cumsum(heights) - heights
    fixed = np.array([name not in known for name in state.parts], bool)
    kept: dict[str, tuple[np.ndarray, np.ndarray]] = {}  # a tap: rows of `Rows`, their rank in live
    codes, patterns = np.zeros(int(heights.sum()), np.int64), [tuple[str, ...]()]
    for tap, rows in state.rows.items():
        rank = finder.find(rows.digests)
        mine = np.flatnonzero((rank >= 0) | fixed[rows.where[:, 0]])
        kept[tap] = mine, np.where(rank[mine] < 0, len(live or ()), rank[mine])
        there = np.zeros(len(codes), np.int64)
        there[starts[rows.where[mine, 0]] + rows.where[mine, 1]] = 1
        found, codes = np.unique(2 * codes + there, return_inverse=True)
        patterns = [patterns[c // 2] + (tap,) * (c % 2) for c in found.tolist()]
    lengths = np.array([len(taps) for taps in patterns])[codes]
    full = lengths == np.repeat([len(taps) for taps in state.part_taps], heights)
    chosen = {i for i, part in enumerate(np.split(full, starts[1:])) if not part.all()}
    small = {i for i, size in enumerate(state.part_bytes) if size < SMALL_BYTES} - chosen
    if len(small | chosen) > len({state.part_taps[i] for i in small | chosen}):
        chosen |= small  # there will be fewer
    moving = np.zeros(len(heights), bool)
    moving[sorted(chosen)] = True
    keep: dict[tuple[str, ...], Digests] = {}
    for code, taps in enumerate(patterns):
        if not taps:
            continue
        rows, (mine, rank) = state.rows[taps[0]], kept[taps[0]]
        places = rows.where[mine]
        rowids = starts[places[:, 0]] + places[:, 1]
        these = np.flatnonzero(moving[places[:, 0]] & (codes[rowids] == code))
        if len(these):
            these = these[np.lexsort((rowids[these], rank[these]))]
            keep[tuple(sorted(taps))] = rows.digests.take(mine[these])
    dropped = int((np.repeat(moving, heights) & (lengths == 0)).sum())
    return Compaction(tuple(state.parts[i] for i in sorted(chosen)), keep, dropped)


def compact(
    entry: CacheEntry,
    plan: Compaction,
    state: EntryState,
    publish: Callable[[EntryState], object],
) -> None:
    """Write the new parts of `plan`, point the view at them, and remove the old parts.

    Parameters
    ----------
    entry : CacheEntry
        Claimed.
    plan : Compaction
    state : EntryState
        What the plan was made for.
    publish : callable taking EntryState
        Makes the view of what is left.

    Raises
    ------
    CacheCorruptError
        A row to keep is damaged; nothing is removed.
    CacheWriteError
    """
    pool = PartPool([entry.parts_dir / name for name in state.parts], state.seals)
    origin = {"compacted_parts": list(plan.parts)}
    for taps, digests in plan.keep.items():
        sources = {
            tap: LazyFeatures(
                pool,
                tap,
                state.shapes[tap],
                state.rows[tap].places(digests),
            )
            for tap in taps
        }
        shapes = {tap: state.shapes[tap].shape for tap in taps}
        width = sum(state.shapes[tap].width for tap in taps)
        step = max(1, _BLOCK_BYTES // (4 * width))
        with entry.writer(
            shapes, part_seconds=np.inf, provenance=origin, compression=state.compression
        ) as writer:
            for start in range(0, len(digests), step):
                stop = min(start + step, len(digests))
                rows = np.arange(start, stop)
                writer.append(digests[start:stop], {t: s.rows(rows) for t, s in sources.items()})
    publish(entry.state(without=plan.parts))
    with reporting(entry.parts_dir):
        for name in plan.parts:
            forget(entry.parts_dir / name)
            (entry.parts_dir / name).unlink(missing_ok=True)
        sync_folder(entry.parts_dir)


def refresh_view(entry: CacheEntry, state: EntryState) -> None:
    """Build the view again from what it says, over the parts of `state`.

    Raises
    ------
    CacheMissError
        There is no view, or nothing is left to show.
    """
    with View(entry.view_path, salvage=True) as view:
        index, quarantined = view.index(read_dataset(entry.path.parent).get("root", ""))
        taps, provenance = list(view.taps), view.header["provenance"]
    publish_view(
        entry.view_path,
        entry.key,
        state,
        index,
        taps=taps,
        quarantined=quarantined,
        provenance=provenance,
        keep_lost=True,
    )
