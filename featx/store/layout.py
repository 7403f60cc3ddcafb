"""Laying an HDF5 file out without letting HDF5 write it.

HDF5 does not take a full disk well: a failed flush can leave a file that cannot be closed. So HDF5
works on memory here, with large arrays placed but not written, and the bytes go to the disk by
plain writes of our own, where an error is an error.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterable, Mapping
from typing import Any

import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t

from featx.store.atomic import checksum, write_at

_PAGE = 1 << 16
_ALIGN_OVER, _ALIGN_TO = 1 << 16, 4096


class _SparseFile(io.RawIOBase):
    """A file in memory that holds only the pages written to."""

    def __init__(self) -> None:
        self.pages: dict[int, bytearray] = {}
        self.end = 0
        self._position = 0

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.end}[whence]
        self._position = start + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        self.end = self._position if size is None else size
        return self.end

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            page, start = divmod(self._position, _PAGE)
            count = min(_PAGE - start, len(view) - done)
            held = self.pages.get(page)
            view[done : done + count] = held[start : start + count] if held else bytes(count)
            done += count
            self._position += count
        return done

    def write(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            page, start = divmod(self._position, _PAGE)
            count = min(_PAGE - start, len(view) - done)
            held = self.pages.setdefault(page, bytearray(_PAGE))
            held[start : start + count] = view[done : done + count]
            done += count
            self._position += count
        self.end = max(self.end, self._position)
        return done


class Layout:
    """An HDF5 file in the making; a context manager, to be left before the interpreter ends.

    `file` is an open `h5py.File`: attributes, strings and virtual data sets are made on it as
    usual. `place` adds an array whose bytes stay where they are until `write`.
    """

    def __init__(self) -> None:
        self._memory = _SparseFile()
        self._streams: list[tuple[int, Iterable[np.ndarray]]] = []
        self.datasets: dict[str, dict[str, Any]] = {}
        self.file = h5py.File(
            self._memory,
            "w",
            libver=("v110", "v110"),
            locking=False,
            alignment_threshold=_ALIGN_OVER,
            alignment_interval=_ALIGN_TO,
        )

    def __enter__(self) -> Layout:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def place(self, name: str, array: np.ndarray, attrs: Mapping[str, Any] = {}) -> None:
        """Add `array` (C-contiguous, little-endian or bytes) as a contiguous data set `name`."""
        self.stream(name, array.shape, array.dtype, [array], attrs)

    def stream(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: np.dtype,
        blocks: Iterable[np.ndarray],
        attrs: Mapping[str, Any] = {},
    ) -> None:
        """Add a data set whose bytes come as `blocks` of rows, asked for when they are written."""
        create = h5p.create(h5p.DATASET_CREATE)
        create.set_layout(h5d.CONTIGUOUS)
        create.set_alloc_time(h5d.ALLOC_TIME_EARLY)
        create.set_fill_time(h5d.FILL_TIME_NEVER)
        create.set_obj_track_times(False)
        links = h5p.create(h5p.LINK_CREATE)
        links.set_create_intermediate_group(True)
        kind, space = h5t.py_create(dtype, logical=True), h5s.create_simple(shape)
        made = h5d.create(self.file.id, name.encode(), kind, space, create, links)
        self.file[name].attrs.update(attrs)
        offset = made.get_offset() or 0
        self._streams.append((offset, blocks))
        self.datasets[name] = {"offset": offset, "shape": list(shape), "dtype": dtype.str}

    def compress(
        self,
        name: str,
        array: np.ndarray,
        chunks: tuple[int, int],
        filters: Mapping[str, Any],
        attrs: Mapping[str, Any] = {},
    ) -> None:
        """Add `array` as a data set of filtered chunks, which are held in memory until written.

        Its entry in `datasets` has "pieces": for each chunk, first row, first column, offset, size
        and checksum.
        """
        made = self.file.create_dataset(
            name, data=array, chunks=chunks, track_times=False, **filters
        )
        made.attrs.update(attrs)
        made.flush()
        pieces = []
        for i in range(made.id.get_num_chunks()):
            piece = made.id.get_chunk_info(i)
            data = bytearray(piece.size)
            self._memory.seek(piece.byte_offset)
            self._memory.readinto(data)
            pieces.append([*piece.chunk_offset, piece.byte_offset, piece.size, checksum(data)])
        self.datasets[name] = {
            "chunks": list(chunks),
            "shape": list(array.shape),
            "dtype": array.dtype.str,
            "pieces": pieces,
        }

    def write(self, descriptor: int) -> int:
        """Close the HDF5 file, write it to `descriptor` and return its length in bytes."""
        self.file.close()
        end = self._memory.end
        for page, held in sorted(self._memory.pages.items()):
            start = page * _PAGE
            write_at(descriptor, memoryview(held)[: max(0, min(_PAGE, end - start))], start)
        for offset, blocks in self._streams:
            for block in blocks:
                if block.nbytes:
                    write_at(descriptor, block.data.cast("B"), offset)
                offset += block.nbytes
        os.ftruncate(descriptor, end)
        return end

    def close(self) -> None:
        """Let go of the memory; harmless after `write`."""
        self.file.close()
        self._streams.clear()
        self._memory.pages.clear()
