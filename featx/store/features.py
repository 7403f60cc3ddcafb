"""Reading features back: whole taps, chosen rows, column blocks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import CacheCorruptError, CacheMissError, SpecError
from featx.records import ExtractionKey, FeatureSet
from featx.registry import near_misses
from featx.store.folders import VIEW
from featx.store.part import Part, TapShape
from featx.store.sealed import SealedFile
from featx.store.view import runs

BLOCK_BYTES = 64 << 20


class LazyFeatures:
    """Features of one tap, read when asked for; checked as they are read.

    Attributes
    ----------
    shape : (int, int)
        Rows and width.
    dtype : dtype
        Of what is returned: float32, also where float16 is stored.
    ndim : int
        2.
    """

    ndim = 2

    def __init__(self, parts: list[Part], tap: str, shape: TapShape, places: np.ndarray) -> None:
        self._parts, self._tap, self._places = parts, tap, places
        self._stored = np.dtype(shape.dtype).newbyteorder("<")
        self.shape = (len(places), shape.width)
        self.dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if copy is False:
            raise ValueError("features on the disk cannot be given without a copy")
        out = self._range(0, len(self))
        return out if dtype is None else out.astype(dtype, copy=False)

    def rows(self, indices: Any) -> np.ndarray:
        """Return the rows `indices` (k,), in that order, as (k, width) float32.

        Raises
        ------
        IndexError
            An index outside 0 to n - 1.
        CacheCorruptError
        """
        wanted = np.asarray(indices, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"rows {wanted.min()} to {wanted.max()} asked of {len(self)}")
        out = np.empty((len(wanted), self.shape[1]), self._stored)
        for i, (part, row) in enumerate(self._places[wanted].tolist()):
            self._parts[part].read_into(self._tap, row, out[i : i + 1])
        return out.astype(self.dtype, copy=False)

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Return the columns `start` to `stop` of all rows as (n, stop - start) float32."""
        if not 0 <= start <= stop <= self.shape[1]:
            raise IndexError(f"columns {start} to {stop} asked of {self.shape[1]}")
        return np.concatenate([block[:, start:stop] for _, block in self.row_blocks()])

    def row_blocks(self, block_bytes: int = BLOCK_BYTES) -> Iterator[tuple[slice, np.ndarray]]:
        """Give (rows, features) in blocks of about `block_bytes`, in order."""
        step = max(1, block_bytes // (self.shape[1] * self.dtype.itemsize))
        for start in range(0, len(self), step):
            stop = min(start + step, len(self))
            yield slice(start, stop), self._range(start, stop)

    def _range(self, start: int, stop: int) -> np.ndarray:
        out = np.empty((stop - start, self.shape[1]), self._stored)
        for first, count, part, row in runs(self._places[start:stop]):
            self._parts[part].read_into(self._tap, row, out[first : first + count])
        return out.astype(self.dtype, copy=False)


def load_features(
    path: str | os.PathLike[str], tap: str = "avg", *, target: str | None = None, lazy: bool = False
) -> FeatureSet:
    """Read one tap of an entry, with labels and paths.

    Parameters
    ----------
    path : path
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
        No such entry or tap; those there are named.
    CacheCorruptError
        What was read is not what was written.
    """
    file = Path(path)
    if file.is_dir():
        file = file / VIEW
    with SealedFile(file) as view:
        header = view.header
        if header.get("kind") != "view":
            raise CacheMissError(f"{file} is not a view but a {header.get('kind')}: open cache.h5.")
        if tap not in header["taps"]:
            there = ", ".join(header["taps"])
            raise CacheMissError(
                f"{file.parent} has no tap {tap!r}, it has: {there}. "
                f"Run featx extract with --pooling {tap}."
            )
        targets = header["targets"]
        if target is not None and target not in targets:
            near = near_misses(target, targets)
            hint = f" Did you mean {near[0]!r}?" if near else f" It has: {', '.join(targets)}."
            raise SpecError(f"{file.parent} has no label column {target!r}.{hint}")
        column = targets.index(target) if target is not None else 0
        labels = view.array("labels")
        digests = tuple(d.decode() for d in view.array("digests").tolist())
        splits = view.array("splits").astype("U5")
        places = view.array(f"rows/{tap}")
        with view.hdf5() as hdf5:
            paths, groups = _texts(hdf5["paths"]), _texts(hdf5["groups"])
            classes = hdf5["classes"] if len(targets) == 1 else hdf5["classes"][targets[column]]
            names = _texts(classes)
        parts = [
            _open_part(file.parent / name, seal)
            for name, seal in zip(header["parts"], header["seals"], strict=True)
        ]
    shape = TapShape(tuple(header["taps"][tap]["shape"]), header["taps"][tap]["dtype"])
    features = LazyFeatures(parts, tap, shape, places)
    return FeatureSet(
        X=features if lazy else np.asarray(features),
        y=labels if labels.ndim == 1 else np.ascontiguousarray(labels[:, column]),
        classes=names,
        paths=paths,
        splits=splits,
        key=ExtractionKey.from_json(header["key"]),
        digests=digests,
        groups=groups,
        dataset=header["dataset"],
        tap=tap,
        target=targets[column],
        provenance=header["provenance"],
    )


def _texts(dataset: Any) -> tuple[str, ...]:
    return tuple(t.decode("utf-8", "surrogateescape") for t in dataset[:])


def _open_part(path: Path, seal: str) -> Part:
    try:
        part = Part(path)
    except CacheMissError:
        raise CacheCorruptError(
            f"{path} is missing. Run featx cache repair, then extract again.", str(path)
        ) from None
    if part.seal != seal:
        part.close()
        raise part.corrupt("is not the part that the view was made of")
    return part
