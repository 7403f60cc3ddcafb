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
