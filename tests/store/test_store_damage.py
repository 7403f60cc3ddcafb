"""Every byte counts: flips, cuts and losses are found, never read, and repaired."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import h5py
import numpy as np
import pytest
from fake_cache import expected, extract, fake_key, make_index, many_files

from featx.errors import CacheCorruptError, CacheError, CacheMissError
from featx.records import DatasetIndex
from featx.store import CacheEntry, gc, list_entries, load_features, repair, verify
from featx.store.check import check_part

TAPS = ("avg", "flatten")


@pytest.fixture(params=["none", "blosc2"])
def small(request: pytest.FixtureRequest, tmp_path: Path) -> CacheEntry:
    """Five images in one part, as small as parts get."""
    if request.param == "blosc2":
        pytest.importorskip("hdf5plugin")
    return extract(tmp_path, make_index(many_files(5)), compression=request.param)


def flips(path: Path, step: int = 1) -> Iterator[int]:
    """Flip one bit of one byte at a time."""
    sound = path.read_bytes()
    with path.open("r+b") as file:
        for position in range(0, len(sound), step):
            file.seek(position)
            file.write(bytes([sound[position] ^ (1 << position % 8)]))
            file.flush()
            yield position
            file.seek(position)
            file.write(sound[position : position + 1])
            file.flush()


def read_or_refuse(entry: CacheEntry, index: DatasetIndex) -> int:
    """Read all there is in every way; wrong numbers fail the test. Return the refusals."""
    refused = 0
    for tap in TAPS:
        whole = expected(index, tap)
        rows = np.arange(len(whole))
        ways = (
            lambda lazy: np.asarray(lazy),
            lambda lazy, rows=rows: lazy.rows(rows),
            lambda lazy, width=whole.shape[1]: lazy.columns(0, width),
        )
        for way in ways:
            try:
                found = way(load_features(entry.path, tap, lazy=True).X)
            except CacheCorruptError as error:
                refused += 1
                text = str(error)
            else:
                text = f"{entry.path} featx cache repair"
                np.testing.assert_array_equal(found, whole)
            assert str(entry.path) in text
            assert "featx cache repair" in text
    return refused


@pytest.mark.slow
def test_every_flipped_byte_of_a_part_is_found(small: CacheEntry) -> None:
    index = make_index(many_files(5))
    (part,) = small.part_paths()
    step = 1 if small.state().compression == "none" else 9  # the frame around is the same
    undetected = [p for p in flips(part, step) if not check_part(part).flaws]
    assert undetected == []
    assert not check_part(part).flaws
    refused = sum(read_or_refuse(small, index) > 0 for _ in flips(part, 31))
    assert refused > 10


@pytest.mark.slow
def test_every_flipped_byte_of_the_other_files_is_found(small: CacheEntry) -> None:
    index = make_index(many_files(5))
    for name in ("cache.h5", "entry.json", "../dataset.json"):
        path = small.path / name
        step = 1 if path.stat().st_size < 5000 else 23
        for position in flips(path, step):
            assert verify(small.path.parent)["bad"], f"byte {position} of {name}"
            if name == "cache.h5" and position % 2 == 0:
                read_or_refuse(small, index)
    assert verify(small.path.parent)["bad"] == []


@pytest.mark.slow
def test_after_any_flip_repair_and_extraction_restore_everything(small: CacheEntry) -> None:
    index, compression = make_index(many_files(5)), small.state().compression
    cache = small.path.parent.parent
    sound = {p: p.read_bytes() for p in small.path.parent.rglob("*") if p.is_file()}
    saved = 0
    for path, data in sound.items():
        for position in range(0, len(data), max(1, len(data) // 20)):
            path.write_bytes(data[:position] + bytes([data[position] ^ 16]) + data[position + 1 :])
            report = repair(cache)
            assert report["bad"], f"byte {position} of {path.name}"
            assert verify(cache)["bad"] == []
            forwarded: list[str] = []
            extract(cache, index, forwarded=forwarded, compression=compression)
            assert len(forwarded) <= report["lost"] or path.name == "cache.h5"
            saved += len(forwarded) < 5
            for tap in TAPS:
                np.testing.assert_array_equal(
                    load_features(small.path, tap).X, expected(index, tap)
                )
            shutil.rmtree(small.path.parent)
            for old, content in sound.items():
                old.parent.mkdir(parents=True, exist_ok=True)
                old.write_bytes(content)
    assert saved > 50


def flip_in(path: Path, data: np.ndarray) -> None:
    """Flip a bit of the file where the bytes of `data` lie."""
    content = bytearray(path.read_bytes())
    position = content.index(data.tobytes())
    content[position] ^= 1
    path.write_bytes(content)


def test_a_damaged_row_is_named_and_costs_itself_only(tmp_path: Path) -> None:
    index = make_index(many_files(400))
    entry = extract(tmp_path, index, part_bytes=1 << 20)
    whole = expected(index, "flatten")
    (part,) = entry.part_paths()
    flip_in(part, whole[123])
    report = verify(tmp_path)
    assert report["rows"] == 400
    assert report["bad"] == [
        {"path": str(part), "rows": [123], "reason": "damaged rows of 'flatten'"}
    ]
    lazy = load_features(entry.path, "flatten", lazy=True).X
    np.testing.assert_array_equal(lazy.rows([122, 124]), whole[[122, 124]])
    for read in (lambda: lazy.rows([5, 123]), lambda: np.asarray(lazy), lambda: lazy.columns(0, 9)):
        with pytest.raises(
            CacheCorruptError, match=r"1 damaged row\(s\) of tap 'flatten' \(123\)"
        ) as e:
            read()
        assert (e.value.path, e.value.tap, e.value.rows) == (str(part), "flatten", (123,))
    np.testing.assert_array_equal(load_features(entry.path, "avg").X, expected(index, "avg"))

    outcome = repair(tmp_path)
    assert (outcome["kept"], outcome["lost"]) == (400, 1)
    assert outcome["removed"] == [str(part)]
    assert verify(tmp_path)["bad"] == []
    np.testing.assert_array_equal(load_features(entry.path, "avg").X, expected(index, "avg"))
    with pytest.raises(CacheMissError, match=r"1 of 400 rows of tap 'flatten'.*featx extract"):
        load_features(entry.path, "flatten")
    with h5py.File(entry.view_path) as file:
        data = file["features/flatten"][:]
        assert np.isnan(data[123]).all()
        assert not np.isnan(np.delete(data, 123, 0)).any()
    forwarded: list[str] = []
    extract(tmp_path, index, forwarded=forwarded)
    assert forwarded == [index.samples[123].digest]
    np.testing.assert_array_equal(load_features(entry.path, "flatten").X, whole)


def test_a_damaged_digest_is_known_from_the_view(entry: CacheEntry, index: DatasetIndex) -> None:
    part = entry.part_paths()[1]
    flip_in(part, np.frombuffer(check_digests(part)[3].encode(), np.uint8))
    (flaw,) = verify(entry.path)["bad"]
    assert flaw == {"path": str(part), "rows": [3], "reason": "damaged image digests"}
    with pytest.raises(CacheCorruptError, match="digests"):
        entry.state()
    assert repair(entry.path)["lost"] == 0
    for tap in TAPS:
        np.testing.assert_array_equal(load_features(entry.path, tap).X, expected(index, tap))


def check_digests(path: Path) -> list[str]:
    from featx.store.part import Part

    with Part(path) as part:
        return part.digests()


@pytest.mark.parametrize("keep", [0, 1, 63, 64, 1000, -1, -64, -700])
def test_a_truncated_part(
    entry: CacheEntry, index: DatasetIndex, tmp_path: Path, keep: int
) -> None:
    part = entry.part_paths()[1]
    rows = len(check_digests(part))
    part.write_bytes(part.read_bytes()[:keep])
    (flaw,) = verify(tmp_path)["bad"]
    assert flaw["path"] == str(part)
    with pytest.raises(CacheCorruptError, match="truncated"):
        load_features(entry.path)
    with pytest.raises(CacheCorruptError, match="truncated"):
        entry.state()
    assert repair(tmp_path)["lost"] in (0, rows)
    assert verify(tmp_path)["bad"] == []
    extract(tmp_path, index)
    np.testing.assert_array_equal(load_features(entry.path).X, expected(index, "avg"))


def test_a_part_cut_while_it_is_read(entry: CacheEntry) -> None:
    lazy = load_features(entry.path, lazy=True).X
    for part in entry.part_paths():
        with part.open("r+b") as file:
            file.truncate(100)
    for read in (lambda: lazy.rows([1]), lambda: lazy.columns(0, 3), lambda: np.asarray(lazy)):
        with pytest.raises(CacheCorruptError, match="truncated"):
            read()


def test_a_missing_part(entry: CacheEntry, index: DatasetIndex, tmp_path: Path) -> None:
    part = entry.part_paths()[0]
    rows = len(check_digests(part))
    part.unlink()
    (flaw,) = verify(tmp_path)["bad"]
    assert flaw == {"path": str(part), "rows": list(range(rows)), "reason": "missing"}
    assert list_entries(tmp_path)[0].state == "damaged"
    with pytest.raises(CacheCorruptError, match="is missing"):
        load_features(entry.path)
    with h5py.File(entry.view_path) as file:
        assert np.isnan(file["features/avg"][0]).all()  # never zeros that look like features
    forwarded: list[str] = []
    extract(tmp_path, index, forwarded=forwarded)
    assert len(forwarded) == rows
    assert verify(tmp_path)["bad"] == []
    np.testing.assert_array_equal(load_features(entry.path).X, expected(index, "avg"))


def test_a_part_of_another_entry(entry: CacheEntry, index: DatasetIndex, tmp_path: Path) -> None:
    other = extract(tmp_path, index, key=fake_key(weights="1" * 64))
    shutil.copy(other.part_paths()[0], entry.parts_dir)
    with pytest.raises(CacheError, match=r"weights is '1111.*' there, '0000.*' wanted"):
        entry.state()
    assert verify(entry.path)["bad"][0]["reason"] == "belongs to another extraction"
    repair(tmp_path)
    assert verify(tmp_path)["bad"] == []
    entry.state()


def test_a_part_swapped_for_another(entry: CacheEntry) -> None:
    first, second = entry.part_paths()[:2]
    shutil.copy(first, second)
    with pytest.raises(CacheCorruptError, match="not the part that the view was made of"):
        load_features(entry.path)
    assert verify(entry.path)["bad"][0]["reason"] == "not the part that the view was made of"


def test_a_lost_entry_file(entry: CacheEntry, index: DatasetIndex, tmp_path: Path) -> None:
    (entry.path / "entry.json").unlink()
    assert verify(tmp_path)["bad"][0]["reason"] == "missing"
    repair(tmp_path)
    assert CacheEntry.at(entry.path).key == entry.key
    forwarded: list[str] = []
    extract(tmp_path, index, forwarded=forwarded)
    assert forwarded == []


def test_rubbish_is_refused(entry: CacheEntry, tmp_path: Path) -> None:
    part = entry.part_paths()[0]
    for rubbish in (
        b"",
        b"x" * 10_000,
        b"\x89HDF\r\n\x1a\n" + b"\0" * 5000,
        part.read_bytes()[64:],
    ):
        part.write_bytes(rubbish)
        with pytest.raises(CacheCorruptError):
            entry.state()
        assert verify(tmp_path)["bad"]
    entry.view_path.write_bytes(part.read_bytes())
    with pytest.raises(CacheCorruptError):
        load_features(entry.path)


def test_damage_stops_gc_before_anything_is_removed(
    entry: CacheEntry, index: DatasetIndex, tmp_path: Path
) -> None:
    fewer = make_index({s.relpath: i for i, s in enumerate(index.samples)})
    extract(tmp_path, fewer)
    before = {p: p.read_bytes() for p in entry.part_paths()}
    part = max(before, key=lambda p: p.stat().st_size)
    content = bytearray(before[part])
    content[len(content) // 4] ^= 1
    part.write_bytes(content)
    if check_part(part).flaws[0].rows:
        with pytest.raises(CacheCorruptError):
            gc(tmp_path)
    assert {p for p in before if not p.exists()} == set()
