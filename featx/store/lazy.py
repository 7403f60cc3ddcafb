"""Features left on the disk: whole taps, chosen rows, column blocks, read when asked for."""

from __future__ import annotations

import os
import threading
from collections import Counter, OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import CacheCorruptError, CacheMissError
from featx.store.compressed import CompressedTap
from featx.store.part import Part
from featx.store.tap import StoredTap, TapShape
from featx.store.view import runs

BLOCK_BYTES = 64 << 20
_OPEN_PARTS = 200  # below the usual limit of 1,024 open files, with room for other readers
_SHORT_RUN = 8
_PIECE_BYTES = 8 << 20


class PartPool:
    """The parts that a view names, opened once and kept open; of many, the latest used.

    Parameters
    ----------
    paths : sequence of Path
    seals : sequence of str
        What each must hold.
    """

    def __init__(self, paths: Sequence[Path], seals: Sequence[str]) -> None:
        self.paths, self.seals = list(paths), list(seals)
        self._open: OrderedDict[int, Part] = OrderedDict()
        self._users: Counter[int] = Counter()
        self._lock = threading.Lock()

    @contextmanager
    def use(self, number: int) -> Iterator[Part]:
        """Give a part by its number; it stays open inside the block. Threads may do so at once."""
        with self._lock:
            if number not in self._open:
                self._open[number] = open_part(self.paths[number], self.seals[number])
            self._open.move_to_end(number)
            self._users[number] += 1
            idle = [n for n in self._open if not self._users[n]]
            for other in idle[: len(self._open) - _OPEN_PARTS]:
                self._open.pop(other).close()
        try:
            yield self._open[number]
        finally:
            with self._lock:
                self._users[number] -= 1


def open_part(path: Path, seal: str) -> Part:
    """Open the part at `path`, which must be the one with that seal.

    Raises
    ------
    CacheCorruptError
        It is missing, damaged or another.
    """
    try:
        part = Part(path)
    except CacheMissError:
        raise CacheCorruptError(
            f"{path} is missing. Run featx cache repair, then featx extract.", str(path)
        ) from None
    if part.seal != seal:
        part.close()
        raise part.corrupt("is not the part that the view was made of")
    return part


class LazyFeatures:
    """Features of one tap, read when asked for; checked as they are read.

    Attributes
    ----------
    shape : (int, int)
        Rows and width.
    dtype : dtype
        Of what is returned: float32, also where float16 is stored.
    ndim : int
        2.
    """

    ndim = 2

    def __init__(self, pool: PartPool, tap: str, shape: TapShape, places: np.ndarray) -> None:
        self._pool, self._tap, self._tap_shape = pool, tap, shape
        self._places = places
        self.shape = (len(places), shape.width)
        self.dtype = np.dtype(np.float32)
        for number in np.unique(places[:, 0])[:_OPEN_PARTS].tolist():
            with pool.use(number):  # held open from now on: what is removed later stays readable
                pass

    def __reduce__(self) -> tuple[Any, ...]:
        pool = (self._pool.paths, self._pool.seals)
        return _reopen, (*pool, self._tap, self._tap_shape, self._places)

    def __repr__(self) -> str:
        return f"<LazyFeatures {self._tap!r} {self.shape[0]}×{self.shape[1]}>"

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("features on the disk cannot be given without a copy")
        out = self._range(0, len(self))
        return out if dtype is None else out.astype(dtype, copy=False)

    def rows(self, indices: Any) -> np.ndarray:
        """Return the rows `indices` (k,), in that order, as (k, width) float32.

        Raises
        ------
        IndexError
            An index outside 0 to n - 1.
        CacheCorruptError
            Naming file, tap and rows.
        """
        wanted = np.asarray(indices)
        if wanted.ndim != 1 or (wanted.size and wanted.dtype.kind not in "iu"):
            raise IndexError(f"row numbers in one dimension are wanted, not {wanted!r:.80}")
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} asked of {len(self)}")
        return self._gather(self._places[wanted.astype(np.int64)])

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Return the columns `start` to `stop` of all rows as (n, stop - start) float32.

        Nothing else is read, up to the borders of checksum tiles (16 KiB).

        Raises
        ------
        IndexError
            They are not within 0 to width.
        CacheCorruptError
        """
        if not 0 <= start <= stop <= self.shape[1]:
            raise IndexError(f"columns {start} to {stop} asked of {self.shape[1]}")
        out = np.empty((len(self), stop - start), self.dtype)
        if out.size:
            for first, count, part, row in runs(self._places):
                with self._stored(part) as stored:
                    stored.columns(row, start, out[first : first + count])
        return out

    def row_blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[slice, np.ndarray]]:
        """Give (rows, features) in blocks of about `block_bytes`, in order."""
        step = max(1, block_bytes // (self.shape[1] * self.dtype.itemsize))
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            yield slice(start, stop), self._range(start, stop)

    @contextmanager
    def _stored(self, number: int) -> Iterator[StoredTap | CompressedTap]:
        with self._pool.use(number) as part:
            yield part.tap(self._tap)

    def _read(self, part: int, row: int, out: np.ndarray) -> None:
        with self._stored(part) as stored:
            if out.dtype == self._tap_shape.stored:
                stored.read(row, out)
            else:
                found = np.empty(out.shape, self._tap_shape.stored)
                stored.read(row, found)
                out[:] = found

    def _range(self, start: int, stop: int) -> np.ndarray:
        places = self._places[start:stop]
        stretches = list(runs(places))
        if len(stretches) * _SHORT_RUN > len(places):
            return self._gather(places)
        out = np.empty((stop - start, self.shape[1]), self.dtype)
        step = max(1, _PIECE_BYTES // out.strides[0])
        pieces = [
            (part, row + skip, out[first + skip : first + min(skip + step, count)])
            for first, count, part, row in stretches
            for skip in range(0, count, step)
        ]
        if len(pieces) < 4:
            for piece in pieces:
                self._read(*piece)
        else:  # checking takes as long as copying: let them go on side by side
            with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
                for read in [pool.submit(self._read, *piece) for piece in pieces]:
                    read.result()
        return out

    def _gather(self, places: np.ndarray) -> np.ndarray:
        out = np.empty((len(places), self.shape[1]), self._tap_shape.stored)
        order = np.argsort(places[:, 0], kind="stable")
        parts = places[order, 0]
        borders = np.flatnonzero(np.diff(parts)) + 1
        for group in np.split(order, borders) if len(order) else ():
            rows = places[group, 1].astype(np.int64)
            with self._stored(int(places[group[0], 0])) as stored:
                if group[-1] - group[0] + 1 == len(group):
                    stored.gather(rows, out[group[0] : group[-1] + 1])
                else:
                    found = np.empty((len(rows), self.shape[1]), out.dtype)
                    stored.gather(rows, found)
                    out[group] = found
        return out.astype(self.dtype, copy=False)


def _reopen(
    paths: list[Path], seals: list[str], tap: str, shape: TapShape, places: np.ndarray
) -> LazyFeatures:
    return LazyFeatures(PartPool(paths, seals), tap, shape, places)
