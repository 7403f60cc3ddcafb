"""CIFAR's own files, written here byte by byte as the originals are (Python 2 pickles)."""

from __future__ import annotations

import pickle
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.datasets import index_dataset
from featx.errors import DatasetError

RNG = np.random.default_rng(1)


def string(text: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(text)) + text


def number(value: int) -> bytes:
    return b"K" + bytes([value])


def array(pixels: np.ndarray) -> bytes:
    """The opcodes with which Python 2 pickled an array of uint8."""
    shape = b"".join(b"M" + struct.pack("<H", n) for n in pixels.shape)
    dtype = (
        b"cnumpy\ndtype\n(" + string(b"u1") + b"K\0K\1tR(K\3" + string(b"|") + b"NNN"
        b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\0tb"
    )
    return (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\0t" + string(b"b") + b"tR(K\1("
        + shape + b"t" + dtype + b"\x89" + string(pixels.tobytes()) + b"tb"
    )  # fmt: skip


def pickled(content: dict[bytes, bytes]) -> bytes:
    body = b"".join(string(key) + value for key, value in content.items())
    return b"\x80\x02}(" + body + b"u."


def listed(items: list[bytes]) -> bytes:
    return b"](" + b"".join(items) + b"e"


def write_cifar10(folder: Path, n: int = 4) -> dict[tuple[str, int], tuple[np.ndarray, int]]:
    """Write the python edition with `n` pictures a batch; return pictures and labels."""
    folder.mkdir(parents=True)
    names = [b"airplane", b"automobile", b"bird", b"cat", b"deer", b"dog", b"frog", b"horse",
             b"ship", b"truck"]  # fmt: skip
    meta = {b"num_cases_per_batch": number(n), b"label_names": listed([string(x) for x in names])}
    (folder / "batches.meta").write_bytes(pickled(meta))
    wanted = {}
    for b, file in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        pixels = RNG.integers(0, 256, (n, 3072), dtype=np.uint8)
        labels = [(b + i) % 3 for i in range(n)]
        content = {
            b"batch_label": string(b"x"),
            b"labels": listed([number(x) for x in labels]),
            b"data": array(pixels),
            b"filenames": listed([string(b"f.png")] * n),
        }
        (folder / file).write_bytes(pickled(content))
        for i in range(n):
            key = ("train", b * n + i) if b < 5 else ("test", i)
            wanted[key] = (pixels[i].reshape(3, 32, 32).transpose(1, 2, 0), labels[i])
    return wanted


def check(index, wanted, names=("airplane", "automobile", "bird")) -> None:
    assert len(index.samples) == len(wanted)
    assert index.classes[0] == names
    for sample in index.samples:
        pixels, label = wanted[sample.split, int(Path(sample.relpath).stem)]
        assert sample.labels[0] == names[label]
        np.testing.assert_array_equal(
            np.asarray(Image.open(Path(index.root, sample.relpath))), pixels
        )


def test_the_hand_written_pickle_is_what_pickle_reads(tmp_path: Path) -> None:
    wanted = write_cifar10(tmp_path / "c")
    content = pickle.loads(  # noqa: S301
        (tmp_path / "c" / "test_batch").read_bytes(), encoding="bytes"
    )
    assert content[b"data"].shape == (4, 3072)
    np.testing.assert_array_equal(
        content[b"data"][1].reshape(3, 32, 32).transpose(1, 2, 0), wanted["test", 1][0]
    )


@pytest.mark.parametrize(
    "place", ["cifar-10-batches-py-target/cifar-10-batches-py", "cifar-10-batches-py"]
)
def test_keras_copy(tmp_path: Path, work: Path, monkeypatch, place: str) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "k"))
    wanted = write_cifar10(tmp_path / "k" / "datasets" / place)
    index = index_dataset("cifar10", work_dir=work)
    assert index.name == "cifar10"
    check(index, wanted)


def test_folder_and_archive(tmp_path: Path, work: Path, monkeypatch) -> None:
    folder = tmp_path / "cifar-10-batches-py"
    wanted = write_cifar10(folder)
    check(index_dataset(folder, work_dir=work), wanted)
    packed = tmp_path / "k" / "datasets" / "cifar-10-python.tar.gz"
    packed.parent.mkdir(parents=True)
    with tarfile.open(packed, "w:gz") as out:
        out.add(folder, folder.name)
    check(index_dataset(packed, work_dir=work), wanted)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "k"))
    check(index_dataset("cifar10", work_dir=work), wanted)


