"""Reading the features of an entry back, with labels and paths."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featx.columns import Digests, LateTexts
from featx.errors import CacheCorruptError, CacheMissError
from featx.records import FeatureSet
from featx.store.entry import CacheEntry
from featx.store.folders import VIEW, entry_folders, read_dataset
from featx.store.lazy import LazyFeatures, PartPool
from featx.store.mirror import fetch, local_entry
from featx.store.plan import NO_ROWS
from featx.store.view import View


def load_features(
    path: str | os.PathLike[str], tap: str = "avg", *, target: str | None = None, lazy: bool = False
) -> FeatureSet:
    """Read one tap of an entry, with labels and paths.

    Parameters
    ----------
    path : path or URL
        The entry's folder, or its cache.h5.
    tap : str
        Name of the tap.
    target : str, optional
        Name of the label column; the first where none is named.
    lazy : bool
        Leave the features on the disk: `FeatureSet.X` is a `LazyFeatures`.

    Raises
    ------
    CacheMissError
        No such entry or tap (those there are named), or rows that were lost to damage.
    CacheCorruptError
        What was read is not what was written; names file, tap and rows.
    SpecError
        There is no such label column.
    """
    file = local_entry(path)
    if file.is_dir():
        below = [str(folder) for folder in entry_folders(file)]
        if below and below != [str(file)]:
            raise CacheMissError(f"{file} is not an entry but holds some: {', '.join(below)}.")
        file = file / VIEW
    while True:
        view = View(file)  # stays open: paths are read when they are asked for
        try:
            return _load(view, tap, target, lazy)
        except CacheCorruptError:
            if not view.replaced():  # else its parts were merged since it was opened
                raise


def _load(view: View, tap: str, target: str | None, lazy: bool) -> FeatureSet:
    folder = view.path.parent
    if tap not in view.taps:
        raise CacheMissError(
            f"{folder} has no tap {tap!r}, it has: {', '.join(view.taps)}. "
            f"Run featx extract with --pooling {tap}."
        )
    column = view.column(target)
    places = view.places(tap)
    lost = int((places[:, 0] < 0).sum())
    if lost:
        raise CacheMissError(
            f"{lost} of {len(places)} rows of tap {tap!r} in {folder} were lost to damage. "
            "Run featx extract to compute them again."
        )
    parts = [folder / name for name in view.parts]
    fetch(parts)
    pool = PartPool(parts, view.seals)
    features = LazyFeatures(pool, tap, view.taps[tap], places)
    n = len(places)
    return FeatureSet(
        X=features if lazy else np.asarray(features),
        y=np.ascontiguousarray(view.labels()[:, column]),
        classes=view.classes()[column],
        paths=LateTexts(n, partial(view.texts, "paths")),
        splits=view.splits(),
        key=view.key,
        digests=view.digests(),
        groups=LateTexts(n, partial(view.texts, "groups")),
        dataset=view.header["dataset"],
        tap=tap,
        target=view.targets[column],
        provenance={**view.header["provenance"], "root": _root(folder)},
    )


def load_rows(entry: CacheEntry, tap: str, digests: Sequence[str], *, lazy: bool = False) -> Any:
    """Read the rows of images by their digests, whether or not a view shows them.

    Parameters
    ----------
    entry : CacheEntry
    tap : str
    digests : sequence of str
    lazy : bool
        Leave the rows on the disk.

    Returns
    -------
    ndarray of shape (n, width), float32, or LazyFeatures
        In the order of `digests`.

    Raises
    ------
    CacheMissError
        A row is not there.
    CacheCorruptError
        What was read is not what was written.
    """
    wanted = Digests.of(digests)
    for last in (False, False, True):
        state = entry.state()
        places = state.rows.get(tap, NO_ROWS).places(wanted)
        missing = int((places[:, 0] < 0).sum())
        if missing:
            raise CacheMissError(
                f"{entry.path} has no row of tap {tap!r} for {missing} of {len(digests)} "
                "images. Run featx extract."
            )
        try:
            pool = PartPool([entry.parts_dir / name for name in state.parts], state.seals)
            found = LazyFeatures(pool, tap, state.shapes[tap], places)
            return found if lazy else np.asarray(found)
        except CacheCorruptError:
            if last or all((entry.parts_dir / name).exists() for name in state.parts):
                raise  # else parts were merged since they were listed
    raise AssertionError


def _root(folder: Path) -> str:
    """Return where the images of an entry lie, as far as its data set's folder says."""
    try:
        return str(read_dataset(folder.parent).get("root", ""))
    except CacheCorruptError:
        return ""  # of use to show images, no more: features are read without it
