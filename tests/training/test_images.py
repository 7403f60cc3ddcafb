"""Images as rows: the very pixels, rows and order of extraction."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import featx
from featx.datasets.decode import read_image
from featx.errors import DatasetError, ImageError, SpecError
from featx.records import ImageSpec
from featx.training import load_images
from featx.training.images import iterate_ahead

SIZE = (20, 24)


@pytest.fixture
def mixed(photos: Path) -> Path:
    """Photos with two copies of one image, one truncated, one that is no image."""
    shutil.copy(photos / "class0/000.jpg", photos / "class0/copy.jpg")
    data = (photos / "class1/000.jpg").read_bytes()
    (photos / "class1/000.jpg").write_bytes(data[: len(data) // 2])
    (photos / "class2/003.png").write_bytes(b"no image at all")
    return photos


@pytest.mark.parametrize("memory_bytes", [2**30, 0], ids=["held", "decoded anew"])
def test_rows_are_the_decoders_pixels(mixed: Path, tmp_path: Path, memory_bytes: int) -> None:
    found = load_images(
        mixed, image_size=SIZE, cache_dir=tmp_path / "features", memory_bytes=memory_bytes
    )
    assert found.X.held == (memory_bytes > 0)
    assert found.X.shape == (23, *SIZE, 3)
    wanted = [3, 0, 22, 3]
    rows = found.X.rows(wanted)
    assert rows.dtype == np.uint8
    for row, i in zip(rows, wanted, strict=True):
        np.testing.assert_array_equal(row, read_image(mixed / found.paths[i], ImageSpec(*SIZE)))


def test_rows_are_those_of_the_cached_features(
    mixed: Path, tmp_path: Path, projection: str, caplog: pytest.LogCaptureFixture
) -> None:
    report = featx.extract(
        mixed, weights="random", engine=projection, cache_dir=tmp_path / "features"
    )
    cached = featx.load_features(report.caches[0]["path"])
    found = load_images(mixed, image_size=SIZE, cache_dir=tmp_path / "features")
    for name in ("paths", "digests", "groups", "classes", "dataset", "target"):
        assert getattr(found, name) == getattr(cached, name), name
    np.testing.assert_array_equal(found.y, cached.y)
    np.testing.assert_array_equal(found.splits, cached.splits)
    assert sorted(found.provenance["quarantined"]) == sorted(report.quarantined)
    assert len(report.quarantined) == 2
    assert "2 of 25 images cannot be decoded and are left out; the first, class1/" in caplog.text


def test_a_missing_column_names_those_there_are(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"has no label column 'kind'. It has: class"):
        load_images(photos, image_size=SIZE, target="kind", cache_dir=tmp_path / "features")


def test_not_one_image_that_can_be_used(photos: Path, tmp_path: Path) -> None:
    for path in photos.rglob("*.*"):
        path.write_bytes(path.name.encode() * 9)
    with pytest.raises(DatasetError, match="None of the 24 images of photos can be used"):
        load_images(photos, image_size=SIZE, cache_dir=tmp_path / "features")


def test_an_image_that_changes_meanwhile_stops_the_epoch(photos: Path, tmp_path: Path) -> None:
    found = load_images(photos, image_size=SIZE, cache_dir=tmp_path / "features", memory_bytes=0)
    (photos / found.paths[1]).unlink()
    with pytest.raises(ImageError, match="cannot be read"):
        found.X.rows([0, 1])


def test_batches_come_in_order_and_errors_come_through() -> None:
    X = np.arange(10)[:, None]
    batches = [np.array([1, 0]), np.array([9]), np.array([4, 4])]

    class Lazy:
        def rows(self, rows: np.ndarray) -> np.ndarray:
            return X[rows]

    for source in (X, Lazy()):
        found = [batch[:, 0].tolist() for batch in iterate_ahead(source, batches)]
        assert found == [[1, 0], [9], [4, 4]]
    assert list(iterate_ahead(Lazy(), [])) == []
    with pytest.raises(IndexError):
        list(iterate_ahead(Lazy(), [np.array([11])]))
