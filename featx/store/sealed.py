"""Sealed HDF5 files: every byte is covered by a checksum before HDF5 gets to see it.

A sealed file is a plain HDF5 file with a trailer behind it, which HDF5 ignores::

    HDF5 bytes | trailer | the same trailer again

    trailer = checksums of the HDF5 bytes, block by block | JSON header | footer

The header says where each data set lies, so featx reads arrays by offset, and checks what it reads
against the block checksums. The second copy of the trailer lets `verify` name what is damaged, and
`repair` keep the rest, when the damage is in the trailer itself.
"""

from __future__ import annotations

import io
import json
import math
import mmap
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import h5py
import numpy as np
import xxhash

from featx.errors import CacheCorruptError, CacheMissError
from featx.store.atomic import checksum, new_file, write_at
from featx.store.layout import Layout
from featx.store.mirror import sending

MAGIC = b"featx sealed 1\r\n"
BLOCK = 1 << 18
_FOOTER = struct.Struct("<16sQQQQQ")  # magic, block, body, table and JSON bytes, checksum
_READ = 1 << 23
_SEARCH = 1 << 26


def seal(path: Path, layout: Layout, header: Mapping[str, Any]) -> str:
    """Write `layout` to `path` with its trailer, atomically, and return its seal.

    The header gets the entry "datasets": offset, shape and dtype of each array placed.

    Raises
    ------
    CacheWriteError
        The disk is full, the folder cannot be written.
    """
    with sending(path), new_file(path) as descriptor:
        body = layout.write(descriptor)
        table = np.fromiter((checksum(b) for _, b in _blocks(descriptor, body, BLOCK)), "<u8")
        text = json.dumps({**header, "datasets": layout.datasets}, sort_keys=True).encode()
        trailer = _trailer(table.tobytes(), text, body)
        write_at(descriptor, trailer + trailer, body)
    return _seal_of(trailer)


def _trailer(table: bytes, text: bytes, body: int) -> bytes:
    head = _FOOTER.pack(MAGIC, BLOCK, body, len(table), len(text), 0)
    total = checksum(table + text + head)
    return table + text + _FOOTER.pack(MAGIC, BLOCK, body, len(table), len(text), total)


def _seal_of(trailer: bytes) -> str:
    return xxhash.xxh3_128_hexdigest(trailer)


