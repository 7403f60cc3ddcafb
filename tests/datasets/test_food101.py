"""Food-101's own layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.datasets import index_dataset
from featx.errors import DatasetError


@pytest.fixture
def food(tmp_path: Path, paint) -> Path:
    root = tmp_path / "food-101"
    for i in range(8):
        paint(root / "images" / ("apple_pie" if i < 4 else "baklava") / f"{i}.jpg", i)
    (root / "meta").mkdir()
    (root / "meta" / "train.txt").write_text("apple_pie/0\napple_pie/1\nbaklava/4\n")
    (root / "meta" / "test.txt").write_text("apple_pie/2\nbaklava/5\n\n")
    return root


def test_splits_of_the_meta_files(food: Path, work: Path) -> None:
    index = index_dataset(food, work_dir=work)
    assert index.name == "food-101"
    assert index.classes == (("apple_pie", "baklava"),)
    assert [(s.relpath, s.labels[0], s.split) for s in index.samples] == [
        ("images/apple_pie/0.jpg", "apple_pie", "train"),
        ("images/apple_pie/1.jpg", "apple_pie", "train"),
        ("images/apple_pie/2.jpg", "apple_pie", "test"),
        ("images/baklava/4.jpg", "baklava", "train"),
        ("images/baklava/5.jpg", "baklava", "test"),
    ]
    assert index.ignored == 3


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("apple_pie/9", "names 'images/apple_pie/9.jpg', which is not there"),
        ("apple_pie", "write class/name"),
        ("../meta/x", "write class/name"),
        ("apple_pie/0", "twice"),
    ],
)
def test_errors(food: Path, work: Path, line: str, says: str) -> None:
    with open(food / "meta" / "test.txt", "a") as out:
        out.write(line + "\n")
    with pytest.raises(DatasetError, match=says):
        index_dataset(food, work_dir=work)


def test_dangling_link(food: Path, work: Path) -> None:
    (food / "images" / "baklava" / "5.jpg").unlink()
    (food / "images" / "baklava" / "5.jpg").symlink_to("nowhere")
    index = index_dataset(food, work_dir=work)
    assert index.unreadable == (("images/baklava/5.jpg", "dangling link"),)
