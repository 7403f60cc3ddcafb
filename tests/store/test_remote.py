"""A cache in object storage: a real S3 API over loopback, machines that share only the bucket."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest
from bucket import Bucket, whole_files
from click.testing import CliRunner
from fake_cache import (
    digest_of,
    expected,
    extract,
    fake_key,
    fake_rows,
    make_index,
    many_files,
)

from featx.cli import app
from featx.errors import CacheCorruptError, CacheError, CacheMissError, CacheWriteError
from featx.owner import Owner, this_process
from featx.records import DatasetIndex
from featx.store import (
    CacheEntry,
    gc,
    is_published,
    list_entries,
    load_features,
    load_rows,
    local_cache,
    remove,
    repair,
    verify,
)
from featx.store.remote import UNSENT, RemoteCache, mark_of

# gcsfs hands aiohttp what it sends as bytes.
pytestmark = pytest.mark.filterwarnings("ignore:Sending a large body:ResourceWarning")

SMALL = {"part_bytes": 3000}


only_s3 = pytest.mark.parametrize("server", ["s3"], indirect=True)


def entry_url(bucket: Bucket) -> str:
    (view,) = [key for key in bucket.names() if key.endswith("/cache.h5")]
    return f"{bucket.url}/{view.removesuffix('/cache.h5')}"


def same_as_bucket(mirror: Path, bucket: Bucket) -> bool:
    return [name for name in whole_files(mirror) if name != "claim.json"] == bucket.names()


# --- two machines --------------------------------------------------------------------------------


def test_another_machine_reads_the_same_rows(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bucket.on(tmp_path / "one")
    extract(one, index, **SMALL)
    assert same_as_bucket(one, bucket)
    assert len(bucket.parts()) > 2

    monkeypatch.setenv("FEATX_MIRROR", str(tmp_path / "two"))
    for tap in ("avg", "flatten"):
        found = load_features(entry_url(bucket), tap)
        np.testing.assert_array_equal(found.X, expected(index, tap))
    assert found.paths == tuple(s.relpath for s in index.samples)
    two = bucket.on(tmp_path / "two")
    assert same_as_bucket(two, bucket)
    assert verify(two)["bad"] == []


def test_a_data_set_may_have_any_name(bucket: Bucket, tmp_path: Path) -> None:
    index = make_index(many_files(9), "+Fotos für später, Тест")
    extract(bucket.on(tmp_path / "one"), index)
    (view,) = bucket.on(tmp_path / "two").glob("*/*/cache.h5")
    found = load_features(view)
    assert found.dataset == index.name
    np.testing.assert_array_equal(found.X, expected(index, "avg"))
    assert same_as_bucket(tmp_path / "two" / view.parents[2].name, bucket)


def test_parts_are_fetched_when_they_are_opened(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    one = bucket.on(tmp_path / "one")
    extract(one, index, **SMALL)
    two = bucket.on(tmp_path / "two")
    assert [name for name in whole_files(two) if "/parts/" in name] == []
    (here,), (there,) = list_entries(two), list_entries(one)
    assert (here.images, here.parts, here.state) == (there.images, there.parts, "ready")
    assert here.size_bytes == there.size_bytes

    extract(bucket.on(tmp_path / "three"), make_index({"a/1.jpg": "x"}, "other", "/other"))
    load_features(two / "toy" / here.path.name)
    assert set(bucket.parts()) - set(whole_files(two)) == {
        key for key in bucket.parts() if key.startswith("other/")
    }


def test_only_what_lacks_is_computed_on_another_machine(bucket: Bucket, tmp_path: Path) -> None:
    first, second = make_index(many_files(25)), make_index(many_files(31))
    extract(bucket.on(tmp_path / "one"), first, **SMALL)
    forwarded: list[str] = []
    extract(bucket.on(tmp_path / "two"), second, forwarded=forwarded, **SMALL)
    assert len(forwarded) == 6
    one = bucket.on(tmp_path / "one")
    (view,) = one.glob("*/*/cache.h5")
    np.testing.assert_array_equal(load_features(view).X, expected(second, "avg"))
    forwarded.clear()
    extract(one, second, forwarded=forwarded, **SMALL)
    assert forwarded == []


def test_a_reader_whose_parts_were_merged_meanwhile_reads_the_new_ones(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    one, two = bucket.on(tmp_path / "one"), bucket.on(tmp_path / "two")
    extract(one, index, **SMALL)
    two = bucket.on(tmp_path / "two")  # knows the view and its parts, and has none of them
    before = bucket.parts()
    assert gc(one)["parts"] > 1
    assert not set(bucket.parts()) & set(before)
    (view,) = two.glob("*/*/cache.h5")
    np.testing.assert_array_equal(load_features(view, "flatten").X, expected(index, "flatten"))
    assert same_as_bucket(two, bucket)


def test_readers_see_whole_views_while_a_writer_works(bucket: Bucket, tmp_path: Path) -> None:
    one, two = bucket.on(tmp_path / "one"), tmp_path / "two"
    sizes = (10, 17, 24, 31, 38)
    extract(one, make_index(many_files(sizes[0])), **SMALL)

    def write() -> None:
        for size in sizes[1:]:
            extract(one, make_index(many_files(size)), **SMALL)
            gc(one)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while True:
        last = not writer.is_alive()
        (view,) = bucket.on(two).glob("*/*/cache.h5")
        found = load_features(view)
        seen.add(len(found.X))
        np.testing.assert_array_equal(found.X, fake_rows(found.digests, "avg"))
        if last:
            break
    writer.join()
    assert seen <= set(sizes)
    assert max(seen) == sizes[-1]


def test_two_writers_at_once_leave_a_sound_cache(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    folders = [bucket.on(tmp_path / name) for name in ("one", "two")]
    threads = [
        threading.Thread(target=extract, args=(folder, index), kwargs=SMALL) for folder in folders
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    three = bucket.on(tmp_path / "three")
    (view,) = three.glob("*/*/cache.h5")
    np.testing.assert_array_equal(load_features(view).X, expected(index, "avg"))
    assert verify(three)["bad"] == []
    gc(three)
    rows = CacheEntry.at(view.parent).state().part_rows
    assert sum(rows) == len(index.samples)  # each once, also where both had computed it


@only_s3  # the other server gives whole files, whatever is asked for of them
@pytest.mark.parametrize(("rows", "width", "whole"), [(150, 4096, False), (5000, 64, True)])
def test_a_plan_needs_no_rows_of_large_parts(
    bucket: Bucket,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    rows: int,
    width: int,
    whole: bool,
) -> None:
    monkeypatch.setattr("featx.store.remote._HEAD_BYTES", 1 << 18)
    one = bucket.on(tmp_path / "one")
    entry = CacheEntry.open(one, one / "toy", fake_key(), create=True)
    digests = [digest_of(i) for i in range(rows)]
    values = np.random.default_rng(0).random((rows, width), np.float32)
    with entry.writer({"wide": (width,)}, provenance={"engine": "fake"}) as writer:
        writer.append(digests, {"wide": values})

    two = CacheEntry.at(bucket.on(tmp_path / "two") / "toy" / entry.path.name)
    state = two.state()
    assert two.provenances() == entry.provenances() == [{"engine": "fake"}]
    assert state.seals == entry.state().seals
    assert all(digest in state.rows["wide"] for digest in digests)
    mirror = tmp_path / "two" / two.path.parents[1].name
    assert [n for n in whole_files(mirror) if n.endswith(".h5")] == bucket.parts() * whole
    np.testing.assert_array_equal(load_rows(two, "wide", digests[::-1]), values[::-1])
    assert set(bucket.parts()) <= set(whole_files(mirror))
    assert not [path for path in (mirror / ".ends").rglob("*.h5")]


def test_damaged_digests_in_the_bucket_are_told_of_the_part(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("featx.store.remote._HEAD_BYTES", 1 << 18)
    one = bucket.on(tmp_path / "one")
    entry = CacheEntry.open(one, one / "toy", fake_key(), create=True)
    digests = [digest_of(i) for i in range(150)]
    with entry.writer({"wide": (4096,)}) as writer:
        writer.append(digests, {"wide": np.ones((150, 4096), np.float32)})
    (part,) = bucket.parts()
    bucket.flip(part, digests[7].encode())
    two = CacheEntry.at(bucket.on(tmp_path / "two") / "toy" / entry.path.name)
    with pytest.raises(CacheCorruptError, match="damaged bytes in 'digests'") as caught:
        two.state()
    assert caught.value.path.endswith(part)


# --- faults --------------------------------------------------------------------------------------


def test_damage_in_the_bucket_is_found_repaired_and_sent(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    one = bucket.on(tmp_path / "one")
    extract(one, index, **SMALL)
    victim = bucket.parts()[1]
    row = next(r for r in expected(index, "flatten") if r.tobytes() in bucket.read(victim))
    bucket.flip(victim, row.tobytes())
    assert verify(bucket.on(tmp_path / "one"))["bad"][0]["path"].endswith(victim)

    two = bucket.on(tmp_path / "two")
    assert [Path(flaw["path"]).name for flaw in verify(two)["bad"]] == [Path(victim).name]
    report = repair(two)
    assert report["lost"] == 1
    assert victim not in bucket.names()
    forwarded: list[str] = []
    extract(two, index, forwarded=forwarded, **SMALL)
    assert len(forwarded) == 1

    one = bucket.on(tmp_path / "one")
    assert verify(one)["bad"] == []
    (view,) = one.glob("*/*/cache.h5")
    np.testing.assert_array_equal(load_features(view).X, expected(index, "avg"))


@pytest.mark.parametrize("name", ["dataset.json", "entry.json", "cache.h5"])
def test_damage_of_small_files_in_the_bucket_is_repaired(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex, name: str
) -> None:
    one = bucket.on(tmp_path / "one")
    extract(one, index, **SMALL)
    (key,) = [key for key in bucket.names() if key.endswith(name)]
    bucket.flip(key)
    one = bucket.on(tmp_path / "one")
    assert [Path(flaw["path"]).name for flaw in verify(one)["bad"]] == [name]
    repair(one)
    forwarded: list[str] = []
    extract(one, index, forwarded=forwarded, **SMALL)
    assert forwarded == []
    assert verify(bucket.on(tmp_path / "two"))["bad"] == []


def test_a_part_cut_short_in_the_bucket_is_not_taken_for_the_whole_one_here(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    one = bucket.on(tmp_path / "one")
    entry = extract(one, index, **SMALL)
    victim = bucket.parts()[0]
    bucket.write(victim, bucket.read(victim)[:-100])
    bucket.on(tmp_path / "one")
    with pytest.raises(CacheError, match="truncated"):
        load_features(entry.path)


@pytest.mark.parametrize("end", [b"\r", b"\n", b"\r\n", b"\0"])
def test_whatever_a_file_ends_in_arrives(bucket: Bucket, tmp_path: Path, end: bytes) -> None:
    cache = RemoteCache(bucket.url, bucket.on(tmp_path))
    path = tmp_path / "file"
    path.write_bytes(b"some\r\nbytes" + end)
    cache.put(path, "toy/file")
    assert bucket.read("toy/file") == path.read_bytes()


def test_what_could_not_be_sent_is_sent_by_the_next_run(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = bucket.on(tmp_path / "one")
    real = RemoteCache.put

    def put(self: RemoteCache, path: Path, name: str) -> None:
        if path.suffix == ".h5":
            raise CacheWriteError("the line is dead")
        real(self, path, name)

    monkeypatch.setattr(RemoteCache, "put", put)
    with pytest.raises(CacheWriteError, match="the line is dead"):
        extract(one, index, part_bytes=10**6)
    assert bucket.parts() == []
    monkeypatch.setattr(RemoteCache, "put", real)
    one = bucket.on(tmp_path / "one")
    assert len(bucket.parts()) == 1
    forwarded: list[str] = []
    extract(one, index, forwarded=forwarded)
    assert forwarded == []
    assert same_as_bucket(bucket.on(tmp_path / "one"), bucket)
    (view,) = bucket.on(tmp_path / "two").glob("*/*/cache.h5")
    np.testing.assert_array_equal(load_features(view).X, expected(index, "avg"))


def test_a_view_that_could_not_be_sent_counts_for_nothing(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = make_index(many_files(12)), make_index(many_files(15))
    one = bucket.on(tmp_path / "one")
    extract(one, first)
    real = RemoteCache.put

    def put(self: RemoteCache, path: Path, name: str) -> None:
        if path.name == "cache.h5":
            raise CacheWriteError("the line is dead")
        real(self, path, name)

    monkeypatch.setattr(RemoteCache, "put", put)
    with pytest.raises(CacheWriteError, match="the line is dead"):
        extract(one, second)
    monkeypatch.setattr(RemoteCache, "put", real)
    one = bucket.on(tmp_path / "one")
    (view,) = one.glob("*/*/cache.h5")
    assert len(load_features(view).X) == 12  # as everybody else sees it
    extract(one, second)
    assert len(load_features(entry_url(bucket)).X) == 15


def test_what_a_living_process_is_about_to_send_is_left_to_it(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    entry = extract(bucket.on(tmp_path / "one"), index, **SMALL)
    process = subprocess.Popen(["sleep", "120"])
    try:
        tag = Owner("", process.pid, 0, this_process().machine).tag
        part = entry.parts_dir / "later.h5"
        part.write_bytes(b"new")
        entry.view_path.write_bytes(b"new")
        for path in (part, entry.view_path):
            path.with_name(f".{path.name}.unsent").write_text(tag)
        bucket.on(tmp_path / "one")
        assert part.read_bytes() == entry.view_path.read_bytes() == b"new"
        assert not [key for key in bucket.parts() if key.endswith("later.h5")]
    finally:
        process.kill()
        process.wait()
    bucket.on(tmp_path / "one")
    assert [key for key in bucket.parts() if key.endswith("later.h5")]
    assert load_features(entry.path).paths == tuple(s.relpath for s in index.samples)
    assert not [path for path in entry.path.rglob(".*.unsent")]


@only_s3  # the other server refuses such names itself
def test_names_in_a_bucket_cannot_leave_the_mirror(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    extract(bucket.on(tmp_path / "one"), index)
    good = bucket.names()
    for key in (
        "../dataset.json",
        "../../x/entry.json",
        "toy/../../../cache.h5",
        "/etc/dataset.json",
        "toy/..%2f/entry.json",
        ".sources/entry/cache.h5",
        "toy/.hidden/parts/a.h5",
        "toy/entry/parts/a.h5.unsent",
        ".featx-mirror.json",
    ):
        bucket.write(key, b"evil")
    before = {path for path in tmp_path.rglob("*") if "two" not in path.parts}
    two = bucket.on(tmp_path / "two")
    verify(two)
    assert whole_files(two) == good
    made = {path for path in tmp_path.rglob("*") if path.is_file()} - before
    assert made
    assert all(two in path.parents for path in made)


# --- the command line ----------------------------------------------------------------------------


def run(*words: str) -> tuple[int, str]:
    done = CliRunner().invoke(app, list(words))
    if done.exception and not isinstance(done.exception, SystemExit | CacheError):
        raise done.exception
    return done.exit_code, done.output + str(done.exception or "")


def test_cache_commands_take_a_url(bucket: Bucket, tmp_path: Path, index: DatasetIndex) -> None:
    extract(bucket.on(tmp_path / "one"), index, **SMALL)
    bucket.on(tmp_path / "two")
    where = ("--cache-dir", bucket.url)
    assert "ready" in run("cache", "ls", *where)[1]
    assert "30 rows" in run("cache", "verify", *where)[1].replace("  ", " ")
    assert run("cache", "gc", *where)[0] == 0
    assert len(bucket.parts()) == 1
    out = tmp_path / "out.npz"
    entry = entry_url(bucket).removeprefix(f"{bucket.url}/")
    assert run("cache", "export", entry, str(out), *where)[0] == 0
    np.testing.assert_array_equal(np.load(out)["features_avg"], expected(index, "avg"))
    assert run("cache", "rm", "toy", "--yes", *where)[0] == 0
    assert bucket.names() == []
    assert "Nothing is cached" in run("cache", "ls", *where)[1]
    one = bucket.on(tmp_path / "one")
    assert list_entries(one) == []
    assert whole_files(one) == []


def test_the_variable_may_hold_a_url(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract(bucket.on(tmp_path / "one"), index)
    monkeypatch.setenv("FEATX_CACHE", bucket.url)
    assert "ready" in run("cache", "ls")[1]


def test_an_entry_that_another_machine_removed_is_gone_here(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    one = bucket.on(tmp_path / "one")
    extract(one, index)
    remove(bucket.on(tmp_path / "two"))
    with pytest.raises(CacheMissError):
        load_features(f"{bucket.url}/toy/mobilenet-0")
    assert list_entries(bucket.on(tmp_path / "one")) == []


def test_a_part_that_its_writer_could_not_send_any_more_is_not_published(
    bucket: Bucket, tmp_path: Path
) -> None:
    cache = bucket.on(tmp_path / "one")
    extract(cache, make_index(many_files(9)), ["avg"])
    part = next(cache.glob("*/*/parts/*.h5"))
    assert is_published(part)
    mark_of(part, UNSENT).write_text("")  # as a process leaves it that is killed while it sends
    assert not is_published(part)
    local_cache(bucket.url)  # the next run sends it
    assert is_published(part)
