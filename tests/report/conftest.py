"""A small data set, extracted and classified once."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import fakes
import pytest
import report_blocks
from conftest import make_photos

from featx import extract
from featx.classify import classify
from featx.records import RunRecord
from featx.runs import load_runs


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with shapes/, features/ and runs/; not to be changed."""
    fakes.register()
    home = tmp_path_factory.mktemp("report")
    photos = make_photos(home / "shapes", classes=3, each=24)
    (photos / "class2").rename(photos / report_blocks.ODD)
    shutil.copy(photos / "class0" / "000.jpg", photos / "class0" / "copy.jpg")
    (photos / "class0" / "bad.jpg").write_bytes(b"not an image")
    cache = home / "features"
    extract(photos, weights="random", engine="projection", cache_dir=cache)
    classify(
        photos,
        heads=("logreg", "knn", "centroid"),
        shots=(2, 5, None),
        draws=2,
        cache_dir=cache,
        runs_dir=home / "runs",
    )
    return home


@pytest.fixture
def home(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `made`, the working folder."""
    folder = tmp_path / "home"
    shutil.copytree(made, folder)
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def records(made: Path) -> list[RunRecord]:
    return load_runs(made / "runs")


@pytest.fixture
def add_run(home: Path) -> Callable[..., Path]:
    """Save a copy of a full-data record with changes: add_run("head", kind="baseline", ...)."""
    return partial(report_blocks.add_run, home)


@pytest.fixture
def networks(home: Path) -> None:
    report_blocks.add_networks(home)