def test_binary_10(tmp_path: Path, work: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "batches.meta.txt").write_text("airplane\nautomobile\nbird\n\n")
    wanted = {}
    for b, file in enumerate([*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]):
        rows = RNG.integers(0, 256, (3, 3073), dtype=np.uint8)
        rows[:, 0] = [0, 1, 2]
        rows.tofile(folder / file)
        for i in range(3):
            key = ("train", b * 3 + i) if b < 5 else ("test", i)
            wanted[key] = (rows[i, 1:].reshape(3, 32, 32).transpose(1, 2, 0), i)
    check(index_dataset(folder, work_dir=work), wanted)


@pytest.mark.parametrize("binary", [False, True])
def test_cifar100_has_two_columns(tmp_path: Path, work: Path, binary: bool) -> None:
    folder = tmp_path / "c"
    folder.mkdir()
    fine, coarse = [b"apple", b"bear", b"can"], [b"food", b"animal"]
    wanted = {}
    for split in ("train", "test"):
        pixels = RNG.integers(0, 256, (3, 3072), dtype=np.uint8)
        if binary:
            head = np.array([[0, 0], [1, 1], [0, 2]], dtype=np.uint8)
            np.hstack([head, pixels]).tofile(folder / f"{split}.bin")
        else:
            content = {
                b"fine_labels": listed([number(x) for x in (0, 1, 2)]),
                b"coarse_labels": listed([number(x) for x in (0, 1, 0)]),
                b"data": array(pixels),
            }
            (folder / split).write_bytes(pickled(content))
        for i in range(3):
            wanted[split, i] = (pixels[i].reshape(3, 32, 32).transpose(1, 2, 0), i)
    if binary:
        (folder / "fine_label_names.txt").write_bytes(b"\n".join(fine) + b"\n")
        (folder / "coarse_label_names.txt").write_bytes(b"\n".join(coarse) + b"\n")
    else:
        names = {b"fine_label_names": fine, b"coarse_label_names": coarse}
        content = {key: listed([string(x) for x in value]) for key, value in names.items()}
        (folder / "meta").write_bytes(pickled(content))
    index = index_dataset(folder, work_dir=work)
    check(index, wanted, ("apple", "bear", "can"))
    assert index.targets == ("class", "superclass")
    assert {s.labels for s in index.samples} == {
        ("apple", "food"),
        ("bear", "animal"),
        ("can", "food"),
    }


class Evil:
    def __reduce__(self):
        return (open, ("featx-was-here", "w"))


def test_no_code_is_run(tmp_path: Path, work: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_cifar10(tmp_path / "c")
    (tmp_path / "c" / "test_batch").write_bytes(pickle.dumps(Evil(), protocol=2))
    with pytest.raises(DatasetError, match="which no CIFAR file does"):
        index_dataset(tmp_path / "c", work_dir=work)
    assert not (tmp_path / "featx-was-here").exists()


def test_damage(tmp_path: Path, work: Path) -> None:
    write_cifar10(tmp_path / "c")
    file = tmp_path / "c" / "data_batch_3"
    whole = file.read_bytes()
    for broken in (b"", whole[:100], whole[:-50], b"hello", whole.replace(b"data", b"beta")):
        file.write_bytes(broken)
        with pytest.raises(DatasetError, match="damaged or not a cifar10 file") as caught:
            index_dataset(tmp_path / "c", work_dir=work)
        assert "data_batch_3" in str(caught.value)
        assert "\n" not in str(caught.value)
    file.unlink()
    with pytest.raises(DatasetError, match=r"data_batch_3.*No such file"):
        index_dataset(tmp_path / "c", work_dir=work)


def test_no_copy(tmp_path: Path, work: Path, monkeypatch) -> None:
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    with pytest.raises(
        DatasetError, match=r"does not download it: run python.*cifar100\.load_data"
    ):
        index_dataset("cifar100", work_dir=work)
