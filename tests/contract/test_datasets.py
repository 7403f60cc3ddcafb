"""The contract of data set kinds, run over every registered one."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.datasets import KINDS, index_dataset
from featx.datasets.decode import read_image
from featx.datasets.kinds import find_kind
from featx.records import SPLITS, DatasetIndex, ImageSpec

N = 8


def pixels(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (32, 32, 3), dtype=np.uint8)


def paint(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    Image.fromarray(pixels(seed)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue())


def make_folder(where: Path) -> str:
    for i in range(N):
        paint(where / "photos" / "ab"[i % 2] / f"{i}.png", i)
    return str(where / "photos")


def make_csv(where: Path) -> str:
    folder = Path(make_folder(where))
    rows = [f"{'ab'[i % 2]}/{i}.png,{'ab'[i % 2]}" for i in range(N)]
    (folder / "list.csv").write_text("\n".join(["path,label", *rows]))
    return str(folder / "list.csv")


def make_archive(where: Path) -> str:
    folder = Path(make_folder(where))
    with zipfile.ZipFile(where / "photos.zip", "w") as out:
        for file in sorted(folder.rglob("*.png")):
            out.write(file, file.relative_to(where))
    return str(where / "photos.zip")


def make_npz(where: Path) -> str:
    where.mkdir(parents=True, exist_ok=True)
    x = np.stack([pixels(i) for i in range(N)])
    np.savez(where / "arrays.npz", x=x, y=np.array(list("ab" * (N // 2))))
    return str(where / "arrays.npz")


def make_food101(where: Path) -> str:
    for i in range(N):
        paint(where / "food" / "images" / "ab"[i % 2] / f"{i}.jpg", i)
    (where / "food" / "meta").mkdir()
    lines = [f"{'ab'[i % 2]}/{i}" for i in range(N)]
    (where / "food" / "meta" / "train.txt").write_text("\n".join(lines[:4]))
    (where / "food" / "meta" / "test.txt").write_text("\n".join(lines[4:]))
    return str(where / "food")


def make_cifar(where: Path) -> str:
    folder = where / "cifar"
    folder.mkdir(parents=True)
    (folder / "batches.meta.txt").write_text("a\nb\n")
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        rows = np.random.default_rng(i).integers(0, 256, (2, 3073), dtype=np.uint8)
        rows[:, 0] = [0, 1]
        rows.tofile(folder / f"{name}.bin")
    return str(folder)


MAKERS: dict[str, Callable[[Path], str]] = {
    "digits": lambda where: "digits",
    "cifar": make_cifar,
    "csv": make_csv,
    "npz": make_npz,
    "archive": make_archive,
    "food101": make_food101,
    "folder": make_folder,
}


def test_every_kind_is_tested() -> None:
    assert len(KINDS) >= 7
    assert set(MAKERS) == set(KINDS.names())


@pytest.fixture(params=KINDS.names())
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def data(kind: str, tmp_path: Path) -> str:
    return MAKERS[kind](tmp_path / "data")


@pytest.fixture
def index(data: str, tmp_path: Path) -> DatasetIndex:
    return index_dataset(data, work_dir=tmp_path / "work")


def snapshot(folder: Path) -> dict[str, tuple[int, int]]:
    files = [p for p in folder.rglob("*") if p.is_file()]
    return {str(p): (p.stat().st_mtime_ns, p.stat().st_size) for p in files}


def test_is_found(kind: str, data: str) -> None:
    assert find_kind(data) is KINDS.get(kind)
    assert KINDS.get(kind).summary
    assert "\n" not in KINDS.get(kind).summary


def test_samples_are_whole(index: DatasetIndex) -> None:
    assert len(index.samples) >= N
    paths = [sample.relpath for sample in index.samples]
    assert paths == sorted(set(paths))
    assert os.path.isabs(index.root)
    for sample in index.samples:
        assert not os.path.isabs(sample.relpath)
        assert ".." not in sample.relpath.split("/")
        assert sample.split in (*SPLITS, "")
        assert len(sample.labels) == len(index.targets) == len(index.classes)
        for label, names in zip(sample.labels, index.classes, strict=True):
            assert label in names
        content = Path(index.root, sample.relpath).read_bytes()
        assert sample.digest == hashlib.sha256(content).hexdigest()


def test_classes_are_sorted_and_all_used(index: DatasetIndex) -> None:
    for column, names in enumerate(index.classes):
        assert len(names) >= 2
        assert set(names) == {sample.labels[column] for sample in index.samples}
        whole = all(name.isdigit() for name in names)
        assert list(names) == sorted(names, key=int if whole else str)


def test_images_decode(index: DatasetIndex) -> None:
    spec = ImageSpec(16, 12)
    for sample in index.samples[:: max(1, len(index.samples) // 20)]:
        image = read_image(Path(index.root, sample.relpath), spec)
        assert image.shape == (16, 12, 3)
        assert image.dtype == np.uint8
        assert np.ptp(image) > 0


def test_again_is_the_same_and_writes_no_image(
    index: DatasetIndex, data: str, tmp_path: Path
) -> None:
    before = snapshot(tmp_path / "work" / "images")
    assert index_dataset(data, work_dir=tmp_path / "work") == index
    assert snapshot(tmp_path / "work" / "images") == before


def test_another_work_dir_gives_the_same_digests(
    index: DatasetIndex, data: str, tmp_path: Path
) -> None:
    other = index_dataset(data, work_dir=tmp_path / "other")
    assert [s.digest for s in other.samples] == [s.digest for s in index.samples]
    assert [s.labels for s in other.samples] == [s.labels for s in index.samples]


def test_source_is_left_alone(kind: str, tmp_path: Path) -> None:
    data = MAKERS[kind](tmp_path / "data")
    before = snapshot(tmp_path / "data")
    index_dataset(data, work_dir=tmp_path / "work")
    assert snapshot(tmp_path / "data") == before


def test_name_is_fit_for_a_folder(index: DatasetIndex) -> None:
    assert index.name
    assert "/" not in index.name
    assert not index.name.startswith(".")


def test_importing_is_cheap() -> None:
    code = "import sys, featx.datasets, featx.datasets.decode, featx.split; print(*sys.modules)"
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    heavy = {"PIL", "sklearn", "scipy", "keras", "tensorflow", "h5py", "cv2"}
    assert not heavy & set(loaded)


def test_survives_pickling(index: DatasetIndex) -> None:
    # Worker processes get it.
    assert pickle.loads(pickle.dumps(index)) == index  # noqa: S301
