"""Makes a frozen sample of the cache format; run once a format version, never again for an old one.

    PYTHONPATH=tests python tests/golden/make_cache.py cache-v1

Then nobody touches what it made: tests/store/test_store_golden.py reads it for ever after.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from fake_cache import extract, fake_key, make_index, many_files

from featx.records import DatasetIndex, Sample
from featx.store import load_features

HERE = Path(__file__).resolve().parent
TAPS = ("avg", "flatten", "block:avg")


def golden_index() -> DatasetIndex:
    """Eight images, one of them a duplicate, one with an odd name, one bad; two label columns."""
    files = many_files(6) | {"a/copy.jpg": 3, "b/ümlaut \udcff.jpg": "odd", "c/bad.jpg": "bad"}
    plain = make_index(files, root="/nowhere/toy")
    samples = tuple(
        Sample(s.relpath, (*s.labels, "yes" if i % 2 else "no"), s.split, s.digest, f"g{i // 3}")
        for i, s in enumerate(plain.samples)
    )
    classes = (*plain.classes, ("no", "yes"))
    return DatasetIndex("toy", plain.root, classes, samples, ("item", "recyclable"))


def main(name: str) -> None:
    folder = HERE / name
    for stored, compression in (("float32", "none"), ("float16", "blosc2")):
        options = {"key": fake_key(stored=stored), "compression": compression, "part_bytes": 1000}
        entry = extract(folder, golden_index(), TAPS, bad=["c/bad.jpg"], **options)
        arrays = {tap.replace(":", "_"): load_features(entry.path, tap).X for tap in TAPS}
        np.savez(folder / f"{stored}.npz", **arrays)


if __name__ == "__main__":
    main(sys.argv[1])
