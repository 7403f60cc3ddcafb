from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from bucket import BUCKETS, SERVERS, Bucket
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


@pytest.fixture(scope="module", params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> Iterator[tuple[str, str]]:
    with SERVERS[request.param]() as address:
        yield request.param, address


@pytest.fixture
def bucket(server: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    kind, address = server
    made = BUCKETS[kind](address, monkeypatch)
    yield made
    made.close()
