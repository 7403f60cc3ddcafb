"""An exported model in Python: load it, predict with it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.decode import read_image, resize_pixels
from featx.deploy.formats import format_of_file
from featx.deploy.images import PathLike, find_images
from featx.deploy.spec import OUTPUT, ModelSpec
from featx.engines import Runner
from featx.errors import DeployError, ImageError, SpecError
from featx.extraction.pipeline import decode_threads
from featx.records import ImageSpec


@dataclass(frozen=True)
class PredictionRecord:
    """What a model says of one image.

    Attributes
    ----------
    path : str
        The file; of an array its number, "0", "1", …
    probabilities : ndarray of shape (n_classes,), float32, or None
        None where the image could not be read.
    error : str
        Why it could not; else "".
    """

    path: str
    probabilities: np.ndarray | None
    error: str = ""


@dataclass(frozen=True)
class Predictions:
    """Predictions of several images, in the order asked for.

    Attributes
    ----------
    classes : tuple of str
    paths : tuple of str
        Of the images that could be read; of arrays their numbers.
    probabilities : ndarray of shape (n, n_classes), float32
    errors : dict of str to str
        Path to reason, of images that could not be read.
    """

    classes: tuple[str, ...]
    paths: tuple[str, ...]
    probabilities: np.ndarray
    errors: dict[str, str]

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def labels(self) -> tuple[str, ...]:
        """The most probable class an image."""
        return tuple(self.classes[i] for i in self.probabilities.argmax(axis=1))

    def to_records(self, top: int = 1) -> list[dict[str, Any]]:
        """Return a dict an image and rank: path, rank, class, probability.

        >>> pandas.DataFrame(model.predict("photos").to_records(top=3))  # doctest: +SKIP
        """
        return [
            {"path": path, "rank": rank, "class": name, "probability": value}
            for path, row in zip(self.paths, self.probabilities, strict=True)
            for rank, (name, value) in enumerate(best_classes(self.classes, row, top), 1)
        ]


class DeployedModel:
    """A model that `featx export` made.

    Attributes
    ----------
    path : Path
    spec : ModelSpec
        What it says of itself.
    classes : tuple of str
    image : ImageSpec
        The pixels that it takes.
    """

    def __init__(self, path: Path, spec: ModelSpec, runner: Runner) -> None:
        self.path, self.spec, self._runner = path, spec, runner

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, in the order of the probabilities."""
        return self.spec.classes

    @property
    def image(self) -> ImageSpec:
        """Size and resize rule of the input."""
        return self.spec.image

    def predict(self, images: Any, *, strict: bool = False) -> Predictions:
        """Predict images.

        Parameters
        ----------
        images : path, array, or a sequence of them
            Files, folders and globs; or uint8 RGB arrays of shape (height, width, 3), or one of
            shape (n, height, width, 3), resized as files are.
        strict : bool
            Stop at the first image that cannot be read.

        Returns
        -------
        Predictions

        Raises
        ------
        ImageError
            With `strict`.
        SpecError
            Arrays of another shape or dtype.
        """
        one = isinstance(images, (str, os.PathLike)) or getattr(images, "ndim", 0) == 3
        given: Sequence[Any] = [images] if one else images
        arrays = [isinstance(image, np.ndarray) for image in given]
        if any(arrays):
            if not all(arrays):
                raise SpecError("Paths and arrays are mixed: predict them one after the other.")
            found = self._run(_named_arrays(given), self._fit)
        else:
            found = self.stream(given)
        records = []
        for record in found:
            if strict and record.error:
                raise ImageError(record.error, record.path)
            records.append(record)
        rows = [r.probabilities for r in records if r.probabilities is not None]
        return Predictions(
            self.classes,
            tuple(r.path for r in records if not r.error),
            np.stack(rows) if rows else np.zeros((0, len(self.classes)), np.float32),
            {r.path: r.error for r in records if r.error},
        )

    def stream(self, paths: Iterable[PathLike]) -> Iterator[PredictionRecord]:
        """Predict files one by one, in order; decoding goes on beside, memory stays flat.

        Parameters
        ----------
        paths : iterable of path
            Files, folders and globs (`featx.deploy.images.find_images`).

        Yields
        ------
        PredictionRecord
        """
        return self._run(((path, path) for path in find_images(paths)), self._read)

    def _read(self, path: str) -> np.ndarray:
        if os.path.isdir(path):
            raise ImageError("the folder cannot be read", path)
        return read_image(path, self.image)

    def _fit(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
            raise SpecError(
                f"Images are uint8 RGB of shape (height, width, 3); received {pixels.dtype} "
                f"{pixels.shape}."
            )
        wanted = (self.image.height, self.image.width, 3)
        return pixels if pixels.shape == wanted else resize_pixels(pixels, self.image)

    def _run(self, items: Iterator[tuple[str, Any]], decode: Any) -> Iterator[PredictionRecord]:
        entries: deque[list[tuple[str, str]]] = deque()  # (path, error) of each batch, in order
        threads = decode_threads()
        with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
            try:
                batches = self._batches(_decoded(pool, items, decode, self._window), entries)
                for found in self._runner.stream(batches):
                    rows = iter(found[OUTPUT])
                    for path, error in entries.popleft():
                        yield PredictionRecord(path, None if error else next(rows), error)
            finally:
                pool.shutdown(wait=False, cancel_futures=True)

    @property
    def _window(self) -> int:
        return 2 * decode_threads() + 2 * self._runner.batch_size

    def _batches(
        self,
        decoded: Iterator[tuple[str, np.ndarray | str]],
        entries: deque[list[tuple[str, str]]],
    ) -> Iterator[np.ndarray]:
        """Yield batches of good images; note the path and error of each image between."""
        shape = (0, self.image.height, self.image.width, 3)
        pixels: list[np.ndarray] = []
        seen: list[tuple[str, str]] = []
        for path, image in decoded:
            bad = isinstance(image, str)
            seen.append((path, str(image) if bad else ""))
            if not isinstance(image, str):
                pixels.append(image)
            if len(pixels) == self._runner.batch_size or len(seen) == 8 * self._runner.batch_size:
                entries.append(seen)
                yield np.stack(pixels) if pixels else np.zeros(shape, np.uint8)
                pixels, seen = [], []
        if seen:
            entries.append(seen)
            yield np.stack(pixels) if pixels else np.zeros(shape, np.uint8)


def load_model(path: str | os.PathLike[str]) -> DeployedModel:
    """Load an exported model of any format.

    Parameters
    ----------
    path : path
        A .keras, .onnx or .xml (OpenVINO) file, or a SavedModel folder.

    Returns
    -------
    DeployedModel

    Raises
    ------
    DeployError
        There is none, it is damaged, or its runtime is not installed (names the pip command).

    Examples
    --------
    >>> model = load_model("model.keras")  # doctest: +SKIP
    >>> model.predict("photos").labels  # doctest: +SKIP
    """
    file = Path(path)
    found = format_of_file(file)
    command = found.missing(to_export=False)
    if command is not None:
        raise DeployError(f"{file} needs a runtime that is not installed. Run: {command}")
    spec, runner = found.load(file)
    return DeployedModel(file, spec, runner)


def best_classes(
    classes: Sequence[str], probabilities: np.ndarray, top: int
) -> list[tuple[str, float]]:
    """Return the `top` most probable classes, best first; the earlier of equals first."""
    order = np.argsort(-probabilities, kind="stable")[:top]
    return [(classes[i], float(probabilities[i])) for i in order]


def _named_arrays(arrays: Iterable[np.ndarray]) -> Iterator[tuple[str, np.ndarray]]:
    return ((str(number), array) for number, array in enumerate(arrays))


def _decoded(
    pool: ThreadPoolExecutor, items: Iterator[tuple[str, Any]], decode: Any, window: int
) -> Iterator[tuple[str, np.ndarray | str]]:
    """Yield (path, pixels or the reason why not) in order, `window` images ahead at most."""
    waiting: deque[tuple[str, Future[np.ndarray]]] = deque()

    def settle() -> tuple[str, np.ndarray | str]:
        path, future = waiting.popleft()
        try:
            return path, future.result()
        except ImageError as error:
            return path, error.reason

    for path, item in items:
        waiting.append((path, pool.submit(decode, item)))
        if len(waiting) >= window:
            yield settle()
    while waiting:
        yield settle()
