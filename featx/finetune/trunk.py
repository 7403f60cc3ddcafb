"""What the frozen part of a base gives for each image, computed once.

Rows lie in a cache of their own below the cache directory, by the same rules as features: named by
the images' content, safe to interrupt, checked when read, reused by the next run.
"""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from featx.columns import Digests, Finder
from featx.datasets import index_dataset
from featx.extraction.request import source_text
from featx.extraction.steps import Extraction, disk_free
from featx.finetune.base import CutRecord
from featx.memory import total_memory
from featx.progress import Bars
from featx.records import BackboneSpec, DatasetIndex
from featx.store import load_rows, prepare_cache_dir

FOLDER = ".trunks"
"""Below the cache directory; it can be removed at any time."""

MEMORY_SHARE = 0.25
"""Share of the machine's memory up to which rows are held, else they are read as needed."""

DISK_SHARE = 0.5
"""Share of the free disk that the rows may take without being asked for."""

LEAST_SHARE = 0.25
"""Of a base's multiplications, that a frozen part must have to be worth computing once."""

log = logging.getLogger("featx")


def row_bytes(cut: CutRecord) -> int:
    """Return the size of one image's row."""
    return 4 * math.prod(cut.shape)


class Trunks:
    """The frozen parts of bases over the images of one data set.

    Parameters
    ----------
    data : str or path
    cache_dir : path
    progress : Bars
    """

    def __init__(
        self, data: str | os.PathLike[str], cache_dir: str | os.PathLike[str], progress: Bars
    ) -> None:
        self._data, self._root, self._progress = data, Path(cache_dir), progress

    @cached_property
    def _index(self) -> DatasetIndex:
        return index_dataset(self._data, work_dir=self._root / ".sources", progress=self._progress)

    def pays(self, cut: CutRecord | None, rows: int) -> bool:
        """Tell whether to compute a frozen part once: it is large, and its rows fit on the disk."""
        if cut is None or cut.share < LEAST_SHARE:
            return False
        return rows * row_bytes(cut) <= DISK_SHARE * disk_free(self._root)

    def rows(
        self, spec: BackboneSpec, cut: CutRecord, wanted: Sequence[Sequence[str]]
    ) -> tuple[list[Any], float]:
        """Return a frozen part's output for some images, computing what is not there yet.

        Parameters
        ----------
        spec : BackboneSpec
            Whose weights are the ones to use.
        cut : CutRecord
        wanted : sequence of sequence of str
            Digests of images that are known to decode.

        Returns
        -------
        rows : list of ndarray of shape (n, values of the cut), float32, or of LazyFeatures
            One for each of `wanted`, in its order.
        seconds : float

        Raises
        ------
        CacheError, EngineError
            As `featx.extract`.
        """
        started = time.perf_counter()
        prepare_cache_dir(self._root / FOLDER)
        names = {digest for digests in wanted for digest in digests}
        samples = self._index.samples
        samples = samples.take(Finder(Digests.of(names)).find(samples.digests) >= 0)
        run = Extraction(
            index=replace(self._index, samples=samples),
            source=source_text(self._data),
            taps=(cut.tap,),
            cache_dir=self._root / FOLDER,
            engine="auto",
            precision="float32",
            stored="float32",
            compression=None,
            bars=self._progress,
        )
        run.add(spec, create=True)
        size = len(names) * row_bytes(cut)
        end = cut.tap.layer or "its end"
        log.info("%s up to %s: %d rows, %.2f GB", spec.text, end, len(names), size / 1e9)
        run.compute(strict=True)
        lazy = size > MEMORY_SHARE * (total_memory() or 2**32)
        cache, tap = run.targets[0].cache, cut.tap.name
        found = [load_rows(cache, tap, list(digests), lazy=lazy) for digests in wanted]
        return found, time.perf_counter() - started
