"""Indexing: which kind a data set is, its images, labels and digests, and what is wrong with it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from featx.datasets.digest import digest_entries
from featx.datasets.kinds import EntryColumns, Listing, find_kind
from featx.datasets.workdir import Progress, WorkDir, no_progress
from featx.errors import DatasetError, SpecError
from featx.records import DatasetIndex, Samples


def index_dataset(
    data: str | os.PathLike[str],
    *,
    work_dir: Path,
    name: str | None = None,
    progress: Progress | None = None,
) -> DatasetIndex:
    """List the images of a data set with their labels, splits and digests.

    Parameters
    ----------
    data : str or path
        A folder, ``"digits"``, ``"cifar10"``, ``"cifar100"``, a .csv manifest, an .npz file, or an
        archive of any of these. The three names win over folders of that name; write ``./digits``
        for the folder.
    work_dir : Path
        Where images out of arrays and archives, and the digests of files, are kept between runs.
    name : str, optional
        Name of the data set; else it is taken from `data`.
    progress : callable, optional
        ``progress(stage, done, total)``, called now and then; `total` is 0 where not known.

    Returns
    -------
    DatasetIndex
        Samples in the order of their paths.

    Raises
    ------
    DatasetError
        There is no such data set, or it is unfit: empty, one class, a class that has test images
        only, and the like.
    ArchiveError
        An archive is damaged or reaches outside its target.
    SpecError
        `name` is not fit for a folder name.
    """
    text = os.fspath(data) if isinstance(data, str) else _as_path(data)
    if name is not None and name != _fit(name):
        raise SpecError(
            f"The data set name {name!r} is not fit for a folder: use letters, digits, '-', '_' "
            "and '.'."
        )
    workdir = WorkDir(Path(work_dir), progress or no_progress)
    listing = find_kind(text).list_images(text, workdir)
    _refuse_empty(text, listing)
    entries = listing.entries.build()
    digests, failed = digest_entries(text, listing.root, entries, workdir)
    samples = Samples(entries.relpaths, entries.labels, entries.splits, digests, entries.groups)
    if failed:
        samples = samples.take(digests.array != b"")
    classes = tuple(_sorted_classes(column.names) for column in entries.labels)
    _refuse_unfit(text, listing, entries, classes)
    return DatasetIndex(
        name=name or default_name(text),
        root=listing.root,
        classes=classes,
        samples=samples,
        targets=listing.targets,
        unreadable=tuple(sorted([*listing.unreadable, *failed])),
        ignored=len(listing.ignored),
    )


def default_name(data: str) -> str:
    """Return a name for a data set, fit for a folder.

    >>> default_name("/data/My photos/"), default_name("food-101.tar.gz"), default_name("digits")
    ('My_photos', 'food-101', 'digits')
    """
    path = os.path.abspath(os.path.expanduser(data))
    stem = os.path.basename(path)
    if not os.path.isdir(path):
        stem = re.sub(r"(\.tar)?\.[A-Za-z0-9]{1,4}$", "", stem)
    return _fit(stem)


def _fit(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:80].lstrip(".-") or "dataset"


def _as_path(data: os.PathLike[str]) -> str:
    """Return the text of a path object, which means a path even where it is called "digits"."""
    return os.path.abspath(os.fsdecode(os.fspath(data)))


def _sorted_classes(labels: Iterable[str]) -> tuple[str, ...]:
    names = set(labels)
    if all(re.fullmatch(r"[+-]?[0-9]+", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def _refuse_empty(data: str, listing: Listing) -> None:
    if listing.entries:
        return
    seen = Counter(os.path.splitext(path)[1].lower() or "none" for path in listing.ignored)
    common = ", ".join(suffix for suffix, _ in seen.most_common(3))
    if listing.unreadable:
        path, reason = listing.unreadable[0]
        raise DatasetError(f"None of the images of {data!r} can be read, {path!r}: {reason}.")
    also = f" ({len(listing.ignored)} other files, with suffix {common})" if common else ""
    raise DatasetError(
        f"No images in {data!r}{also}: give a folder with one folder of images for each class."
    )


def _refuse_unfit(
    data: str, listing: Listing, entries: EntryColumns, classes: tuple[tuple[str, ...], ...]
) -> None:
    for i, (target, names) in enumerate(zip(listing.targets, classes, strict=True)):
        if len(names) == 1:
            raise DatasetError(
                f"{data!r} has one class only, {names[0]!r}{_of(listing, target)}: two or more are "
                f"needed.{_inner_hint(listing, names[0])}"
            )
        sides = _sides(entries, i)
        for side in ("test", "val"):
            for label in sorted(sides[side] - sides["train"] - sides[""]):
                raise DatasetError(
                    f"Class {label!r}{_of(listing, target)} of {data!r} has {side} images but "
                    "none to train on: add some, or check the spelling of the class."
                )


def _sides(entries: EntryColumns, column: int) -> dict[str, set[str]]:
    sides: dict[str, set[str]] = {"train": set(), "val": set(), "test": set(), "": set()}
    labels, splits = entries.labels[column], entries.splits
    pairs = np.unique(labels.codes.astype(np.int64) * len(splits.names) + splits.codes)
    for label, split in zip(*np.divmod(pairs, len(splits.names)), strict=True):
        sides[splits.names[split]].add(labels.names[label])
    return sides


def _of(listing: Listing, target: str) -> str:
    return f" in column {target!r}" if len(listing.targets) > 1 else ""


def _inner_hint(listing: Listing, name: str) -> str:
    """Point to the folder inside, where somebody named the one above their data set."""
    inner = os.path.join(listing.root, name)
    if not os.path.isdir(inner) or sum(e.is_dir() for e in os.scandir(inner)) < 2:
        return ""
    return f" Did you mean {inner!r}?"
