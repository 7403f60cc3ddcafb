"""Image files to measure with, made from scikit-learn's two sample photos."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np

SAMPLES = 64
"""Different pictures; further files are the same pixels in other bytes."""


def make_photos(
    folder: Path, count: int, height: int = 384, width: int = 512, quality: int = 90
) -> Path:
    """Write `count` JPEG files in two class folders, no two with the same bytes.

    Files beyond the first `SAMPLES` repeat their pixels, with a comment of their own in the JPEG:
    that takes no time to make, and all the time to hash, decode and run that other photos do.
    """
    from PIL import Image
    from sklearn.datasets import load_sample_images

    rng = np.random.default_rng(0)
    photos = load_sample_images().images
    samples: list[bytes] = []
    for i in range(min(count, SAMPLES)):
        source = photos[i % 2]
        tall = int(rng.integers(200, source.shape[0]))
        wide = min(source.shape[1], tall * width // height)
        top = int(rng.integers(0, source.shape[0] - tall + 1))
        left = int(rng.integers(0, source.shape[1] - wide + 1))
        crop = Image.fromarray(source[top : top + tall, left : left + wide])
        buffer = io.BytesIO()
        crop.resize((width, height)).save(buffer, "JPEG", quality=quality)
        samples.append(buffer.getvalue())
    for i in range(count):
        whole = samples[i % len(samples)]
        comment = i.to_bytes(4, "big")
        target = folder / f"class{i % 2}" / f"{i:07}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        # A comment segment right after the mark that a JPEG begins with.
        target.write_bytes(whole[:2] + b"\xff\xfe\x00\x06" + comment + whole[2:])
    return folder
