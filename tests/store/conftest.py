from __future__ import annotations

import os
from pathlib import Path

import pytest
from fake_cache import extract, make_index, many_files

from featx.records import DatasetIndex
from featx.store import CacheEntry


@pytest.fixture(autouse=True)
def _no_fsync(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """A machine that stops is not what is tested, and a busy disk takes its time."""
    if "real_fsync" not in request.fixturenames:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)


@pytest.fixture
def real_fsync() -> None:
    """Ask for it to keep `os.fsync` as it is."""


@pytest.fixture
def index() -> DatasetIndex:
    return make_index(many_files(30))


@pytest.fixture
def entry(tmp_path: Path, index: DatasetIndex) -> CacheEntry:
    """Thirty images, avg and flatten, in several parts."""
    return extract(tmp_path, index, part_bytes=3000)
