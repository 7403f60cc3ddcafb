"""Writing rows into parts, so that little is at stake at any moment."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from featx.errors import CacheError, CacheWriteError, SpecError
from featx.records import ExtractionKey
from featx.store.atomic import sweep
from featx.store.compressed import blosc2_filter
from featx.store.part import DIGEST_BYTES, write_part
from featx.store.tap import TapShape

PART_BYTES = 128 << 20
PART_SECONDS = 30.0
COMPRESSIONS = ("none", "blosc2")


class PartWriter:
    """Gathers rows and publishes them part by part; a context manager.

    A part is published when it holds `part_bytes`, or when its first row would otherwise be at
    stake for more than `part_seconds`. On leaving the block the rest is published, also when it is
    left by an exception.

    One part is written while the next is gathered; memory: these two.

    Parameters
    ----------
    folder : Path
        The entry's `parts`.
    key : ExtractionKey
    tap_shapes : mapping of str to tuple of int
        Shape of one image's features, a tap.
    part_bytes : int
        Of rows, before compression.
    part_seconds : float
    provenance : mapping, optional
        JSON-able.
    compression : str
        "none" or "blosc2" (needs hdf5plugin).
    name : str
        File name of the part, where all rows go into one; a part of this name is replaced. ""
        gives each part a new one.
    """

    def __init__(
        self,
        folder: Path,
        key: ExtractionKey,
        tap_shapes: Mapping[str, tuple[int, ...]],
        *,
        part_bytes: int = PART_BYTES,
        part_seconds: float = PART_SECONDS,
        provenance: Mapping[str, Any] | None = None,
        compression: str = "none",
        name: str = "",
    ) -> None:
        if compression not in COMPRESSIONS:
            raise SpecError(f"Unknown compression {compression!r}. There is: none, blosc2.")
        if compression == "blosc2":
            blosc2_filter()  # fails here rather than with the first part
        self._folder, self._key = folder, key
        self.shapes = {t: TapShape(tuple(s), key.stored) for t, s in tap_shapes.items()}
        row_bytes = sum(s.width for s in self.shapes.values()) * np.dtype(key.stored).itemsize
        self._capacity = max(1, part_bytes // (row_bytes + DIGEST_BYTES))
        self._seconds = part_seconds
        self._compression = compression
        self._name = name
        self._provenance = dict(provenance or {})
        self._digests: list[str] = []
        self._rows: dict[str, np.ndarray] = {}
        self._begun = self._last = time.monotonic()
        self._thread: ThreadPoolExecutor | None = None
        self._pending: Future[Path] | None = None
        self.published: list[Path] = []

    def __enter__(self) -> PartWriter:
        sweep(self._folder)
        return self

    def append(self, digests: Sequence[str], rows: Mapping[str, np.ndarray]) -> None:
        """Add rows; each call gives every tap of the writer.

        Parameters
        ----------
        digests : sequence of n str
            Image digests, at most 64 ASCII characters each.
        rows : mapping of str to ndarray of shape (n, width), float32
            A tap; copied before the call returns. (n, *tap shape) is taken too.

        Raises
        ------
        CacheWriteError
            A part could not be published; it may be one of an earlier call.
        ValueError
            Taps, widths or lengths do not fit.
        CacheError
            A value is not finite, or not any more in the stored precision.
        """
        flat = self._checked(digests, rows)
        done = 0
        while done < len(digests):
            held = len(self._digests)
            if held == 0:
                self._begun = time.monotonic()
            count = min(self._capacity - held, len(digests) - done)
            for tap, values in flat.items():
                self._buffer(tap)[held : held + count] = values[done : done + count]
            self._digests.extend(digests[done : done + count])
            done += count
            if len(self._digests) >= self._capacity:
                self.publish()
        now = time.monotonic()
        gap, self._last = now - self._last, now
        if self._digests and now - self._begun + gap >= self._seconds:
            self.publish()

    def publish(self) -> None:
        """Hand the rows gathered so far over to be written as a part, once the last one is."""
        self.wait()
        n = len(self._digests)
        if n == 0:
            return
        if self._name and self.published:
            raise ValueError(f"the rows need more than the one part {self._name}")
        if self._thread is None:
            self._thread = ThreadPoolExecutor(1, thread_name_prefix="featx-part")
        self._pending = self._thread.submit(
            write_part,
            self._folder,
            self._key,
            self.shapes,
            self._digests,
            {tap: self._rows[tap][:n] for tap in self.shapes},
            self._provenance,
            self._compression,
            self._name,
        )
        self._digests, self._rows = [], {}

    def wait(self) -> None:
        """Wait until what was handed over is on the disk, or raise why it is not."""
        pending, self._pending = self._pending, None
        if pending is not None:
            self.published.append(pending.result())

    def close(self) -> None:
        """Publish the rest and wait for it."""
        try:
            self.publish()
            self.wait()
        finally:
            if self._thread is not None:
                self._thread.shutdown()
                self._thread = None

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
            return
        try:
            self.close()
        except CacheWriteError as second:
            error.add_note(f"The last rows could not be kept: {second}")

    def _buffer(self, tap: str) -> np.ndarray:
        if tap not in self._rows:
            shape = self.shapes[tap]
            self._rows[tap] = np.empty((self._capacity, shape.width), shape.stored)
        return self._rows[tap]

    def _checked(
        self, digests: Sequence[str], rows: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        if set(rows) != set(self.shapes):
            raise ValueError(f"taps {sorted(rows)} given, {sorted(self.shapes)} expected")
        for digest in digests:
            if not (digest.isascii() and 0 < len(digest) <= DIGEST_BYTES):
                raise ValueError(f"{digest!r} is not a digest of 1 to {DIGEST_BYTES} characters")
        flat = {}
        for tap, values in rows.items():
            width = self.shapes[tap].width
            array = np.asarray(values).reshape(len(values), -1)
            if array.shape != (len(digests), width):
                raise ValueError(
                    f"tap {tap!r} has shape {array.shape}, ({len(digests)}, {width}) expected"
                )
            flat[tap] = self._finite(tap, array)
        return flat

    def _finite(self, tap: str, array: np.ndarray) -> np.ndarray:
        """Return `array` in the stored precision, in which all of it must be finite."""
        with np.errstate(over="ignore"):
            stored = np.ascontiguousarray(array, self.shapes[tap].stored)
        if not np.isfinite(stored).all():
            if np.isfinite(array).all():
                raise CacheError(
                    f"Tap {tap!r} has values up to {np.abs(array).max():g}, which "
                    f"{self._key.stored} cannot hold. Store float32."
                )
            raise CacheError(
                f"Tap {tap!r} has values that are not finite. Check the weights, or compute in "
                "float32."
            )
        return stored
