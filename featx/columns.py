"""Columns of text: millions of paths and digests at the cost of their bytes.

A Python string takes some 50 bytes beside its letters, a tuple or dictionary of them 10 to 100 more
each. What a data set and a cache say of every image is therefore kept in columns, which are
sequences of str to whoever reads one and arrays to whoever works on all.
"""

from __future__ import annotations

import itertools
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Self, overload

import numpy as np

DIGEST_BYTES = 64
_BLOCK = 1 << 16
# Odd numbers without pattern: a digest's hash is the sum of its eight words times these.
_MIX = np.random.default_rng(0x5EED).integers(1, 1 << 63, 8, np.uint64) * np.uint64(2) + np.uint64(
    1
)


class Column(Sequence[str]):
    """A sequence of str kept as something smaller."""

    @overload
    def __getitem__(self, at: int) -> str: ...
    @overload
    def __getitem__(self, at: slice) -> Self: ...
    def __getitem__(self, at: int | slice) -> str | Self:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        if not -len(self) <= at < len(self):
            raise IndexError(f"row {at} of {len(self)}")
        return self._text(int(at) % len(self))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (tuple, list, Column)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        shown = ", ".join(map(repr, self[:3])) + (", …" if len(self) > 3 else "")
        return f"<{type(self).__name__} of {len(self)}: {shown}>"

    def _text(self, row: int) -> str:
        raise NotImplementedError

    def take(self, rows: np.ndarray) -> Self:
        """Return the texts of `rows` (numbers, or a mask) as a column."""
        raise NotImplementedError


class Texts(Column):
    """Texts of any length, UTF-8 with other bytes kept (`os.fsdecode`), in one piece.

    Attributes
    ----------
    blob : ndarray of uint8
        All texts, a NUL after each.
    offsets : ndarray of shape (n + 1,), int64
        Where in `blob` each begins.
    """

    def __init__(self, blob: np.ndarray, offsets: np.ndarray) -> None:
        self.blob, self.offsets = blob, offsets

    @classmethod
    def of(cls, texts: Iterable[str]) -> Texts:
        """Return `texts` as a column."""
        if isinstance(texts, Texts):
            return texts
        if isinstance(texts, Coded):
            return texts.spelled()
        builder = TextsBuilder()
        for text in texts:
            builder.append(text)
        return builder.build()

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def _text(self, row: int) -> str:
        start, stop = self.offsets[row : row + 2].tolist()
        return self.blob[start : stop - 1].tobytes().decode("utf-8", "surrogateescape")

    def __iter__(self) -> Iterator[str]:
        for block in self.encoded():
            for data in block:
                yield data.decode("utf-8", "surrogateescape")

    def encoded(self) -> Iterator[list[bytes]]:
        """Give the texts as bytes, in blocks."""
        for first in range(0, len(self), _BLOCK):
            offsets = self.offsets[first : first + _BLOCK + 1]
            low = int(offsets[0])
            data = self.blob[low : int(offsets[-1])].tobytes()
            at = (offsets - low).tolist()
            yield [data[a : b - 1] for a, b in itertools.pairwise(at)]

    def take(self, rows: np.ndarray) -> Self:
        """Return the texts of `rows` (numbers, or a mask) as a column."""
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        lengths = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        blob = np.empty(int(offsets[-1]), np.uint8)
        for first in range(0, len(rows), _BLOCK):
            part = slice(first, first + _BLOCK)
            low, high = int(offsets[first]), int(offsets[min(first + _BLOCK, len(rows))])
            shift = self.offsets[rows[part]] - offsets[:-1][part]
            blob[low:high] = self.blob[np.repeat(shift, lengths[part]) + np.arange(low, high)]
        return type(self)(blob, offsets)

    def nbytes(self) -> int:
        """Return the bytes that the column takes."""
        return self.blob.nbytes + self.offsets.nbytes


