"""One tap of a part that is compressed with Blosc2: HDF5 chunks through the filter of hdf5plugin.

A chunk's bytes are checked before they are decompressed, so damaged ones never reach the
decompressor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import h5py
import numpy as np

from featx.errors import CacheError
from featx.store.atomic import checksum
from featx.store.sealed import SealedFile
from featx.store.tap import TapShape, damaged_error

CHUNK_BYTES = 1 << 18
_BLOCK_BYTES = 32 << 20


def blosc2_filter() -> Mapping[str, Any]:
    """Return what `create_dataset` needs to compress: Blosc2, zstd at level 1 over shuffled bytes.

    Raises
    ------
    CacheError
        hdf5plugin is not installed.
    """
    try:
        import hdf5plugin
    except ImportError:
        raise CacheError(
            "Compressed features need hdf5plugin. Install it: pip install featx[compression]"
        ) from None
    kind = hdf5plugin.Blosc2
    return dict(kind(cname="zstd", clevel=1, filters=kind.SHUFFLE))


def chunk_shape(values: np.ndarray, tile: int) -> tuple[int, int]:
    """Return the chunk shape for `values` (n, width) whose tiles are `tile` columns wide."""
    return max(1, min(len(values), CHUNK_BYTES // (tile * values.itemsize))), tile


class CompressedTap:
    """The rows of one compressed tap in one part; used like `StoredTap`."""

    def __init__(self, file: SealedFile, tap: str, shape: TapShape) -> None:
        blosc2_filter()  # registers it with HDF5
        self._file, self._tap, self._shape = file, tap, shape
        spec = file.header["datasets"][f"features/{tap}"]
        self._rows, self._columns = spec["chunks"]
        self._n = spec["shape"][0]
        self._pieces = {(r, c): piece for r, c, *piece in spec["pieces"]}
        self._sound: set[tuple[int, int]] = set()

    def read(self, start: int, out: np.ndarray) -> None:
        """Fill `out` (m, width) with rows from `start` on; see `StoredTap.read`."""
        self.columns(start, 0, out)

    def gather(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill `out` (k, width) with `rows` (k,); see `StoredTap.gather`. Decodes whole chunks."""
        with self._opened() as dataset:
            self._gather(dataset, rows, out)

    def columns(self, row: int, start: int, out: np.ndarray) -> None:
        """Fill `out` (m, k) with columns from `start` on; see `StoredTap.columns`."""
        if out.size:
            with self._opened() as dataset:
                self._decode(dataset, row, start, out)

    def unchecked(self, rows: np.ndarray) -> np.ndarray:
        """Return `rows` (k,), also where other rows or the file's structure are damaged.

        Raises
        ------
        CacheCorruptError
            HDF5 can make nothing of the file.
        """
        out = np.empty((len(rows), self._shape.width), self._shape.stored)
        try:
            with self._opened(checked=False) as dataset:
                self._gather(dataset, rows, out)
        except (OSError, KeyError, RuntimeError) as error:
            raise self._file.corrupt(f"cannot be decoded ({error})", self._tap) from error
        return out

    @contextmanager
    def _opened(self, *, checked: bool = True) -> Iterator[h5py.Dataset]:
        # Not kept open: HDF5 must not outlive the file object that it reads through.
        with self._file.hdf5(checked=checked) as file:
            yield file[f"features/{self._tap}"]

    def _gather(self, dataset: h5py.Dataset, rows: np.ndarray, out: np.ndarray) -> None:
        order = np.argsort(rows, kind="stable")
        bands = rows[order] // self._rows
        for group in np.split(order, np.flatnonzero(np.diff(bands)) + 1) if len(rows) else ():
            first = int(rows[group[0]]) // self._rows * self._rows
            band = np.empty((min(self._rows, self._n - first), out.shape[1]), out.dtype)
            self._decode(dataset, first, 0, band)
            out[group] = band[rows[group] - first]

    def _decode(self, dataset: h5py.Dataset, row: int, start: int, out: np.ndarray) -> None:
        stop = start + out.shape[1]
        pieces = [
            (first, left)
            for first in range(row // self._rows * self._rows, row + len(out), self._rows)
            for left in range(start // self._columns * self._columns, stop, self._columns)
        ]
        wrong = self._damaged(pieces)
        if wrong:
            raise damaged_error(self._file, self._tap, wrong)
        step = max(self._rows, _BLOCK_BYTES // (out.shape[1] * out.itemsize))
        for low in range(0, len(out), step):
            high = min(low + step, len(out))
            out[low:high] = dataset[row + low : row + high, start:stop]

    def damaged_rows(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Return the rows whose chunks are damaged, of those touched by byte `ranges`."""
        touched = [
            place
            for place, (low, size, _) in self._pieces.items()
            if any(low < stop and start < low + size for start, stop in ranges)
        ]
        return self._damaged(touched)

    def _damaged(self, pieces: Sequence[tuple[int, int]]) -> list[int]:
        """Return the rows of the chunks (first row, first column) that are not as written."""
        rows: set[int] = set()
        for place in pieces:
            if place not in self._sound:
                offset, size, total = self._pieces[place]
                if checksum(self._file.bytes_at(offset, size)) == total:
                    self._sound.add(place)
                else:
                    rows.update(range(place[0], min(place[0] + self._rows, self._n)))
        return sorted(rows)
