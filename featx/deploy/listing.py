"""Predictions as text, one image after the other: lines, CSV and JSON."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO, Any

from featx.deploy.images import PathLike, find_images
from featx.deploy.loading import DeployedModel, PredictionRecord, best_classes
from featx.errors import DatasetError, DeployError
from featx.progress import Bars


class Counts:
    """How many images were predicted, and which could not be read.

    Attributes
    ----------
    images : int
        Predicted.
    errors : list of (path, reason)
    """

    def __init__(self) -> None:
        self.images = 0
        self.errors: list[tuple[str, str]] = []

    def require_all(self) -> None:
        """Raise DatasetError where images could not be read."""
        if self.errors:
            total = self.images + len(self.errors)
            raise DatasetError(
                f"{len(self.errors)} of {total} images could not be read; the others are predicted."
            )


def predict_files(
    model: DeployedModel,
    paths: Sequence[PathLike],
    counts: Counts,
    *,
    csv_path: str | os.PathLike[str] | None = None,
    top: int = 1,
    progress: bool = False,
) -> Iterator[PredictionRecord]:
    """Yield the prediction of every image, and write it to a CSV file as it comes.

    Parameters
    ----------
    model : DeployedModel
    paths : sequence of path
        Files, folders and globs.
    counts : Counts
        Brought up to date as images come.
    csv_path : path, optional
        Gets a line an image: path, class, probability, the next classes and probabilities up to
        `top`, and the error of an image that could not be read.
    top : int
    progress : bool

    Raises
    ------
    DatasetError
        There are no images.
    DeployError
        The CSV file cannot be written.
    """
    total = sum(1 for _ in find_images(paths))
    if not total:
        raise DatasetError(f"No images in {', '.join(os.fspath(path) for path in paths)}.")
    with ExitStack() as stack:
        bars = stack.enter_context(Bars(progress))
        writer = None
        if csv_path is not None:
            file = stack.enter_context(_open(Path(csv_path)))
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_header(min(top, len(model.classes))))
        for record in model.stream(paths):
            if record.error:
                counts.errors.append((record.path, record.error))
            else:
                counts.images += 1
            if writer is not None:
                writer.writerow(_row(model, record, top))
            bars.add("predict", 1, total)
            yield record


def format_line(model: DeployedModel, record: PredictionRecord, top: int) -> str:
    """Return path, class, probability, and the next ones up to `top`, with tabs between."""
    assert record.probabilities is not None
    found = best_classes(model.classes, record.probabilities, top)
    return "\t".join([record.path, *(f"{name}\t{value:.4f}" for name, value in found)])


def json_pieces(
    model: DeployedModel, records: Iterable[PredictionRecord], counts: Counts, top: int
) -> Iterator[str]:
    """Yield one JSON document piece by piece: "model", "classes", "predictions", "errors"."""
    yield f'{{"model": {json.dumps(os.fspath(model.path))},\n'
    yield f'"classes": {json.dumps(list(model.classes))},\n"predictions": ['
    comma = ""
    for record in records:
        if record.probabilities is not None:
            best = best_classes(model.classes, record.probabilities, top)
            found = [{"class": name, "probability": value} for name, value in best]
            yield f"{comma}\n" + json.dumps({"path": record.path, "top": found}, allow_nan=False)
            comma = ","
    errors = [{"path": path, "reason": reason} for path, reason in counts.errors]
    yield f'\n],\n"errors": {json.dumps(errors)}}}'


def _open(path: Path) -> IO[str]:
    try:
        return open(path, "w", newline="", encoding="utf-8", errors="surrogateescape")
    except OSError as error:
        raise DeployError(
            f"Cannot write {path}: {error.strerror}. Name another file with --csv."
        ) from error


def _header(top: int) -> list[str]:
    names = ["path", "class", "probability"]
    for rank in range(2, top + 1):
        names += [f"class_{rank}", f"probability_{rank}"]
    return [*names, "error"]


def _row(model: DeployedModel, record: PredictionRecord, top: int) -> list[Any]:
    if record.probabilities is None:
        return [record.path, *[""] * (2 * min(top, len(model.classes))), record.error]
    found = best_classes(model.classes, record.probabilities, top)
    return [record.path, *(v for name, p in found for v in (name, f"{p:.6g}")), ""]
