"""Images as rows: uint8 pixels of a data set, decoded as extraction decodes them.

The rows are those that `featx.extract` would cache: the same decoder and resize rule, and images
that cannot be decoded are left out in the same way, so that splits and test rows are the same too.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from featx.datasets import index_dataset
from featx.datasets.workdir import Progress
from featx.errors import DatasetError, ImageError, SpecError
from featx.extraction.pipeline import decode_file, decode_threads
from featx.extraction.request import source_text
from featx.memory import total_memory
from featx.records import DatasetIndex, FeatureSet, ImageSpec
from featx.registry import near_misses
from featx.store import local_cache, prepare_cache_dir

log = logging.getLogger("featx")

MEMORY_SHARE = 0.25
"""Share of the machine's memory up to which decoded images are held."""

AHEAD = 64
"""Images decoded at a time where they are not held."""


class ImageRows:
    """Images of a data set as a lazy array of shape (n, height, width, 3), uint8 RGB.

    Decoded images are held in memory where they fit, and are else decoded anew whenever they are
    asked for, by several threads. Equal files are decoded and held once.

    Parameters
    ----------
    files : sequence of (path, digest)
        A row each.
    image : ImageSpec
        Size and resize rule.
    memory_bytes : int
        Hold decoded images up to this size.

    Attributes
    ----------
    shape : (int, int, int, int)
    dtype : dtype
    held : bool
        Whether the images are held in memory.
    decode_seconds : float
        On the clock, of the pass over all images that `check` makes.
    """

    ndim = 4

    def __init__(
        self, files: Sequence[tuple[str, str]], image: ImageSpec, memory_bytes: int
    ) -> None:
        paths = {digest: path for path, digest in reversed(files)}
        place = {digest: i for i, digest in enumerate(paths)}
        self._files = [(path, digest) for digest, path in paths.items()]
        self._places = np.array([place[digest] for _, digest in files], np.int64)
        self._image = image
        self._pool: ThreadPoolExecutor | None = None
        self._pixels: np.ndarray | None = None
        self.shape = (len(files), image.height, image.width, 3)
        self.dtype = np.dtype(np.uint8)
        self.decode_seconds = 0.0
        size = len(self._files) * image.height * image.width * 3
        self.held = size <= memory_bytes

    def __len__(self) -> int:
        return self.shape[0]

    def __repr__(self) -> str:
        return f"<ImageRows {'×'.join(map(str, self.shape))}>"

    def check(self, progress: Progress | None = None) -> dict[str, str]:
        """Decode every image once, keeping those that decode where all fit in memory.

        Returns
        -------
        dict of str to str
            Digest to reason, of images that cannot be decoded.
        """
        started = time.perf_counter()
        bad = {}
        if self.held:
            self._pixels = np.zeros((len(self._files), *self.shape[1:]), np.uint8)
        for number, found in enumerate(self._decode(range(len(self._files)))):
            if isinstance(found, ImageError):
                bad[self._files[number][1]] = found.reason
            elif self._pixels is not None:
                self._pixels[number] = found
            if progress:
                progress("decode", number + 1, len(self._files))
        self.decode_seconds = time.perf_counter() - started
        return bad

    def without(self, rows: np.ndarray) -> ImageRows:
        """Return the images without `rows` (bool, one a row); what is held is shared."""
        rest = object.__new__(ImageRows)
        rest.__dict__.update(self.__dict__)
        rest._places = self._places[~rows]
        rest.shape = (len(rest._places), *self.shape[1:])
        return rest

    def rows(self, indices: Any) -> np.ndarray:
        """Return the images `indices` (k,), in that order, as uint8 (k, height, width, 3).

        Raises
        ------
        ImageError
            An image that could be decoded at first cannot be any more.
        """
        places = self._places[np.asarray(indices, np.int64)]
        if self._pixels is not None:
            return self._pixels[places]
        out = np.empty((len(places), *self.shape[1:]), np.uint8)
        for number, found in enumerate(self._decode(places.tolist())):
            if isinstance(found, ImageError):
                raise ImageError(found.reason, self._files[places[number]][0])
            out[number] = found
        return out

    def _decode(self, places: Sequence[int]) -> Iterator[np.ndarray | ImageError]:
        if self._pool is None:
            self._pool = ThreadPoolExecutor(decode_threads(), thread_name_prefix="decode")
        for start in range(0, len(places), AHEAD):
            yield from self._pool.map(self._decode_one, places[start : start + AHEAD])

    def _decode_one(self, place: int) -> np.ndarray | ImageError:
        path, digest = self._files[place]
        found, _ = decode_file(path, digest, {self._image})
        return found if isinstance(found, ImageError) else found[self._image]


