"""Data sets and caches of any number of rows, of which nothing but the pixels is missing."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from featx.columns import Digests, Texts
from featx.datasets.digest import Remembered, save_remembered, stat_cache_file
from featx.datasets.kinds import fingerprint
from featx.records import ExtractionKey, ImageSpec
from featx.store import CacheEntry

CLASSES = 100
WIDTH = 8
REAL_FILES = 100_000
LINKS = 50_000
"""Names that one file may have; file systems allow about 65,000."""
PART_ROWS = 32_263
"""Rows of a full part of 1,024 float32 numbers a row, so that there are as many parts."""


def relpath(i: int) -> str:
    """Return the path of image `i`: a class folder with numbered files."""
    return f"class_{i % CLASSES:03d}/image_{i // CLASSES:07d}.jpg"


def make_folder(folder: Path, n: int) -> Path:
    """Make a folder of class folders with `n` names of few small files; return it."""
    photos = folder / "photos"
    for c in range(CLASSES):
        (photos / f"class_{c:03d}").mkdir(parents=True)
    for i in range(n):
        if i % LINKS == 0:
            source = folder / f"file_{i}"
            source.write_bytes(os.urandom(400))
        os.link(source, photos / relpath(i))
    return photos


def remember_folder(photos: Path, work: Path, n: int) -> None:
    """Write the stat cache of a folder as it is once every file was read."""
    names = sorted(map(relpath, range(n)))
    _remember(photos, photos, work, names, _marks(photos, names))


def make_manifest(folder: Path, n: int, work: Path) -> Path:
    """Write a manifest of `n` paths, and its stat cache; return it.

    Its folders are links to one folder of at most `REAL_FILES` files.
    """
    real = min(n, REAL_FILES)
    photos = make_folder(folder, real)
    names = sorted(map(relpath, range(real)))
    marks = _marks(photos, names)
    manifest = folder / "photos.csv"
    paths: list[str] = []
    with open(manifest, "w", encoding="utf-8") as out:
        out.write("path,label\n")
        for start in range(0, n, real):
            linked = folder / f"block_{start // real:05d}"
            linked.symlink_to(photos.name)
            some = names[: n - start]
            out.writelines(f"{linked.name}/{name},{name[:9]}\n" for name in some)
            paths += (f"{linked.name}/{name}" for name in some)
    _remember(manifest, folder, work, paths, np.tile(marks, (-(-n // real), 1))[:n])
    return manifest


def _marks(photos: Path, names: list[str]) -> np.ndarray:
    return np.array([fingerprint(os.stat(f"{photos}/{name}")) for name in names], np.uint64)


def _remember(data: Path, root: Path, work: Path, paths: list[str], marks: np.ndarray) -> None:
    """Write a stat cache of made-up digests: two names of one file get two, as two photos would."""
    sums = np.random.default_rng(len(paths)).integers(0, 256, (len(paths), 32), np.uint8)
    found = Remembered(Texts.of(paths), marks, sums)
    save_remembered(stat_cache_file(str(data), str(root), work), found)


def make_entry(cache: Path, digests: Digests) -> CacheEntry:
    """Write a narrow row for every digest, in their order, in as many parts as a wide one makes."""
    key = ExtractionKey("mobilenet", {}, "0" * 64, "mobilenet", ImageSpec(224, 224))
    entry = CacheEntry.open(cache, "scale", key, create=True)
    rng = np.random.default_rng(0)
    part_bytes = PART_ROWS * (4 * WIDTH + 64)
    with (
        entry.claim(),
        entry.writer({"avg": (WIDTH,)}, part_bytes=part_bytes, part_seconds=1e9) as writer,
    ):
        for start in range(0, len(digests), PART_ROWS):
            some = digests[start : start + PART_ROWS]
            writer.append(list(some), {"avg": rng.random((len(some), WIDTH), np.float32)})
    return entry
