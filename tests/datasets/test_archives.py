"""Archives: what is in them is found, and nothing gets outside its target."""

from __future__ import annotations

import io
import os
import stat
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest

from featx.datasets import archive, index_dataset
from featx.errors import ArchiveError, DatasetError

MODES = {".tar": "w", ".tar.gz": "w:gz", ".tgz": "w:gz", ".tar.bz2": "w:bz2", ".tar.xz": "w:xz"}


def pack(folder: Path, suffix: str, top: str = "") -> Path:
    """Pack `folder` into an archive beside it, below the folder `top`."""
    path = folder.parent / f"packed{suffix}"
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    names = [str(Path(top) / p.relative_to(folder)) for p in files]
    if suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for file, name in zip(files, names, strict=True):
                out.write(file, name)
    else:
        with tarfile.open(path, MODES[suffix]) as out:
            for file, name in zip(files, names, strict=True):
                out.add(file, name)
    return path


def summary(index) -> set[tuple[str, tuple[str, ...], str]]:
    return {(s.digest, s.labels, s.split) for s in index.samples}


@pytest.mark.parametrize("suffix", [".zip", *MODES])
@pytest.mark.parametrize("top", ["", "photos", "a/b/photos"])
def test_same_as_the_folder(photos: Path, work: Path, suffix: str, top: str) -> None:
    packed = pack(photos, suffix, top)
    index = index_dataset(packed, work_dir=work)
    assert summary(index) == summary(index_dataset(photos, work_dir=work))
    assert index.name == "packed"
    assert index.root.startswith(str(work))


def test_unpacked_once(photos: Path, work: Path) -> None:
    packed = pack(photos, ".zip")
    first = index_dataset(packed, work_dir=work)
    moved = packed.rename(packed.with_name("moved.zip"))
    second = index_dataset(moved, work_dir=work)
    assert second.root == first.root
    assert [p for p in (work / "images").iterdir() if p.name.startswith(".")] == []


def test_changed_archive_is_unpacked_anew(photos: Path, work: Path, paint) -> None:
    first = index_dataset(pack(photos, ".zip"), work_dir=work)
    paint(photos / "cat" / "more.png", 50)
    second = index_dataset(pack(photos, ".zip"), work_dir=work)
    assert len(second.samples) == len(first.samples) + 1


def test_split_folders_inside(tmp_path: Path, work: Path, paint) -> None:
    for i, place in enumerate(["train/a", "train/b", "test/a", "test/b"]):
        paint(tmp_path / "d" / place / "x.png", i)
    index = index_dataset(pack(tmp_path / "d", ".zip", "outer"), work_dir=work)
    assert sorted(s.split for s in index.samples) == ["test", "test", "train", "train"]


def test_manifest_inside(photos: Path, work: Path) -> None:
    lines = ["path,label,split"]
    lines += [f"pics/{i}.png,{'ab'[i % 2]},{'train' if i < 4 else 'test'}" for i in range(6)]
    pics = photos / "pics"
    pics.mkdir()
    for i in range(6):
        (photos / ("cat" if i < 3 else "dog") / f"{i}.png").rename(pics / f"{i}.png")
    (photos / "cat").rmdir()
    (photos / "dog").rmdir()
    (photos / "labels.csv").write_text("\n".join(lines))
    index = index_dataset(pack(photos, ".tar.gz", "top"), work_dir=work)
    assert index.classes == (("a", "b"),)
    assert {s.split for s in index.samples} == {"train", "test"}


def test_food101_inside(photos: Path, work: Path) -> None:
    (photos / "meta").mkdir()
    (photos / "images").mkdir()
    for name in ("cat", "dog"):
        for file in (photos / name).iterdir():
            file.rename(file.with_suffix(".jpg"))
        (photos / name).rename(photos / "images" / name)
    (photos / "meta" / "train.txt").write_text("cat/0\ncat/1\ndog/3\n")
    (photos / "meta" / "test.txt").write_text("cat/2\ndog/4\n")
    index = index_dataset(pack(photos, ".tar.gz", "food-101"), work_dir=work)
    assert [s.split for s in index.samples] == ["train", "train", "test", "train", "test"]


def test_arrays_inside(tmp_path: Path, work: Path) -> None:
    (tmp_path / "d").mkdir()
    x = np.random.default_rng(0).integers(0, 256, (4, 5, 5), dtype=np.uint8)
    np.savez(tmp_path / "d" / "arrays.npz", x=x, y=[0, 1, 0, 1])
    assert len(index_dataset(pack(tmp_path / "d", ".zip"), work_dir=work).samples) == 4


def test_macos_litter(photos: Path, work: Path) -> None:
    (photos / "__MACOSX" / "cat").mkdir(parents=True)
    (photos / "__MACOSX" / "cat" / "._0.png").write_bytes(b"x")
    (photos / "cat" / "._0.png").write_bytes(b"x")
    index = index_dataset(pack(photos, ".zip"), work_dir=work)
    assert len(index.samples) == 6


# --- attacks -----------------------------------------------------------------------------------


def tar_with(path: Path, member: tarfile.TarInfo, content: bytes = b"") -> Path:
    member.size = len(content)
    with tarfile.open(path, "w") as out:
        out.addfile(member, io.BytesIO(content))
    return path


