"""What an extraction of any number of images takes, from what a few of them took."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from featx.columns import DIGEST_BYTES
from featx.datasets.digest import digest_file
from featx.store import PART_BYTES, PART_SECONDS, SMALL_BYTES

# An image's metadata on two Zen 4 cores, by benchmarks/bench_scale.py; see docs/scale.md.
INDEX_SECONDS = 15e-6
VIEW_SECONDS = 5e-6
METADATA_BYTES = 400

_HASHED = 256


def hash_seconds(paths: Sequence[str]) -> float:
    """Return the seconds that reading and hashing one image takes, by some of `paths`.

    Files that cannot be read count as read.
    """
    some = paths[:: max(1, len(paths) // _HASHED)][:_HASHED]
    if not some:
        return 0.0

    def read(path: str) -> None:
        with suppress(OSError):
            digest_file(path)

    started = time.perf_counter()
    with ThreadPoolExecutor(min(8, 2 * (os.cpu_count() or 1))) as pool:
        for _ in pool.map(read, some):
            pass
    return (time.perf_counter() - started) / len(some)


@dataclass(frozen=True)
class Wanted:
    """What one entry is to get: rows, and the bytes of all of them."""

    rows: int
    bytes: int

    def scaled(self, images: int | None) -> Wanted:
        """Return the same for `images` rows, where that is given."""
        return Wanted(images, self.bytes * images // self.rows) if images else self


def plan_needs(
    entries: Sequence[Wanted],
    *,
    images: int,
    image_seconds: float,
    forward_images: int,
    start_seconds: float,
    hash_seconds: float,
    deadline: float | None,
) -> dict[str, Any]:
    """Return what is needed, as `ExtractReport.needs` has it.

    Parameters
    ----------
    entries : sequence of Wanted
    images : int
        Of the whole data set.
    image_seconds : float
        To decode an image and run every backbone on it.
    forward_images : int
        Images that this is done with.
    start_seconds : float
        Until a worker is ready.
    hash_seconds : float
        To read and hash an image; 0 where that has been done.
    deadline : float or None
        In seconds.
    """
    parts = [count_parts(e.rows, e.bytes // e.rows, image_seconds) for e in entries]
    needs: dict[str, Any] = {
        "rows": sum(e.rows for e in entries),
        "bytes": sum(e.bytes for e in entries),
        "parts": sum(parts),
        "seconds": image_seconds * forward_images,
        "index_seconds": images * (INDEX_SECONDS + hash_seconds),
        "view_seconds": images * VIEW_SECONDS * len(entries),
        "memory_bytes": images * METADATA_BYTES
        + sum(min(2 * PART_BYTES, e.bytes) for e in entries),
    }
    if deadline is not None:
        alone = needs["index_seconds"] + start_seconds + needs["view_seconds"]
        needs["deadline_seconds"] = deadline
        needs["alone_seconds"] = alone
        needs["workers"] = count_workers(needs["seconds"], alone, deadline)
    return needs


def count_parts(rows: int, row_bytes: int, seconds: float) -> int:
    """Return how many part files an entry will have.

    Parameters
    ----------
    rows : int
    row_bytes : int
        Of all taps.
    seconds : float
        An image.
    """
    full = max(1, PART_BYTES // (row_bytes + DIGEST_BYTES))
    timely = max(1, int(PART_SECONDS / seconds)) if seconds else full
    if timely * row_bytes < SMALL_BYTES:  # small ones are merged when the view is made
        return math.ceil(rows / full)
    return math.ceil(rows / min(full, timely))


def count_workers(work_seconds: float, alone_seconds: float, deadline_seconds: float) -> int | None:
    """Return how many workers do `work_seconds` of work in time.

    Parameters
    ----------
    work_seconds : float
        That one worker would take for what is shared.
    alone_seconds : float
        Of what is not: the index, a worker's start, the views.
    deadline_seconds : float

    Returns
    -------
    int or None
        At least 1; None where what is not shared takes too long alone.

    Examples
    --------
    >>> count_workers(3600, 60, 1200), count_workers(10, 60, 1200), count_workers(10, 60, 60)
    (4, 1, None)
    """
    left = deadline_seconds - alone_seconds
    return max(1, math.ceil(work_seconds / left)) if left > 0 else None
