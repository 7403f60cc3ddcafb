"""Arrays of pictures, written out as PNG files with a manifest beside them."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featx.datasets.kinds import Listing
from featx.datasets.manifest import list_manifest
from featx.datasets.workdir import WorkDir

MANIFEST = "manifest.csv"


@dataclass(frozen=True)
class Pictures:
    """Pictures of one split.

    Attributes
    ----------
    split : str
        "train", "val", "test" or "".
    pixels : ndarray of uint8, shape (n, height, width) or (n, height, width, 3 or 4)
        Grey, RGB or RGBA.
    labels : mapping of str to sequence of n str
        Class names a label column.
    """

    split: str
    pixels: np.ndarray
    labels: Mapping[str, Sequence[str]]


def list_pictures(workdir: WorkDir, key: str, load: Callable[[], Sequence[Pictures]]) -> Listing:
    """List the pictures under `key`, after writing what `load()` returns if that was never done."""
    folder = workdir.materialise(key, lambda draft: _write(draft, load(), workdir))
    return list_manifest(str(folder / MANIFEST))


def _write(folder: Path, parts: Sequence[Pictures], workdir: WorkDir) -> None:
    from PIL import Image

    total, done = sum(len(part.pixels) for part in parts), 0
    targets = list(parts[0].labels)
    with open(folder / MANIFEST, "w", newline="", encoding="utf-8") as file:
        manifest = csv.writer(file)
        manifest.writerow(["path", *targets, "split"])
        for part in parts:
            made: set[Path] = set()
            for row, labels in enumerate(zip(*part.labels.values(), strict=True)):
                # A readable folder a class; the manifest, not the folder, says what the class is.
                place = Path(
                    part.split, re.sub(r"[^A-Za-z0-9._-]+", "_", labels[0])[:80].strip(".")
                )
                if place not in made:
                    (folder / place).mkdir(parents=True, exist_ok=True)
                    made.add(place)
                path = place / f"{row:06d}.png"
                Image.fromarray(part.pixels[row]).save(folder / path, compress_level=1)
                manifest.writerow([path, *labels, part.split])
                done += 1
                if done % 500 == 0:
                    workdir.progress("write images", done, total)
    workdir.progress("write images", total, total)
