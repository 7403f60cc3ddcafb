"""Fixtures shared by all tests.

Real photos and weights lie in the folder named by $FEATX_SHARED, else in `../shared` beside the
checkout. Tests marked `shared` skip where it is absent, or fail where $FEATX_REQUIRE_SHARED is set.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent


def shared_dir() -> Path:
    return Path(os.environ.get("FEATX_SHARED") or REPO.parent / "shared")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if (shared_dir() / "weights").is_dir() or os.environ.get("FEATX_REQUIRE_SHARED"):
        return
    skip = pytest.mark.skip(reason=f"no real weights and photos at {shared_dir()} (FEATX_SHARED)")
    for item in items:
        if "shared" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with `weights/` and `datasets/`; mark the test `shared` too."""
    folder = shared_dir()
    assert (folder / "weights").is_dir(), f"real weights and photos are required: {folder}"
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folder of three classes with eight small real image files each, all different."""
    return make_photos(tmp_path / "photos")


def make_photos(root: Path, classes: int = 3, each: int = 8, seed: int = 0) -> Path:
    """Write `each` noisy JPEG and PNG images a class; a class has a colour of its own."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(seed)
    colours = rng.integers(0, 256, (classes, 3))
    for number, colour in enumerate(colours):
        folder = root / f"class{number}"
        folder.mkdir(parents=True)
        for i in range(each):
            noise = rng.integers(-60, 61, (24, 32, 3))
            pixels = np.clip(colour + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / f"{i:03}.{'png' if i % 2 else 'jpg'}")
    return root


@pytest.fixture
def projection() -> str:
    """Name of the stand-in engine, which needs no Keras."""
    import fakes

    fakes.register()
    fakes.PASSES.clear()
    return "projection"