def assert_refused(path: Path, work: Path, *words: str) -> None:
    with pytest.raises(ArchiveError) as caught:
        index_dataset(path, work_dir=work)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)
    images = work / "images"
    assert not images.exists() or not list(images.iterdir())


BAD_NAMES = ["../evil.png", "a/../../evil.png", "/tmp/featx-evil.png", "..", "C:\\evil.png",
             "..\\evil.png", "C:/evil.png", "\\\\host\\evil.png"]  # fmt: skip


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_reach_outside(tmp_path: Path, work: Path, name: str) -> None:
    words = (repr(name), "absolute path" if name[0] in "/C\\" else "outside")
    assert_refused(tar_with(tmp_path / "a.tar", tarfile.TarInfo(name), b"x"), work, *words)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(name, b"x")
    assert_refused(tmp_path / "a.zip", work, *words)
    assert not (tmp_path / "evil.png").exists()
    assert not Path("/tmp/featx-evil.png").exists()


@pytest.mark.parametrize(
    ("kind", "word"),
    [
        (tarfile.SYMTYPE, "link"),
        (tarfile.LNKTYPE, "link"),
        (tarfile.CHRTYPE, "device"),
        (tarfile.FIFOTYPE, "device"),
    ],
)
def test_tar_links_and_devices(tmp_path: Path, work: Path, kind: bytes, word: str) -> None:
    member = tarfile.TarInfo("cat/x.png")
    member.type, member.linkname = kind, "/etc/passwd"
    assert_refused(tar_with(tmp_path / "a.tar", member), work, "'cat/x.png'", f"is a {word}")


def test_zip_link(tmp_path: Path, work: Path) -> None:
    info = zipfile.ZipInfo("cat/x.png")
    info.create_system = 3
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as out:
        out.writestr(info, "/etc/passwd")
    assert_refused(tmp_path / "a.zip", work, "is a link")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_bomb(tmp_path: Path, work: Path, suffix: str, monkeypatch) -> None:
    monkeypatch.setattr(archive, "FREE_GROWTH", 1 << 20)
    (tmp_path / "d" / "a").mkdir(parents=True)
    (tmp_path / "d" / "a" / "x.bmp").write_bytes(bytes(3 << 20))
    assert_refused(pack(tmp_path / "d", suffix), work, "grows beyond")


def test_zip_that_lies_about_sizes(tmp_path: Path, work: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("a/x.bmp", bytes(1 << 20))
    content = path.read_bytes().replace((1 << 20).to_bytes(4, "little"), (10).to_bytes(4, "little"))
    path.write_bytes(content)
    assert_refused(path, work)


@pytest.mark.parametrize("suffix", [".zip", *MODES])
def test_damage(photos: Path, work: Path, suffix: str) -> None:
    packed = pack(photos, suffix)
    whole = packed.read_bytes()
    packed.write_bytes(whole[: len(whole) // 2])
    assert_refused(packed, work, "cannot be unpacked")
    packed.write_bytes(b"")
    assert_refused(packed, work)
    packed.write_bytes(b"not an archive at all")
    assert_refused(packed, work)


@pytest.mark.parametrize("at", [0, 1024, 3072])
def test_damaged_header_in_the_middle_of_a_tar(photos: Path, work: Path, at: int) -> None:
    packed = pack(photos, ".tar")
    content = bytearray(packed.read_bytes())
    content[at + 20] ^= 1
    packed.write_bytes(content)
    assert_refused(packed, work, "cannot be unpacked")


def test_flipped_byte_in_a_zip_member(photos: Path, work: Path) -> None:
    packed = pack(photos, ".zip")
    content = bytearray(packed.read_bytes())
    content[80] ^= 1
    packed.write_bytes(content)
    assert_refused(packed, work, "cannot be unpacked")


def test_encrypted(tmp_path: Path, work: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as out:
        out.writestr("a/x.png", b"x")
    content = bytearray(path.read_bytes())
    content[6] |= 1
    content[content.rindex(b"PK\1\2") + 8] |= 1
    path.write_bytes(content)
    assert_refused(path, work, "encrypted")


def test_full_disk(photos: Path, work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(archive, "_write", full)
    with pytest.raises(DatasetError, match=r"No space left on device\. Free some") as caught:
        index_dataset(pack(photos, ".zip"), work_dir=work)
    assert not isinstance(caught.value, ArchiveError)
    assert list((work / "images").iterdir()) == []


def test_leftovers_of_killed_runs_go(photos: Path, work: Path) -> None:
    old, new = work / "images" / ".old-x", work / "images" / ".new-x"
    for folder in (old, new):
        folder.mkdir(parents=True)
    os.utime(old, (1, 1))
    index_dataset(pack(photos, ".zip"), work_dir=work)
    assert not old.exists()
    assert new.exists()


def test_two_processes_at_once(photos: Path, work: Path, monkeypatch) -> None:
    packed = pack(photos, ".zip")
    real = archive.unpack

    def slow(path, target, workdir):
        real(path, target, workdir)
        monkeypatch.setattr(archive, "unpack", real)
        index_dataset(packed, work_dir=work)  # another one finishes first

    monkeypatch.setattr(archive, "unpack", slow)
    assert len(index_dataset(packed, work_dir=work).samples) == 6
    assert len(list((work / "images").iterdir())) == 1