def join_texts(blocks: Iterable[Sequence[bytes]]) -> Texts:
    """Return encoded texts, which come in blocks, as a column."""
    blob, offsets = bytearray(), [np.zeros(1, np.int64)]
    for block in blocks:
        lengths = np.fromiter(map(len, block), np.int64, len(block))
        offsets.append(len(blob) + np.cumsum(lengths + 1))
        if block:
            blob += b"\0".join(block)
            blob.append(0)
    return Texts(np.frombuffer(blob, np.uint8), np.concatenate(offsets))


def split_texts(joined: np.ndarray) -> Texts:
    """Return the column of texts in `joined` (uint8), which have a NUL between them."""
    blob = np.append(joined, np.uint8(0))
    return Texts(blob, np.concatenate([[0], np.flatnonzero(blob == 0) + 1]))


class TextsBuilder:
    """Gathers texts one by one; `ascending` says whether each was greater than the last."""

    def __init__(self) -> None:
        self._blob, self._ends = bytearray(), array("q", [0])
        self._last: str | None = None
        self.ascending = True

    def __len__(self) -> int:
        return len(self._ends) - 1

    def append(self, text: str) -> None:
        """Add one."""
        if self._last is not None and text <= self._last:
            self.ascending = False
        self._last = text
        self._blob += text.encode("utf-8", "surrogateescape")
        self._blob.append(0)
        self._ends.append(len(self._blob))

    def build(self) -> Texts:
        """Return the column; nothing is copied, and no more can be added."""
        return Texts(np.frombuffer(self._blob, np.uint8), np.frombuffer(self._ends, np.int64))


class LateTexts(Column):
    """Texts that are read when the first of them is asked for."""

    def __init__(self, n: int, read: Callable[[], Sequence[str]]) -> None:
        self._n, self._read = n, read
        self._texts: Sequence[str] | None = None

    def __len__(self) -> int:
        return self._n

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def _text(self, row: int) -> str:
        return self._all()[row]

    def __getitem__(self, at: Any) -> Any:
        return self._all()[at]

    def __reduce__(self) -> tuple[Any, ...]:
        return _same, (self._all(),)

    def _all(self) -> Sequence[str]:
        if self._texts is None:
            self._texts = self._read()
            del self._read  # and with it the file it reads
        return self._texts


def _same(texts: Sequence[str]) -> Sequence[str]:
    return texts


class Coded(Column):
    """Texts of which many are equal.

    Attributes
    ----------
    codes : ndarray of shape (n,), int32
        Index into `names`, a row each.
    names : tuple of str
        Different texts; some may belong to no row.
    """

    def __init__(self, codes: np.ndarray, names: tuple[str, ...]) -> None:
        self.codes, self.names = codes, names

    def __len__(self) -> int:
        return len(self.codes)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _BLOCK):
            for code in self.codes[first : first + _BLOCK].tolist():
                yield self.names[code]

    def _text(self, row: int) -> str:
        return self.names[self.codes[row]]

    def take(self, rows: np.ndarray) -> Self:
        """Return the texts of `rows` (numbers, or a mask) as a column."""
        return type(self)(self.codes[rows], self.names)

    def spelled(self) -> Texts:
        """Return each row's text in full."""
        names = [name.encode("utf-8", "surrogateescape") for name in self.names]
        return join_texts(
            [names[code] for code in self.codes[first : first + _BLOCK].tolist()]
            for first in range(0, len(self), _BLOCK)
        )

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """Return the index into `names` of each row's text, int32.

        Raises
        ------
        KeyError
            A text is not among them.
        """
        place = {name: i for i, name in enumerate(names)}
        used = np.zeros(len(self.names), bool)
        used[self.codes] = True
        new = [place[n] if u else -1 for n, u in zip(self.names, used.tolist(), strict=True)]
        return np.array(new, np.int32)[self.codes]