def _blocks(descriptor: int, body: int, block: int) -> Iterator[tuple[int, memoryview]]:
    """Give (number, bytes) of each block, reading in large pieces into one buffer."""
    size = min(max(block, _READ // block * block), body)
    buffer = memoryview(bytearray(size))
    for start in range(0, body, size or 1):
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


class _Window(io.RawIOBase):
    """The HDF5 bytes of a sealed file, for h5py to read."""

    def __init__(self, file: SealedFile) -> None:
        self._file, self._position = file, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.body}
        self._position = start[whence] + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        view = view[: max(0, self._file.body - self._position)]
        self._file.read(view, self._position)
        self._position += len(view)
        return len(view)


class SealedFile:
    """A sealed file, open for reading.

    Parameters
    ----------
    path : Path
    salvage : bool
        Make do with the first copy of the trailer where the second is damaged.

    Attributes
    ----------
    header : dict
        As given to `seal`.
    seal : str
        Digest of the trailer, hence of all bytes.
    size, body : int
        Bytes of the file, and of the HDF5 file in it.
    copies_agree : bool
        Whether both copies of the trailer are sound.

    Raises
    ------
    CacheMissError
        There is no such file.
    CacheCorruptError
        It is truncated, too long, or its trailer is damaged.
    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        self.path = path
        self._descriptor = -1
        self._map: mmap.mmap | None = None
        try:
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            raise CacheMissError(f"{path} is not there. Run featx extract.") from None
        except OSError as error:
            raise self.corrupt(f"cannot be opened ({error.strerror})") from error
        try:
            self._read_trailer(salvage)
        except BaseException:
            self.close()
            raise
        self._sound = np.zeros(len(self._table), bool)
        self._bulk = self._find_bulk()

    def _read_trailer(self, salvage: bool) -> None:
        self.size = os.fstat(self._descriptor).st_size
        trailer = self._trailer_before(self.size)
        if trailer is None and salvage:
            trailer = self._find_trailer()
        if trailer is None:
            raise self.corrupt("is truncated, or its trailer is damaged")
        _, self._block, self.body, table_bytes, text_bytes, _ = _FOOTER.unpack(
            trailer[-_FOOTER.size :]
        )
        whole = self.body + 2 * len(trailer) == self.size
        if not (whole or salvage):
            raise self.corrupt("is truncated")
        self.copies_agree = whole and self.bytes_at(self.body, 2 * len(trailer)) == trailer * 2
        self._table = np.frombuffer(trailer[:table_bytes], "<u8")
        self.header = json.loads(trailer[table_bytes : table_bytes + text_bytes])
        self.seal = _seal_of(trailer)

    def _trailer_before(self, end: int) -> bytes | None:
        """Return the trailer that ends at `end`, if a sound one does."""
        if end < _FOOTER.size:
            return None
        footer = self.bytes_at(end - _FOOTER.size, _FOOTER.size)
        magic, block, body, table_bytes, text_bytes, total = _FOOTER.unpack(footer)
        length = table_bytes + text_bytes + _FOOTER.size
        if magic != MAGIC or block == 0 or length > end or table_bytes != -(-body // block) * 8:
            return None
        content = self.bytes_at(end - length, length - _FOOTER.size)
        plain = _FOOTER.pack(magic, block, body, table_bytes, text_bytes, 0)
        return content + footer if checksum(content + plain) == total else None

    def _find_trailer(self) -> bytes | None:
        """Return a sound trailer found by its magic near the end of the file."""
        start = max(0, self.size - _SEARCH)
        tail = self.bytes_at(start, self.size - start)
        at = tail.rfind(MAGIC)
        while at >= 0:
            if start + at + _FOOTER.size <= self.size:
                end = start + at + _FOOTER.size
                trailer = self._trailer_before(end)
                if trailer is not None and _FOOTER.unpack(trailer[-_FOOTER.size :])[2] == (
                    end - len(trailer)
                ):
                    return trailer
            at = tail.rfind(MAGIC, 0, at)
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()  # a reader that nobody closes must not use up the process's descriptors

    def close(self) -> None:
        """Close the file; arrays handed out stay valid."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def replaced(self) -> bool:
        """Return whether another file has taken this one's name since it was opened."""
        try:
            now, mine = os.stat(self.path), os.fstat(self._descriptor)
        except FileNotFoundError:
            return False
        return (now.st_dev, now.st_ino) != (mine.st_dev, mine.st_ino)

    def corrupt(self, what: str, tap: str = "", rows: Sequence[int] = ()) -> CacheCorruptError:
        """Return the error that says `what` is wrong with this file."""
        return CacheCorruptError(
            f"{self.path} {what}. Run featx cache repair, then featx extract.",
            str(self.path),
            tap,
            rows,
        )

    def read(self, view: memoryview, offset: int) -> None:
        """Fill `view` from `offset` on, unchecked."""
        try:
            read_at(self._descriptor, view, offset)
        except EOFError:
            raise self.corrupt("is truncated") from None
        except OSError as error:
            raise self.corrupt(f"cannot be read ({error.strerror})") from error

    def bytes_at(self, offset: int, count: int) -> bytes:
        """Return `count` bytes from `offset` on, unchecked."""
        buffer = bytearray(count)
        self.read(memoryview(buffer), offset)
        return bytes(buffer)

    def damaged_ranges(self) -> list[tuple[int, int]]:
        """Read all of the HDF5 bytes; return the (start, stop) ranges that are not as written."""
        bad = []
        try:
            for number, block in _blocks(self._descriptor, self.body, self._block):
                if checksum(block) != self._table[number]:
                    start = number * self._block
                    bad.append((start, start + len(block)))
        except EOFError:
            raise self.corrupt("is truncated") from None
        except OSError as error:
            raise self.corrupt(f"cannot be read ({error.strerror})") from error
        return bad

    def check(self, start: int, stop: int) -> list[tuple[int, int]]:
        """Check the blocks that bytes `start` to `stop` lie in; return the bad ones' ranges."""
        bad = []
        for number in range(start // self._block, -(-stop // self._block)):
            if not self._sound[number]:
                low = number * self._block
                block = self.bytes_at(low, min(self._block, self.body - low))
                if checksum(block) == self._table[number]:
                    self._sound[number] = True
                else:
                    bad.append((low, low + len(block)))
        return bad

    def read_checked(self, view: memoryview, start: int) -> list[tuple[int, int]]:
        """Fill `view` from `start` on, and return the ranges of the bad blocks it touches.

        Blocks that lie in it whole are read once; those at its ends are read apart, once a file.
        """
        stop = start + len(view)
        first, last = -(-start // self._block), stop // self._block
        if first >= last:
            bad = self.check(start, stop)
            self.read(view, start)
            return bad
        bad = self.check(start, first * self._block) + self.check(last * self._block, stop)
        self.read(view[: first * self._block - start], start)
        for number in range(first, last):
            low = number * self._block
            block = view[low - start : low - start + self._block]
            self.read(block, low)  # checked while it is in the processor's cache
            if not self._sound[number]:
                if checksum(block) == self._table[number]:
                    self._sound[number] = True
                else:
                    bad.append((low, low + len(block)))
        self.read(view[last * self._block - start :], last * self._block)
        return bad

    def span(self, name: str) -> tuple[int, int]:
        """Return the bytes (start, stop) that the placed data set `name` takes."""
        spec = self.header["datasets"][name]
        size = math.prod(spec["shape"]) * np.dtype(spec["dtype"]).itemsize
        return spec["offset"], spec["offset"] + size

    def array(self, name: str) -> np.ndarray:
        """Return the checked data set `name`, read into memory.

        Raises
        ------
        CacheCorruptError
        """
        spec = self.header["datasets"][name]
        out = np.empty(spec["shape"], np.dtype(spec["dtype"]))
        if out.nbytes and self.read_checked(out.data.cast("B"), spec["offset"]):
            raise self.corrupt(f"has damaged bytes in {name!r}")
        return out

    def mapped(self, name: str) -> np.ndarray:
        """Return the data set `name` mapped into memory, read-only and unchecked."""
        spec = self.header["datasets"][name]
        count = math.prod(spec["shape"])
        flat = np.frombuffer(self.mapped_bytes(), spec["dtype"], count, spec["offset"])
        return flat.reshape(spec["shape"])

    def mapped_bytes(self) -> memoryview:
        """Return the whole file mapped into memory, read-only and unchecked."""
        if self._map is None:
            self.require_whole()
            self._map = mmap.mmap(self._descriptor, self.size, prot=mmap.PROT_READ)
        return memoryview(self._map)

    def require_whole(self) -> None:
        """Raise CacheCorruptError if the file has shrunk since it was opened.

        Touching a mapped page beyond the end would end the process.
        """
        if self._descriptor >= 0 and os.fstat(self._descriptor).st_size < self.size:
            raise self.corrupt("has been truncated")

    def hdf5(self, *, checked: bool = True) -> h5py.File:
        """Open as HDF5, after checking everything that HDF5 may take for structure.

        Unchecked, HDF5's own checksums of its structures are all that stands between it and damage.

        Raises
        ------
        CacheCorruptError
        """
        for number in range(len(self._table)):
            low = number * self._block
            high = min(low + self._block, self.body)
            if checked and not self._is_bulk(low, high) and self.check(low, high):
                raise self.corrupt("has damaged metadata")
        # Not by its path: HDF5 takes no file twice in one process with other locking, and the user
        # may have it open.
        try:
            return h5py.File(_Window(self), "r")
        except OSError as error:
            raise self.corrupt(f"cannot be opened ({error})") from error

    def _find_bulk(self) -> list[tuple[int, int]]:
        """Return the stretches of the file that hold nothing but rows of features."""
        spans = []
        for name, spec in self.header["datasets"].items():
            if "pieces" in spec:
                spans += [(start, start + size) for _, _, start, size, _ in spec["pieces"]]
            elif name.startswith("features/"):
                spans.append(self.span(name))
        merged: list[tuple[int, int]] = []
        for start, stop in sorted(spans):
            if merged and merged[-1][1] == start:
                merged[-1] = merged[-1][0], stop
            else:
                merged.append((start, stop))
        return merged

    def _is_bulk(self, start: int, stop: int) -> bool:
        """Return whether bytes `start` to `stop` hold nothing but rows of features."""
        return any(low <= start and stop <= high for low, high in self._bulk)
