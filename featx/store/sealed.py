"""Sealed HDF5 files: every byte is covered by a checksum before HDF5 gets to see it.

A sealed file is a plain HDF5 file with a trailer behind it, which HDF5 ignores::

    HDF5 bytes | trailer | the same trailer again

    trailer = checksums of the HDF5 bytes, block by block | JSON header | footer

The header says where each data set lies, so featx reads arrays by offset, and checks what it reads
against the block checksums. The second copy of the trailer lets `verify` name what is damaged, and
`repair` keep the rest, when the damage is in the trailer itself.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from featx.errors import CacheCorruptError, CacheMissError
from featx.store.atomic import new_file, write_at
from featx.store.layout import Layout

MAGIC = b"featx sealed 1\r\n"
BLOCK = 1 << 18
_FOOTER = struct.Struct("<16sQQQQQ")  # magic, block, body, table and JSON bytes, checksum
_READ = 1 << 23

checksum = xxhash.xxh3_64_intdigest


def seal(path: Path, layout: Layout, header: Mapping[str, Any]) -> str:
    """Write `layout` to `path` with its trailer, atomically, and return its seal.

    The header gets the entry "datasets": offset, shape and dtype of each array placed.

    Raises
    ------
    CacheWriteError
        The disk is full, the folder cannot be written.
    """
    try:
        with new_file(path) as descriptor:
            body = layout.write(descriptor)
            table = np.fromiter(
                (s for _, block in _blocks(descriptor, body, BLOCK) for s in [checksum(block)]),
                np.uint64,
            )
            text = json.dumps({**header, "datasets": layout.datasets}, sort_keys=True).encode()
            trailer = _trailer(table.astype("<u8").tobytes(), text, body)
            write_at(descriptor, trailer + trailer, body)
    finally:
        layout.close()
    return _seal_of(trailer)


def _trailer(table: bytes, text: bytes, body: int) -> bytes:
    head = _FOOTER.pack(MAGIC, BLOCK, body, len(table), len(text), 0)
    total = checksum(table + text + head)
    return table + text + _FOOTER.pack(MAGIC, BLOCK, body, len(table), len(text), total)


def _seal_of(trailer: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(trailer)


def _blocks(descriptor: int, body: int, block: int) -> Iterator[tuple[int, memoryview]]:
    """Give (number, bytes) of each block, reading in large pieces into one buffer."""
    buffer = memoryview(bytearray(max(block, _READ // block * block)))
    for start in range(0, body, len(buffer)):
        piece = buffer[: min(len(buffer), body - start)]
        read_at(descriptor, piece, start)
        for offset in range(0, len(piece), block):
            yield (start + offset) // block, piece[offset : offset + block]


def read_at(descriptor: int, view: memoryview, offset: int) -> None:
    """Fill `view` from `offset` on; EOFError where the file ends before."""
    while len(view):
        done = os.preadv(descriptor, [view[: 1 << 30]], offset)
        if not done:
            raise EOFError
        view, offset = view[done:], offset + done


class SealedFile:
    """A sealed file, open for reading.

    Attributes
    ----------
    path : Path
    header : dict
        As given to `seal`.
    seal : str
        Digest of the trailer, hence of all bytes.

    Raises
    ------
    CacheMissError
        There is no such file.
    CacheCorruptError
        It is truncated, too long, or its trailer is damaged.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise CacheMissError(f"{path} is not there. Run featx extract.") from None
        except OSError as error:
            raise self.corrupt(f"cannot be opened ({error.strerror})") from error
        try:
            self._read_trailer()
        except BaseException:
            os.close(self._descriptor)
            raise
        self._map: mmap.mmap | None = None
        self._sound = np.zeros(len(self._table), bool)

    def _read_trailer(self) -> None:
        size = os.fstat(self._descriptor).st_size
        if size < _FOOTER.size:
            raise self.corrupt("is truncated")
        footer = bytearray(_FOOTER.size)
        self._read(memoryview(footer), size - len(footer))
        magic, block, body, table_bytes, text_bytes, total = _FOOTER.unpack(footer)
        length = table_bytes + text_bytes + _FOOTER.size
        if magic != MAGIC or body + 2 * length != size or block == 0:
            raise self.corrupt("is truncated or its trailer is damaged")
        trailer = bytearray(length)
        self._read(memoryview(trailer), size - length)
        table, text = trailer[:table_bytes], trailer[table_bytes : table_bytes + text_bytes]
        plain = _FOOTER.pack(magic, block, body, table_bytes, text_bytes, 0)
        if checksum(bytes(table + text) + plain) != total or table_bytes != -(-body // block) * 8:
            raise self.corrupt("has a damaged trailer")
        self._table = np.frombuffer(bytes(table), "<u8")
        self._block, self._body = block, body
        self.size = size
        self.header = json.loads(bytes(text))
        self.seal = _seal_of(bytes(trailer))

    def __enter__(self) -> SealedFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; arrays handed out stay valid."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def corrupt(self, what: str, tap: str = "", rows: tuple[int, ...] = ()) -> CacheCorruptError:
        """Return the error that says `what` is wrong with this file."""
        return CacheCorruptError(
            f"{self.path} {what}. Run featx cache repair, then extract again.",
            str(self.path),
            tap,
            rows,
        )

    def _read(self, view: memoryview, offset: int) -> None:
        try:
            read_at(self._descriptor, view, offset)
        except EOFError:
            raise self.corrupt("is truncated") from None
        except OSError as error:
            raise self.corrupt(f"cannot be read ({error.strerror})") from error

    def damaged_blocks(self) -> list[tuple[int, int]]:
        """Read the whole body and return the (start, stop) byte ranges that are not as written."""
        bad = []
        try:
            for number, block in _blocks(self._descriptor, self._body, self._block):
                if checksum(block) != self._table[number]:
                    start = number * self._block
                    bad.append((start, start + len(block)))
        except EOFError:
            raise self.corrupt("is truncated") from None
        except OSError as error:
            raise self.corrupt(f"cannot be read ({error.strerror})") from error
        return bad

    def check(self, start: int, stop: int) -> tuple[int, int] | None:
        """Check the blocks that bytes `start` to `stop` lie in; return the first bad range."""
        for number in range(start // self._block, -(-stop // self._block)):
            if self._sound[number]:
                continue
            low = number * self._block
            block = memoryview(bytearray(min(self._block, self._body - low)))
            self._read(block, low)
            if checksum(block) != self._table[number]:
                return low, low + len(block)
            self._sound[number] = True
        return None

    def array(self, name: str) -> np.ndarray:
        """Return the checked data set `name`, read into memory.

        Raises
        ------
        CacheCorruptError
        """
        spec = self.header["datasets"][name]
        out = np.empty(spec["shape"], np.dtype(spec["dtype"]))
        if out.nbytes:
            if self.check(spec["offset"], spec["offset"] + out.nbytes):
                raise self.corrupt(f"has damaged bytes in {name!r}")
            self._read(out.data.cast("B"), spec["offset"])
        return out

    def hdf5(self) -> h5py.File:
        """Open as HDF5, after checking everything that is not bulk data."""
        bulk = [
            (d["offset"], d["offset"] + int(np.prod(d["shape"])) * np.dtype(d["dtype"]).itemsize)
            for name, d in self.header["datasets"].items()
            if name.startswith("features/")
        ]
        for number in range(len(self._table)):
            low = number * self._block
            high = min(low + self._block, self._body)
            if any(a <= low and high <= b for a, b in bulk):
                continue
            if self.check(low, high):
                raise self.corrupt("has damaged metadata")
        return h5py.File(self.path, "r", locking=False)