class CodedBuilder:
    """Gathers texts of which many are equal, one by one."""

    def __init__(self) -> None:
        self._codes, self._names = array("i"), dict[str, int]()

    def append(self, text: str) -> None:
        """Add one."""
        self._codes.append(self._names.setdefault(text, len(self._names)))

    def build(self) -> Coded:
        """Return the column; nothing is copied, and no more can be added."""
        return Coded(np.frombuffer(self._codes, np.int32), tuple(self._names))


class Digests(Column):
    """Image digests, of 1 to 64 ASCII characters each, or "".

    Attributes
    ----------
    array : ndarray of shape (n,), S64
    """

    def __init__(self, values: np.ndarray) -> None:
        self.array = values

    @classmethod
    def of(cls, digests: Iterable[str]) -> Digests:
        """Return `digests` as a column.

        Raises
        ------
        ValueError
            One is too long.
        """
        if isinstance(digests, Digests):
            return digests
        data = [d.encode() for d in digests]
        longest = max(map(len, data), default=0)
        if longest > DIGEST_BYTES:
            raise ValueError(f"a digest has {longest} characters, more than {DIGEST_BYTES}")
        return cls(np.array(data, f"S{DIGEST_BYTES}"))

    def __len__(self) -> int:
        return len(self.array)

    def __iter__(self) -> Iterator[str]:
        for first in range(0, len(self), _BLOCK):
            for data in self.array[first : first + _BLOCK].tolist():
                yield data.decode()

    def _text(self, row: int) -> str:
        return self.array[row].decode()

    def take(self, rows: np.ndarray) -> Self:
        """Return the digests of `rows` (numbers, or a mask) as a column."""
        if rows.dtype == bool and rows.all():
            return self
        return type(self)(self.array[rows])

    def distinct(self) -> Self:
        """Return each digest once, in the order first seen, "" left out."""
        return self.take(Finder(self).firsts & (self.array != b""))


class Finder:
    """Finds digests in a column of them, many at a time.

    By a sorted column of 64-bit hashes; what they find is compared in full.

    Attributes
    ----------
    firsts : ndarray of shape (n,), bool
        Which rows of the column hold a digest that no row before them holds.
    """

    def __init__(self, digests: Digests) -> None:
        self._digests = digests.array
        hashes = _hashes(self._digests)
        order = np.argsort(hashes, kind="stable")
        self._hashes = hashes[order]
        self._order = order.astype(np.int32) if len(order) < 1 << 31 else order
        self.firsts = np.ones(len(order), bool)
        twice = np.flatnonzero(self._hashes[1:] == self._hashes[:-1])
        if len(twice):
            rows = np.unique(self._order[np.concatenate([twice, twice + 1])])
            self.firsts[rows] = self.find(digests.take(rows)) == rows

    def find(self, wanted: Digests) -> np.ndarray:
        """Return the first row (m,), int64, that holds each of `wanted`; -1 where none does."""
        found = np.full(len(wanted), -1, np.int64)
        if not len(self._order):
            return found
        for start in range(0, len(wanted), 1 << 20):
            block = wanted.array[start : start + (1 << 20)]
            hashes = _hashes(block)
            todo = np.argsort(hashes)  # in order, so that memory is gone through in order
            at = np.searchsorted(self._hashes, hashes[todo])
            while len(todo):
                there = at < len(self._hashes)
                there[there] = self._hashes[at[there]] == hashes[todo[there]]
                todo, at = todo[there], at[there]
                rows = self._order[at]
                same = self._digests[rows] == block[todo]
                found[start + todo[same]] = rows[same]
                todo, at = todo[~same], at[~same] + 1  # another digest of the same hash
        return found


def _hashes(digests: np.ndarray) -> np.ndarray:
    words = np.ascontiguousarray(digests, f"S{DIGEST_BYTES}").view("<u8").reshape(-1, 8)
    total = np.zeros(len(digests), np.uint64)
    for number, factor in enumerate(_MIX):
        total += words[:, number] * factor
    return total
