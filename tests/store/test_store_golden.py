"""A cache that was written by the first release is read by every later one."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from featx.records import FORMAT_VERSION
from featx.store import (
    CacheEntry,
    gc,
    list_entries,
    load_features,
    plan_rows,
    repair,
    verify,
)

GOLDEN = Path(__file__).parent.parent / "golden"
TAPS = {"avg": (8,), "flatten": (2, 3, 8), "block:avg": (5,)}
VERSIONS = range(1, FORMAT_VERSION + 1)
PATHS = (
    "a/00000.jpg",
    "a/00003.jpg",
    "a/copy.jpg",
    "b/00001.jpg",
    "b/00004.jpg",
    "b/ümlaut \udcff.jpg",
    "c/00002.jpg",
    "c/00005.jpg",
)


@pytest.fixture(params=VERSIONS, ids="version-{}".format)
def golden(request: pytest.FixtureRequest) -> Path:
    return GOLDEN / f"cache-v{request.param}"


@pytest.fixture(params=["float32", "float16"])
def entry(request: pytest.FixtureRequest, golden: Path) -> CacheEntry:
    if request.param == "float16":
        pytest.importorskip("hdf5plugin")
    (path,) = [i.path for i in list_entries(golden) if i.key and i.key.stored == request.param]
    return CacheEntry.at(path)


@pytest.mark.parametrize("tap", TAPS)
def test_it_is_read(entry: CacheEntry, golden: Path, tap: str) -> None:
    with np.load(golden / f"{entry.key.stored}.npz") as arrays:
        wanted = arrays[tap.replace(":", "_")]
    found = load_features(entry.path, tap, target="recyclable")
    np.testing.assert_array_equal(found.X, wanted)
    assert found.paths == PATHS
    assert found.classes == ("no", "yes")
    assert found.y.tolist() == [0, 1, 0, 1, 0, 1, 0, 1]
    assert found.groups == ("g0", "g0", "g0", "g1", "g1", "g1", "g2", "g2")
    assert load_features(entry.path, tap).y.tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert found.digests[1] == found.digests[2]
    with h5py.File(entry.view_path, "r") as file:
        np.testing.assert_array_equal(file[f"features/{tap}"][:].astype(np.float32), wanted)
        assert tuple(file[f"features/{tap}"].attrs["shape"]) == TAPS[tap]
        assert file["quarantined/paths"].asstr()[:].tolist() == ["c/bad.jpg"]


def test_its_rows_are_still_good(entry: CacheEntry) -> None:
    """The key of the same extraction has the same digest today: nothing is computed again."""
    assert entry.path.name == f"mobilenet-{entry.key.digest()[:12]}"
    digests = load_features(entry.path, lazy=True).digests
    plan = plan_rows(entry.state(), digests, [*TAPS, "max"])
    assert not plan.extract
    assert set(plan.derive) == {"max"}


def test_it_is_sound(golden: Path) -> None:
    pytest.importorskip("hdf5plugin")
    assert verify(golden) == {"entries": 2, "rows": 14, "bad": []}


def test_it_can_be_kept_up(golden: Path, tmp_path: Path) -> None:
    pytest.importorskip("hdf5plugin")
    cache = tmp_path / "cache"
    shutil.copytree(golden, cache)
    for info in list_entries(cache):
        before = load_features(info.path, "flatten").X
        entry = CacheEntry.at(info.path)
        entry.part_paths()[0].unlink()
        assert repair(info.path)["lost"] > 0
        shutil.copytree(golden / info.path.relative_to(cache), info.path, dirs_exist_ok=True)
        gc(info.path)
        np.testing.assert_array_equal(load_features(info.path, "flatten").X, before)
    assert verify(cache)["bad"] == []
