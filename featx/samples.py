"""The images of a data set, one by one or by their columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np

from featx.columns import Coded, CodedBuilder, Digests, Texts


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set.

    Attributes
    ----------
    relpath : str
        Path below the data set's root, with "/"; bytes that are not UTF-8 are kept as surrogates
        (`os.fsdecode`).
    labels : tuple of str
        One class name a target column, in the order of `DatasetIndex.targets`.
    split : str
        "train", "val", "test", or "" where the data set does not say.
    digest : str
        SHA-256 of the file's bytes, in hex; "" while unread or where the file cannot be read.
    group : str
        Images of one group stay on one side of a split; "" is a group of its own.
    """

    relpath: str
    labels: tuple[str, ...]
    split: str = ""
    digest: str = ""
    group: str = ""


class Samples(Sequence[Sample]):
    """Samples in columns: about 100 bytes and the path for each.

    Reading it gives `Sample` records; what works on all of them takes the columns.

    Attributes
    ----------
    relpaths : Texts
    labels : tuple of Coded
        A target column each.
    splits, groups : Coded
    digests : Digests
    """

    def __init__(
        self,
        relpaths: Texts,
        labels: tuple[Coded, ...],
        splits: Coded,
        digests: Digests,
        groups: Coded,
    ) -> None:
        self.relpaths, self.labels, self.splits = relpaths, labels, splits
        self.digests, self.groups = digests, groups

    @classmethod
    def of(cls, samples: Iterable[Sample]) -> Samples:
        """Return `samples` in columns.

        Raises
        ------
        ValueError
            They have different numbers of labels.
        """
        if isinstance(samples, Samples):
            return samples
        rows = list(samples)
        columns = list(zip(*(s.labels for s in rows), strict=True))
        return cls(
            Texts.of(s.relpath for s in rows),
            tuple(_coded(column) for column in columns),
            _coded(s.split for s in rows),
            Digests.of(s.digest for s in rows),
            _coded(s.group for s in rows),
        )

    def __len__(self) -> int:
        return len(self.relpaths)

    def __iter__(self) -> Iterator[Sample]:
        labels = zip(*self.labels, strict=True) if self.labels else (() for _ in range(len(self)))
        columns = (self.relpaths, labels, self.splits, self.digests, self.groups)
        return map(Sample, *columns)

    @overload
    def __getitem__(self, at: int) -> Sample: ...
    @overload
    def __getitem__(self, at: slice) -> Samples: ...
    def __getitem__(self, at: int | slice) -> Sample | Samples:
        if isinstance(at, slice):
            return self.take(np.arange(len(self))[at])
        labels = tuple(column[at] for column in self.labels)
        return Sample(self.relpaths[at], labels, self.splits[at], self.digests[at], self.groups[at])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, (tuple, list, Samples)):
            return NotImplemented
        return len(self) == len(other) and all(a == b for a, b in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<Samples: {len(self)}>"

    def take(self, rows: np.ndarray) -> Samples:
        """Return the samples of `rows` (numbers, or a mask)."""
        return Samples(
            self.relpaths.take(rows),
            tuple(column.take(rows) for column in self.labels),
            self.splits.take(rows),
            self.digests.take(rows),
            self.groups.take(rows),
        )


def _coded(texts: Iterable[str]) -> Coded:
    builder = CodedBuilder()
    for text in texts:
        builder.append(text)
    return builder.build()
