"""What a kind of data set is, the registry of them, and what they hand back."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from featx.datasets.workdir import WorkDir
from featx.errors import DatasetError
from featx.registry import Registry, near_misses


class Entry(NamedTuple):
    """One image file found, before its bytes are looked at.

    `fingerprint` is the file's (size, mtime_ns, ctime_ns, inode), by which the stat cache knows it.
    """

    relpath: str
    labels: tuple[str, ...]
    split: str
    group: str
    fingerprint: tuple[int, int, int, int]


@dataclass
class Listing:
    """What an indexer found below `root`; see `featx.records.DatasetIndex` for the terms."""

    root: str
    targets: tuple[str, ...] = ("class",)
    entries: list[Entry] = field(default_factory=list)
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
    """Return (size, mtime_ns, ctime_ns, inode) of a file."""
    return stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino


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
