"""What a kind of data set is, the registry of them, and what they hand back."""

from __future__ import annotations

import contextlib
import os
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np

from featx.columns import Coded, CodedBuilder, Texts, TextsBuilder
from featx.datasets.workdir import WorkDir
from featx.errors import DatasetError
from featx.registry import Registry, near_misses

_WORD = (1 << 64) - 1


class Entry(NamedTuple):
    """One image file found, before its bytes are looked at.

    `fingerprint` is the file's (size, mtime_ns, ctime_ns, inode), by which the stat cache knows it.
    """

    relpath: str
    labels: tuple[str, ...]
    split: str
    group: str
    fingerprint: tuple[int, int, int, int]


class EntryColumns(NamedTuple):
    """Entries by their columns, in the order of their paths.

    `marks` holds the fingerprints: (n, 4) uint64.
    """

    relpaths: Texts
    labels: tuple[Coded, ...]
    splits: Coded
    groups: Coded
    marks: np.ndarray


class Entries:
    """Entries as they are found: about 60 bytes and the path for each."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self._paths, self._marks = TextsBuilder(), array("Q")
        self._labels: list[CodedBuilder] = []
        self._splits, self._groups = CodedBuilder(), CodedBuilder()
        for entry in entries:
            self.append(entry)

    def __len__(self) -> int:
        return len(self._paths)

    def append(self, entry: Entry) -> None:
        """Add one."""
        if not len(self):
            self._labels = [CodedBuilder() for _ in entry.labels]
        self._paths.append(entry.relpath)
        for column, label in zip(self._labels, entry.labels, strict=True):
            column.append(label)
        self._splits.append(entry.split)
        self._groups.append(entry.group)
        self._marks.extend(entry.fingerprint)

    def rename(self, name: Callable[[str], str]) -> None:
        """Give each entry the path that `name` makes of its path."""
        before, self._paths = self._paths.build(), TextsBuilder()
        for relpath in before:
            self._paths.append(name(relpath))

    def build(self) -> EntryColumns:
        """Return the columns, in the order of their paths; no more can be added."""
        columns = EntryColumns(
            self._paths.build(),
            tuple(column.build() for column in self._labels),
            self._splits.build(),
            self._groups.build(),
            np.frombuffer(self._marks, np.uint64).reshape(-1, 4),
        )
        if self._paths.ascending:
            return columns
        paths = list(columns.relpaths)
        order = np.array(sorted(range(len(paths)), key=paths.__getitem__), np.int64)
        return EntryColumns(
            columns.relpaths.take(order),
            tuple(column.take(order) for column in columns.labels),
            columns.splits.take(order),
            columns.groups.take(order),
            columns.marks[order],
        )


@dataclass
class Listing:
    """What an indexer found below `root`; see `featx.records.DatasetIndex` for the terms."""

    root: str
    targets: tuple[str, ...] = ("class",)
    entries: Entries = field(default_factory=Entries)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    ignored: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class DatasetKind:
    """A kind of data set.

    Attributes
    ----------
    summary : str
        One line for listings.
    claims : callable
        `claims(data) -> bool`: is this text or path of this kind? Cheap and free of side effects.
    list_images : callable
        `list_images(data, workdir) -> Listing`; raises DatasetError.
    """

    summary: str
    claims: Callable[[str], bool]
    list_images: Callable[[str, WorkDir], Listing]


KINDS: Registry[DatasetKind] = Registry("kind of data set", hint="See: featx list datasets")
"""All kinds; the first one that claims a data set gets it, so the special come before the general.
"""


def find_kind(data: str) -> DatasetKind:
    """Return the first kind that claims `data`.

    Raises
    ------
    DatasetError
        None does: there is no such path, or the file is of an unknown kind.
    """
    for name in KINDS:
        kind = KINDS.get(name)
        if kind.claims(data):
            return kind
    raise DatasetError(_why_unclaimed(data))


def fingerprint(stat: os.stat_result) -> tuple[int, int, int, int]:
    """Return (size, mtime_ns, ctime_ns, inode) of a file, each modulo 2**64."""
    return (
        stat.st_size,
        stat.st_mtime_ns & _WORD,  # below zero before 1970
        stat.st_ctime_ns & _WORD,
        stat.st_ino & _WORD,
    )


def _why_unclaimed(data: str) -> str:
    path = Path(data).expanduser()
    takes = (
        "a folder of class folders, digits, cifar10, cifar100, a .csv manifest, .npz arrays, or a "
        ".zip or .tar of these"
    )
    if path.exists():
        return f"Cannot tell what data set {data!r} is. featx takes {takes}."
    near = near_misses(data, ["digits", "cifar10", "cifar100"])
    if not near:
        with contextlib.suppress(OSError):
            siblings = near_misses(path.name, os.listdir(path.parent))
            near = [str(path.parent / name) for name in siblings]
    hint = f" Did you mean {near[0]!r}?" if near else f" featx takes {takes}."
    return f"No such data set: {data!r}.{hint}"
