"""Folders of class folders, with and without splits, and what may lie in them."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from featx.datasets import index_dataset
from featx.errors import DatasetError, SpecError


def paths(index) -> list[str]:
    return [sample.relpath for sample in index.samples]


def test_class_folders_of_any_depth(photos: Path, work: Path, paint) -> None:
    deep = paint(photos / "dog" / "2024" / "may" / "x.png", 9)
    index = index_dataset(photos, work_dir=work)
    assert index.classes == (("cat", "dog"),)
    assert index.name == "photos"
    assert index.root == str(photos)
    assert paths(index) == sorted(paths(index))
    assert len(index.samples) == 7
    sample = next(s for s in index.samples if s.relpath == "dog/2024/may/x.png")
    assert sample.labels == ("dog",)
    assert sample.split == ""
    assert sample.digest == hashlib.sha256(deep.read_bytes()).hexdigest()


@pytest.mark.parametrize("val", ["val", "valid", "Validation"])
def test_split_folders(tmp_path: Path, work: Path, paint, val: str) -> None:
    for i, split in enumerate(["train", val, "TEST"]):
        for j, name in enumerate("ab"):
            paint(tmp_path / "d" / split / name / "x.png", 2 * i + j)
    index = index_dataset(tmp_path / "d", work_dir=work)
    assert index.classes == (("a", "b"),)
    assert {(s.relpath.split("/")[0], s.split) for s in index.samples} == {
        ("train", "train"),
        (val, "val"),
        ("TEST", "test"),
    }


def test_a_class_may_be_called_train(tmp_path: Path, work: Path, paint) -> None:
    for i, name in enumerate(["train", "bus"]):
        paint(tmp_path / "d" / name / "x.png", i)
    index = index_dataset(tmp_path / "d", work_dir=work)
    assert index.classes == (("bus", "train"),)
    assert {s.split for s in index.samples} == {""}


def test_whole_numbers_sort_as_numbers(tmp_path: Path, work: Path, paint) -> None:
    for i in [10, 9, 2, 100]:
        paint(tmp_path / "d" / str(i) / "x.png", i)
    assert index_dataset(tmp_path / "d", work_dir=work).classes == (("2", "9", "10", "100"),)
    paint(tmp_path / "d" / "b" / "x.png", 5)
    assert index_dataset(tmp_path / "d", work_dir=work).classes == (("10", "100", "2", "9", "b"),)


def test_what_counts_as_an_image(photos: Path, work: Path) -> None:
    (photos / "cat" / "Thumbs.db").write_bytes(b"x")
    (photos / "cat" / ".hidden.png").write_bytes(b"x")
    (photos / "cat" / ".cache").mkdir()
    (photos / "cat" / ".cache" / "y.png").write_bytes(b"x")
    (photos / "cat" / "notes.txt").write_text("x")
    (photos / "cat" / "text.JPG").write_text("not a picture")
    (photos / "cat" / "new.heic").write_bytes(b"x")
    (photos / "LICENSE").write_text("x")
    index = index_dataset(photos, work_dir=work)
    extra = {Path(p).name for p in paths(index)} - {f"{i}.png" for i in range(6)}
    assert extra == {"text.JPG", "new.heic"}
    assert index.ignored == 1


def test_links_are_followed_once(photos: Path, work: Path, paint, tmp_path: Path) -> None:
    outside = paint(tmp_path / "elsewhere" / "o.png", 20)
    (photos / "cat" / "link.png").symlink_to(outside)
    (photos / "cat" / "more").symlink_to(outside.parent)
    (photos / "cat" / "again").symlink_to(outside.parent)
    (photos / "cat" / "loop").symlink_to(photos / "cat")
    (photos / "cat" / "up").symlink_to(photos)
    (photos / "dog" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    (photos / "dog" / "self.png").symlink_to(photos / "dog" / "self.png")
    index = index_dataset(photos, work_dir=work)
    assert len(index.samples) == 8
    assert "cat/link.png" in paths(index)
    assert "cat/again/o.png" in paths(index)
    assert dict(index.unreadable) == {
        "dog/gone.png": "dangling link",
        "dog/self.png": "link to itself",
    }


def test_unusual_names(photos: Path, work: Path, paint) -> None:
    names = ["two\nlines.png", os.fsdecode(b"caf\xe9.png"), "x" * 251 + ".png", " .png", "ü ≠.png"]
    for i, name in enumerate(names):
        paint(photos / "cat" / name, 30 + i)
    for _ in range(2):  # the second time out of the stat cache
        index = index_dataset(photos, work_dir=work)
        assert {f"cat/{name}" for name in names} < set(paths(index))
        for sample in index.samples:
            content = Path(index.root, sample.relpath).read_bytes()
            assert sample.digest == hashlib.sha256(content).hexdigest()


def test_pipes_and_devices_are_not_opened(photos: Path, work: Path) -> None:
    os.mkfifo(photos / "cat" / "pipe.png")
    index = index_dataset(photos, work_dir=work)
    assert index.unreadable == (("cat/pipe.png", "not a regular file"),)


def test_unreadable_file(photos: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # By a stub, since tests may run as root, who may read everything.
    import featx.datasets.digest as digest

    real = os.open

    def refuse(path, *args):
        if str(path).endswith("0.png"):
            raise PermissionError(13, "Permission denied", path)
        return real(path, *args)

    monkeypatch.setattr(digest.os, "open", refuse)
    index = index_dataset(photos, work_dir=work)
    assert index.unreadable == (("cat/0.png", "permission denied"),)
    assert len(index.samples) == 5


def test_name(photos: Path, work: Path) -> None:
    assert index_dataset(photos, work_dir=work, name="mine-2").name == "mine-2"
    for bad in ["../up", "", "a/b", ".hidden", "a b"]:
        with pytest.raises(SpecError, match="not fit for a folder"):
            index_dataset(photos, work_dir=work, name=bad)


def error(data: object, work: Path) -> str:
    with pytest.raises(DatasetError) as caught:
        index_dataset(data, work_dir=work)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestErrors:
    def test_near_miss(self, photos: Path, work: Path) -> None:
        text = error(str(photos.parent / "photo"), work)
        assert (
            text
            == f"No such data set: {str(photos.parent / 'photo')!r}. Did you mean {str(photos)!r}?"
        )
        assert "'digits'" in error("digit", work)
        assert "class folders" in error("nothing-like-this", work)

    def test_unknown_file(self, tmp_path: Path, work: Path) -> None:
        (tmp_path / "a.docx").write_text("x")
        assert "Cannot tell" in error(tmp_path / "a.docx", work)

    def test_empty(self, tmp_path: Path, work: Path) -> None:
        (tmp_path / "d" / "a").mkdir(parents=True)
        assert error(tmp_path / "d", work).startswith("No images in")
        (tmp_path / "d" / "a" / "x.pdf").write_text("x")
        assert "1 other files, with suffix .pdf" in error(tmp_path / "d", work)

    def test_loose_images(self, tmp_path: Path, work: Path, paint) -> None:
        paint(tmp_path / "d" / "x.png")
        assert "'x.png', not in class folders" in error(tmp_path / "d", work)
        paint(tmp_path / "e" / "train" / "x.png")
        assert "not in class folders" in error(tmp_path / "e", work)

    def test_one_class(self, tmp_path: Path, photos: Path, work: Path, paint) -> None:
        paint(tmp_path / "d" / "a" / "x.png")
        assert "one class only, 'a'" in error(tmp_path / "d", work)
        outer = tmp_path / "outer"
        outer.mkdir()
        photos.rename(outer / "photos")
        assert f"Did you mean {str(outer / 'photos')!r}" in error(outer, work)

    def test_class_in_test_only(self, tmp_path: Path, work: Path, paint) -> None:
        for i, place in enumerate(["train/a", "train/b", "test/a", "test/bb"]):
            paint(tmp_path / "d" / place / "x.png", i)
        assert "Class 'bb' of" in error(tmp_path / "d", work)

    def test_splits_beside_others(self, tmp_path: Path, work: Path, paint) -> None:
        for i, place in enumerate(["train/a", "test/a", "extra/a"]):
            paint(tmp_path / "d" / place / "x.png", i)
        assert "beside 'extra'" in error(tmp_path / "d", work)

    def test_all_dangling(self, tmp_path: Path, work: Path) -> None:
        (tmp_path / "d" / "a").mkdir(parents=True)
        (tmp_path / "d" / "a" / "x.png").symlink_to("nowhere")
        assert "dangling link" in error(tmp_path / "d", work)
