"""`.npz` arrays and the digits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.datasets import index_dataset
from featx.errors import DatasetError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 0, 1, 0, 1])


def read(index) -> list[np.ndarray]:
    return [np.asarray(Image.open(Path(index.root, s.relpath))) for s in index.samples]


def save(tmp_path: Path, **arrays: object) -> Path:
    np.savez(tmp_path / "a.npz", **arrays)
    return tmp_path / "a.npz"


@pytest.mark.parametrize(
    "names",
    [
        ("x_train", "y_train", "x_test", "y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
        ("X_train", "y_train", "X_test", "y_test"),
    ],
)
def test_splits(tmp_path: Path, work: Path, names: tuple[str, ...]) -> None:
    arrays = dict(zip(names, [PIXELS[:4], LABELS[:4], PIXELS[4:], LABELS[4:]], strict=True))
    index = index_dataset(save(tmp_path, **arrays), work_dir=work)
    assert index.classes == (("0", "1"),)
    found = {
        tuple(p.ravel()): (s.labels, s.split)
        for p, s in zip(read(index), index.samples, strict=True)
    }
    for i in range(6):
        want = ((str(LABELS[i]),), "train" if i < 4 else "test")
        assert found[tuple(PIXELS[i].ravel())] == want


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        (PIXELS, PIXELS),
        (PIXELS.transpose(0, 3, 1, 2), PIXELS),
        (PIXELS[..., 0], PIXELS[..., 0]),
        (PIXELS[..., :1], PIXELS[..., 0]),
        (PIXELS.astype(np.float32) / 255, PIXELS),
        (PIXELS.astype(np.float64), PIXELS),
        (PIXELS.astype(np.int64), PIXELS),
        (PIXELS.astype(np.uint16) * 257, PIXELS),
        (PIXELS > 127, np.where(PIXELS > 127, 255, 0)),
        (np.concatenate([PIXELS, PIXELS[..., :1]], axis=-1), None),
    ],
    ids=["uint8", "chw", "grey", "grey1", "unit", "float", "int", "uint16", "bool", "rgba"],
)
def test_pixels(tmp_path: Path, work: Path, stored: np.ndarray, expected) -> None:
    index = index_dataset(save(tmp_path, images=stored, labels=LABELS), work_dir=work)
    expected = stored if expected is None else expected
    order = [int(s.labels[0]) for s in index.samples]
    for label in (0, 1):
        mine = [p for p, o in zip(read(index), order, strict=True) if o == label]
        np.testing.assert_array_equal(np.stack(mine), expected[label == LABELS])


@pytest.mark.parametrize(
    ("labels", "more", "classes"),
    [
        (np.array(list("abcabc")), {}, ("a", "b", "c")),
        (np.array([b"x", b"y"] * 3), {}, ("x", "y")),
        (LABELS[:, None], {}, ("0", "1")),
        (LABELS.astype(float), {}, ("0", "1")),
        (LABELS, {"classes": ["tin/can", ".."]}, ("..", "tin/can")),
    ],
)
def test_labels(tmp_path: Path, work: Path, labels, more, classes) -> None:
    index = index_dataset(save(tmp_path, x=PIXELS, y=labels, **more), work_dir=work)
    assert index.classes == (classes,)
    assert len(index.samples) == 6


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({}, "no pictures and labels; it has: nothing"),
        ({"a": PIXELS}, "it has: a"),
        ({"x_train": PIXELS}, "no labels for train"),
        ({"x": PIXELS, "y": LABELS[:5]}, "6 pictures but labels of shape"),
        ({"x": PIXELS, "y": np.eye(6)}, "labels of shape"),
        ({"x": PIXELS, "y": LABELS + 0.5}, "labels of type float64"),
        ({"x": PIXELS[0, 0], "y": LABELS}, "pictures of shape"),
        ({"x": PIXELS - 300.0, "y": LABELS}, "from -300"),
        ({"x": PIXELS * np.nan, "y": LABELS}, "to nan"),
        ({"x": PIXELS, "y": LABELS, "classes": ["a"]}, "names 1 classes"),
        ({"x": np.array([{}], dtype=object), "y": LABELS}, "object arrays"),
    ],
)
def test_errors(tmp_path: Path, work: Path, arrays: dict, says: str) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        index_dataset(save(tmp_path, **arrays), work_dir=work)
    assert "\n" not in str(caught.value)
    assert not (work / "images").exists() or not list((work / "images").iterdir())


def test_damaged(tmp_path: Path, work: Path) -> None:
    path = save(tmp_path, x=PIXELS, y=LABELS)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(DatasetError, match="Cannot read arrays"):
        index_dataset(path, work_dir=work)


def test_digits(work: Path) -> None:
    from sklearn.datasets import load_digits

    index = index_dataset("digits", work_dir=work)
    assert index.name == "digits"
    assert index.classes == (tuple("0123456789"),)
    assert len(index.samples) == 1797
    pixels, labels = load_digits(return_X_y=True)
    for sample, image in zip(index.samples, read(index), strict=True):
        row = int(Path(sample.relpath).stem)
        assert sample.labels == (str(labels[row]),)
        np.testing.assert_allclose(image / 255 * 16, pixels[row].reshape(8, 8), atol=0.04)
    # The files are not written a second time.
    before = Path(index.root).stat().st_ino
    assert Path(index_dataset("digits", work_dir=work).root).stat().st_ino == before


def test_digits_as_a_folder(photos: Path, work: Path, monkeypatch) -> None:
    photos.rename(photos.with_name("digits"))
    monkeypatch.chdir(photos.parent)
    assert len(index_dataset("./digits", work_dir=work).samples) == 6
    assert len(index_dataset(Path("digits"), work_dir=work).samples) == 6
    assert len(index_dataset("digits", work_dir=work).samples) == 1797
