"""CSV manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from featx.datasets import index_dataset
from featx.errors import DatasetError


@pytest.fixture
def images(tmp_path: Path, paint) -> Path:
    for i in range(4):
        paint(tmp_path / "m" / "img" / f"{i}.png", i)
    return tmp_path / "m"


def write(folder: Path, text: str, name: str = "list.csv", encoding: str = "utf-8") -> Path:
    path = folder / name
    path.write_bytes(text.encode(encoding))
    return path


def test_all_columns(images: Path, work: Path) -> None:
    path = write(
        images,
        "Label,filename,recyclable,Split,group\n"
        'tin,img/0.png,yes,train,g1\n"pa,per",img/1.png,no,train,g1\n'
        "tin,./img/2.png,no,Validation,\n\ntin,img/3.png,yes,test,\n",
    )
    index = index_dataset(path, work_dir=work)
    assert index.name == "list"
    assert index.root == str(images)
    assert index.targets == ("Label", "recyclable")
    assert index.classes == (("pa,per", "tin"), ("no", "yes"))
    assert [(s.relpath, s.labels, s.split, s.group) for s in index.samples] == [
        ("img/0.png", ("tin", "yes"), "train", "g1"),
        ("img/1.png", ("pa,per", "no"), "train", "g1"),
        ("img/2.png", ("tin", "no"), "val", ""),
        ("img/3.png", ("tin", "yes"), "test", ""),
    ]
    assert all(len(s.digest) == 64 for s in index.samples)


@pytest.mark.parametrize(
    ("name", "separator", "encoding"),
    [("a.csv", ";", "utf-8"), ("a.tsv", "\t", "utf-8"), ("a.CSV", ",", "utf-8-sig")],
)
def test_dialects(images: Path, work: Path, name: str, separator: str, encoding: str) -> None:
    text = "path,label\r\nimg/0.png,é\r\nimg/1.png,b\r\n".replace(",", separator)
    index = index_dataset(write(images, text, name, encoding), work_dir=work)
    assert index.classes == (("b", "é"),)


def test_paths_outside_the_manifest_folder(images: Path, work: Path) -> None:
    (images / "lists").mkdir()
    text = f"path,label\n../img/0.png,a\n{images}/img/1.png,b\n"
    index = index_dataset(write(images / "lists", text), work_dir=work)
    assert index.root == str(images / "img")
    assert [s.relpath for s in index.samples] == ["0.png", "1.png"]


def test_dangling_link_is_set_aside(images: Path, work: Path) -> None:
    (images / "img" / "x.png").symlink_to("nowhere")
    text = "path,label\nimg/0.png,a\nimg/1.png,b\nimg/x.png,b\n"
    index = index_dataset(write(images, text), work_dir=work)
    assert index.unreadable == (("img/x.png", "dangling link"),)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "is empty"),
        ("label,x\na,b\n", "lacks a column 'path'"),
        ("path\nimg/0.png\n", "lacks a label column"),
        ("path,split\nimg/0.png,train\n", "lacks a label column"),
        ("path,a,A\nimg/0.png,x,y\n", "two columns of one name"),
        ("path,label\nimg/0.png,a\nimg/9.png,b\nimg/8.png,b\n", "2 files that are not there"),
        ("path,label\nimg/0.png,a\nimg/0.png/x,b\n", "1 files that are not there"),
        ("path,label\nimg/0.png,a\n./img/0.png,b\n", "twice, on lines 2 and 3"),
        ("path,label\nimg/0.png,\n", "line 2 has no label in column 'label'"),
        ("path,label\n,a\n", "line 2 has no usable path"),
        ("path,label\nimg/0.png,a,b\n", "line 2 has 3 fields"),
        ("path,label,split\nimg/0.png,a,dev\n", "unknown split 'dev'"),
        ("path,label\nimg/0.png,a\nimg/1.png,a\n", "one class only, 'a'"),
        ('path,label\nimg/0.png,"a\n', "not sound CSV"),
        ("path,label,split\nimg/0.png,a,train\nimg/1.png,b,test\n", "none to train on"),
    ],
)
def test_errors(images: Path, work: Path, text: str, says: str) -> None:
    with pytest.raises(DatasetError, match=says) as caught:
        index_dataset(write(images, text), work_dir=work)
    assert "\n" not in str(caught.value)


def test_label_that_is_not_utf8(images: Path, work: Path) -> None:
    path = write(images, "path,label\nimg/0.png,é\nimg/1.png,b\n", encoding="latin-1")
    with pytest.raises(DatasetError, match="not UTF-8"):
        index_dataset(path, work_dir=work)
    path = write(images, "path,label\nimg/0.png,a\nimg/1.png,b\n", encoding="utf-16")
    with pytest.raises(DatasetError, match="not UTF-8"):
        index_dataset(path, work_dir=work)
