"""Small real image files for the tests of data sets."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Paint = Callable[..., Path]


@pytest.fixture
def paint() -> Paint:
    """`paint(path, seed)` writes a small image file, different for every seed."""

    def write(path: Path, seed: int = 0) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "PNG")
        path.write_bytes(buffer.getvalue())
        return path

    return write


@pytest.fixture
def photos(tmp_path: Path, paint: Paint) -> Path:
    """A folder of two class folders with three images each."""
    root = tmp_path / "photos"
    for i in range(6):
        paint(root / ("cat" if i < 3 else "dog") / f"{i}.png", i)
    return root


@pytest.fixture
def work(tmp_path: Path) -> Path:
    return tmp_path / "work"
