"""avg and max from a cached flatten, without a forward pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from featx.columns import Digests
from featx.records import TapSpec
from featx.store.lazy import LazyFeatures, PartPool
from featx.store.plan import flatten_of

if TYPE_CHECKING:
    from featx.store.entry import CacheEntry

_BLOCK_BYTES = 32 << 20


def pool(values: np.ndarray, pooling: str) -> np.ndarray:
    """Pool `values` (n, height, width, channels) over space: "avg" or "max"; (n, channels)."""
    if pooling == "avg":
        return values.mean(axis=(1, 2), dtype=np.float32)
    if pooling == "max":
        return values.max(axis=(1, 2))
    raise ValueError(f"cannot pool {pooling!r}")


def derive_rows(entry: CacheEntry, wanted: Mapping[str, Digests], **writer_options: Any) -> int:
    """Compute and publish the rows that a plan says can be derived.

    Parameters
    ----------
    entry : CacheEntry
        Claimed by the caller.
    wanted : mapping of str to Digests
        `RowPlan.derive`: tap to digests.
    writer_options
        As for `CacheEntry.writer`.

    Returns
    -------
    int
        Rows written, a tap.

    Raises
    ------
    CacheCorruptError, CacheWriteError
    """
    state = entry.state()
    options = {"compression": state.compression, **writer_options}
    count = 0
    for tap, digests in wanted.items():
        base = flatten_of(tap)
        if base is None or not digests:
            raise ValueError(f"tap {tap!r} cannot be derived")
        shape = state.shapes[base]
        places = state.rows[base].places(digests)
        parts = PartPool([entry.parts_dir / name for name in state.parts], state.seals)
        source = LazyFeatures(parts, base, shape, places)
        with entry.writer({tap: shape.shape[-1:]}, **options) as writer:
            for rows, block in source.row_blocks(_BLOCK_BYTES):
                pooled = pool(block.reshape(-1, *shape.shape), TapSpec.parse(tap).pooling)
                writer.append(digests[rows], {tap: pooled})
        count += len(digests)
    return count