def load_images(
    data: str | os.PathLike[str],
    *,
    image_size: tuple[int, int],
    target: str | None = None,
    cache_dir: str | os.PathLike[str] = "features",
    memory_bytes: int | None = None,
    progress: Progress | None = None,
) -> FeatureSet:
    """Return the images of a data set as rows, with what `featx.load_features` gives beside them.

    Parameters
    ----------
    data : str or path
        What `featx.extract` takes.
    image_size : (height, width)
        In pixels.
    target : str, optional
        Label column; the first where none is named.
    cache_dir : path
        Where images out of archives and arrays, and digests, are kept between runs.
    memory_bytes : int, optional
        Hold decoded images up to this size; default: `MEMORY_SHARE` of the machine's memory.
    progress : callable, optional
        ``progress(stage, done, total)``.

    Returns
    -------
    FeatureSet
        Of `ImageRows`. Rows, labels and order are those of the cached features of the same data
        set. Its provenance has "source", "root", "decode_seconds" and "quarantined", the images
        left out as (path, reason).

    Raises
    ------
    DatasetError
        As `featx.datasets.index_dataset`, or not one image can be decoded.
    SpecError
        There is no such label column.
    """
    root = local_cache(cache_dir)
    prepare_cache_dir(root)
    index = index_dataset(data, work_dir=root / ".sources", progress=progress)
    column = _column(index, target)
    samples = index.samples
    files = [(os.path.join(index.root, s.relpath), s.digest) for s in samples]
    if memory_bytes is None:
        memory_bytes = int(MEMORY_SHARE * (total_memory() or 2**32))
    X = ImageRows(files, ImageSpec(*image_size), memory_bytes)
    bad = X.check(progress)
    left_out = np.array([s.digest in bad for s in samples], bool)
    if left_out.all():
        raise DatasetError(
            f"None of the {len(samples)} images of {index.name} can be used. "
            f"The first, {samples[0].relpath!r}: {bad[samples[0].digest]}."
        )
    kept = [s for s in samples if s.digest not in bad]
    quarantined = [(s.relpath, bad[s.digest]) for s in samples if s.digest in bad]
    if quarantined:
        log.warning(
            "%d of %d images cannot be decoded and are left out; the first, %s: %s",
            len(quarantined),
            len(samples),
            *quarantined[0],
        )
    number = {name: i for i, name in enumerate(index.classes[column])}
    return FeatureSet(
        X=X.without(left_out),
        y=np.array([number[s.labels[column]] for s in kept], np.int32),
        classes=index.classes[column],
        paths=tuple(s.relpath for s in kept),
        splits=np.array([s.split for s in kept], "U5"),
        key=None,
        digests=tuple(s.digest for s in kept),
        groups=tuple(s.group for s in kept),
        dataset=index.name,
        target=index.targets[column],
        provenance={
            "source": source_text(data),
            "root": index.root,
            "decode_seconds": X.decode_seconds,
            "quarantined": [*quarantined, *index.unreadable],
        },
    )


def take_rows(X: Any, rows: np.ndarray) -> np.ndarray:
    """Return `rows` of an array or of lazy images."""
    return np.asarray(X.rows(rows)) if hasattr(X, "rows") else X[rows]


def iterate_ahead(X: Any, batches: Sequence[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the images of each of `batches` (row numbers), the next one being read meanwhile."""
    if not hasattr(X, "rows"):
        yield from (X[rows] for rows in batches)
        return
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as pool:
        following = None
        for rows in batches:
            current, following = following, pool.submit(X.rows, rows)
            if current is not None:
                yield current.result()
        if following is not None:
            yield following.result()


def _column(index: DatasetIndex, target: str | None) -> int:
    if target is None:
        return 0
    if target not in index.targets:
        near = near_misses(target, index.targets)
        hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(index.targets)}."
        raise SpecError(f"{index.name} has no label column {target!r}. {hint}")
    return index.targets.index(target)
