"""One tap of one part: reading rows whole, scattered, or by columns, and checking what is read.

Whole stretches are checked block by block (few large checksums). Scattered rows and columns are
checked tile by tile, so that no more than what is asked for is read; a tile that was found sound is
not checked again while the part is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from featx.errors import CacheCorruptError
from featx.store.atomic import checksum
from featx.store.sealed import SealedFile


@dataclass(frozen=True)
class TapShape:
    """What a tap's rows are.

    Attributes
    ----------
    shape : tuple of int
        Of one image's features: (channels,), or (height, width, channels) where flattened.
    dtype : str
        "float32" or "float16", as stored.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def width(self) -> int:
        """Values a row."""
        return int(np.prod(self.shape))

    @property
    def stored(self) -> np.dtype:
        """The dtype on the disk, little-endian."""
        return np.dtype(self.dtype).newbyteorder("<")


def tile_sums(values: np.ndarray, tile: int) -> np.ndarray:
    """Return the checksums of `values` (n, width), one a row and `tile` columns: (n, tiles)."""
    n, width = values.shape
    tiles = -(-width // tile)
    view = values.data.cast("B")
    size, row = values.itemsize * tile, values.itemsize * width
    if tiles == 1:
        sums = [checksum(view[start : start + row]) for start in range(0, n * row, row)]
    else:
        sums = [
            checksum(view[start : min(start + size, end)])
            for end in range(row, (n + 1) * row, row)
            for start in range(end - row, end, size)
        ]
    return np.array(sums, "<u8").reshape(n, tiles)


def rows_in(ranges: Sequence[tuple[int, int]], span: tuple[int, int], row_bytes: int) -> list[int]:
    """Return the numbers of the rows that byte `ranges` touch, of rows lying in `span`."""
    rows: set[int] = set()
    low, high = span
    for start, stop in ranges:
        if start < high and stop > low:
            first, last = max(start, low) - low, min(stop, high) - low
            rows.update(range(first // row_bytes, -(-last // row_bytes)))
    return sorted(rows)


def damaged_error(file: SealedFile, tap: str, rows: Sequence[int]) -> CacheCorruptError:
    """Return the error for `rows` of `tap` that are not as written."""
    shown = ", ".join(map(str, rows[:5])) + (", …" if len(rows) > 5 else "")
    return file.corrupt(f"has {len(rows)} damaged row(s) of tap {tap!r} ({shown})", tap, rows)


class StoredTap:
    """The rows of one tap in one part.

    Parameters
    ----------
    file : SealedFile
        The part.
    tap : str
    shape : TapShape
    tile : int
        Columns a tile sum covers.
    """

    def __init__(self, file: SealedFile, tap: str, shape: TapShape, tile: int) -> None:
        self._file, self._tap, self._tile = file, tap, tile
        self._row = shape.width * shape.stored.itemsize
        self._shape = shape
        self._values = file.mapped(f"features/{tap}")
        self._offset, _ = file.span(f"features/{tap}")
        self._bytes = file.mapped_bytes()
        # Not checked themselves: a sum that fits its tile proves both sound.
        self._sums = file.mapped(f"checksums/{tap}")
        self._sound = np.zeros((len(self._values), -(-shape.width // tile)), bool)

    def read(self, start: int, out: np.ndarray) -> None:
        """Fill `out` (m, width), C-contiguous and of the stored dtype, with rows from `start` on.

        Raises
        ------
        CacheCorruptError
            Naming the rows that are not as written.
        """
        if not out.size:
            return
        bad = self._file.read_checked(out.data.cast("B"), self._offset + start * self._row)
        if bad:
            wrong = [r for r in self.damaged_rows(bad) if start <= r < start + len(out)]
            if wrong:
                raise damaged_error(self._file, self._tap, wrong)

    def gather(self, rows: np.ndarray, out: np.ndarray) -> None:
        """Fill `out` (k, width), C-contiguous and of the stored dtype, with `rows` (k,).

        Raises
        ------
        CacheCorruptError
        """
        self._file.require_whole()
        np.take(self._values, rows, axis=0, out=out, mode="clip")
        fresh = np.flatnonzero(~self._sound[rows].all(axis=1))
        if not len(fresh):
            return
        if len(fresh) == len(rows):
            sums, numbers = tile_sums(out, self._tile), rows
        else:
            sums, numbers = tile_sums(out[fresh], self._tile), rows[fresh]
        wrong = (sums != self._sums[numbers]).any(axis=1)
        if wrong.any():
            raise damaged_error(self._file, self._tap, np.unique(numbers[wrong]).tolist())
        self._sound[numbers] = True

    def columns(self, row: int, start: int, out: np.ndarray) -> None:
        """Fill `out` (m, k) with columns from `start` on of the rows from `row` on.

        Only the tiles that those columns lie in are touched.

        Raises
        ------
        CacheCorruptError
        """
        self._file.require_whole()
        tile_bytes = self._tile * self._values.itemsize
        for tile in range(start // self._tile, -(-(start + out.shape[1]) // self._tile)):
            fresh = row + np.flatnonzero(~self._sound[row : row + len(out), tile])
            first = tile * tile_bytes
            size = min(tile_bytes, self._row - first)
            sums = [
                checksum(self._bytes[low : low + size])
                for low in (self._offset + first + fresh * self._row).tolist()
            ]
            wrong = fresh[np.array(sums, "<u8") != self._sums[fresh, tile]]
            if len(wrong):
                raise damaged_error(self._file, self._tap, wrong.tolist())
            self._sound[fresh, tile] = True
        out[:] = self._values[row : row + len(out), start : start + out.shape[1]]

    def unchecked(self, rows: np.ndarray) -> np.ndarray:
        """Return `rows` (k,) as they are; for rows found sound by other means."""
        return self._values[rows]

    def damaged_rows(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Return the rows in the damaged byte `ranges` of the file whose tile sums do not fit."""
        suspects = rows_in(ranges, self._file.span(f"features/{self._tap}"), self._row)
        values = self._values
        return [
            r
            for r in suspects
            if (tile_sums(values[r : r + 1], self._tile)[0] != self._sums[r]).any()
        ]
