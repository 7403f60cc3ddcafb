"""One writer an entry, between machines that share nothing but a bucket."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fakes
import numpy as np
import pytest
import s3fs
from bucket import Bucket
from conftest import make_photos
from fake_cache import (
    claim_of_another,
    expected,
    extract,
    fake_key,
    kill_holder,
    make_index,
    many_files,
)

import featx
import featx.store.claim
import featx.store.entry
from featx.errors import CacheBusyError, CacheError, CacheWriteError
from featx.records import DatasetIndex
from featx.store import (
    CacheEntry,
    Claim,
    claim_places,
    dataset_dir,
    gc,
    list_entries,
    load_features,
    local_cache,
    remove,
    repair,
)
from featx.store.claim import is_held
from featx.store.claim_places import ClaimObject, list_places

only_s3 = pytest.mark.parametrize("server", ["s3"], indirect=True)


def folder_on(machine: Path, bucket: Bucket, index: DatasetIndex) -> Path:
    """Return the folder of one entry on a machine."""
    root = bucket.on(machine)
    folder = dataset_dir(root, index.name, index.root, create=True)
    return CacheEntry.open(root, folder, fake_key(), create=True).path


def place_of(folder: Path) -> ClaimObject:
    place = list_places(folder)[-1]
    assert isinstance(place, ClaimObject)
    return place


def claim_of(bucket: Bucket) -> list[str]:
    return [name for name in bucket.names() if "claim" in name]


def write_claim(bucket: Bucket, folder: Path, **changes: object) -> None:
    """Have somebody else hold the claim in the bucket."""
    key = f"{folder.parent.name}/{folder.name}/claim.json"
    bucket.write(key, claim_of_another(**changes))


def raise_in_s3(patch: pytest.MonkeyPatch, error: OSError, where: Callable[[Any], bool]) -> None:
    """Have the client's requests raise, with arguments of which `where` says so."""
    call = s3fs.S3FileSystem._call_s3

    async def call_or_raise(self: s3fs.S3FileSystem, method: str, *args: Any, **how: Any) -> Any:
        if method == "put_object" and where(how):
            raise error
        return await call(self, method, *args, **how)

    patch.setattr(s3fs.S3FileSystem, "_call_s3", call_or_raise)


@pytest.fixture
def one(bucket: Bucket, tmp_path: Path, index: DatasetIndex) -> Path:
    return folder_on(tmp_path / "one", bucket, index)


@pytest.fixture
def two(bucket: Bucket, tmp_path: Path, index: DatasetIndex) -> Path:
    return folder_on(tmp_path / "two", bucket, index)


def test_it_holds_between_machines(bucket: Bucket, one: Path, two: Path) -> None:
    with Claim(one) as claim:
        assert claim.held()
        assert is_held(two, claim.token)
        with pytest.raises(CacheBusyError) as caught, Claim(two):
            pass
        for word in (bucket.url, one.name, f"process {os.getpid()}"):
            assert word in str(caught.value)
        assert claim.held()
    assert not is_held(two, claim.token)
    with pytest.raises(KeyError), Claim(two):
        raise KeyError
    assert claim_of(bucket) == []
    assert not list(one.glob("*claim*")) + list(two.glob("*claim*"))


def test_machines_at_once_compute_each_row_once(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ClaimObject, "poll_seconds", 0.1)
    roots = [bucket.on(tmp_path / name) for name in ("one", "two", "three")]
    forwarded: list[list[str]] = [[], [], []]

    def work(root: Path, mine: list[str]) -> None:
        extract(root, index, part_bytes=3000, forwarded=mine)

    threads = [threading.Thread(target=work, args=a) for a in zip(roots, forwarded, strict=True)]
    threads[0].start()
    while not claim_of(bucket):  # the server of gs:// knows no writing of what is not there yet
        assert threads[0].is_alive()
    for thread in threads[1:]:
        thread.start()
    for thread in threads:
        thread.join()
    assert [len(mine) for mine in forwarded] == [len(index.samples), 0, 0]
    for root in roots:
        (view,) = root.glob("*/*/cache.h5")
        np.testing.assert_array_equal(load_features(view).X, expected(index, "avg"))


def test_what_another_has_published_is_here_once_it_is_held(
    bucket: Bucket, one: Path, tmp_path: Path, index: DatasetIndex
) -> None:
    extract(bucket.on(tmp_path / "two"), index)
    assert CacheEntry.at(one).state().part_rows == ()
    with Claim(one):
        assert sum(CacheEntry.at(one).state().part_rows) == len(index.samples)


def test_the_list_says_who_is_at_work_on_another_machine(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    entry = extract(bucket.on(tmp_path / "one"), index)
    other = bucket.on(tmp_path / "two")
    write_claim(bucket, entry.path, machine="elsewhere", host="laptop")
    (info,) = list_entries(other)
    assert (info.state, "on laptop since 2026" in info.detail) == ("busy", True)
    write_claim(bucket, entry.path, pid=2**22 + 1)  # no such process
    assert list_entries(other)[0].state == "ready"


@pytest.mark.parametrize("work", [gc, repair, remove])
def test_housekeeping_leaves_an_entry_to_who_is_at_work_in_it(
    bucket: Bucket, one: Path, two: Path, work: object
) -> None:
    assert callable(work)
    with Claim(one), pytest.raises(CacheBusyError):
        work(two.parents[1])
    work(two.parents[1])


def test_a_killed_holder_of_this_machine_is_recovered_at_once(
    bucket: Bucket, one: Path, two: Path
) -> None:
    kill_holder(one)
    assert len(claim_of(bucket)) == 1
    with Claim(two):
        pass
    assert claim_of(bucket) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"machine": "elsewhere"},
        {},  # this process: it could not give it back where the line was cut
    ],
)
def test_a_silent_holder_is_dead(
    bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, object]
) -> None:
    write_claim(bucket, one, host="laptop", **changes)
    with pytest.raises(CacheBusyError, match="laptop"), Claim(one):
        pass
    assert len(claim_of(bucket)) == 1  # and no probe
    monkeypatch.setattr(featx.store.claim, "STALE_SECONDS", 0.5)
    time.sleep(1.6)  # times are told by the second
    with Claim(one):
        pass
    assert claim_of(bucket) == []


def test_a_holder_is_heard(bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(featx.store.claim, "BEAT_SECONDS", 0.1)
    with Claim(one):
        time.sleep(5)
        assert place_of(one).silent_seconds() <= 2  # times are told by the second
    monkeypatch.setattr(featx.store.claim, "BEAT_SECONDS", 60.0)
    with Claim(one):
        time.sleep(5)
        assert place_of(one).silent_seconds() >= 4


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"token": "x", "pid": "y"}', b"\xff\0"])
def test_an_unreadable_claim_is_waited_for_and_then_recovered(
    bucket: Bucket, one: Path, content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.write(f"{one.parent.name}/{one.name}/claim.json", content)
    with pytest.raises(CacheBusyError), Claim(one):
        pass
    monkeypatch.setattr(featx.store.claim, "STALE_SECONDS", -1.0)
    with Claim(one):
        pass
    assert claim_of(bucket) == []


def test_a_claim_that_was_taken_for_dead_is_left_alone(bucket: Bucket, one: Path) -> None:
    with Claim(one) as claim:
        write_claim(bucket, one, machine="elsewhere")
        assert not claim.held()
    holder = place_of(one).read()
    assert holder is not None
    assert holder["token"] == "theirs"
    place_of(one).recover("the dead one's")
    assert len(claim_of(bucket)) == 1


@only_s3
def test_of_two_that_see_none_the_store_takes_one(
    bucket: Bucket, one: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert place_of(one).create(b"first")
    asked: list[str] = []
    cat = claim_places._cat

    def cat_later(files: Any, path: str) -> bytes | None:
        asked.append(path)
        return None if len(asked) % 2 else cat(files, path)

    monkeypatch.setattr(claim_places, "_cat", cat_later)
    assert not place_of(two).create(b"second")
    assert place_of(one).create(b"first")  # the store's answer to it was lost
    (name,) = claim_of(bucket)
    assert bucket.read(name) == b"first"
    assert len(asked) == 4


@only_s3
def test_a_store_that_is_removing_one_just_then_is_asked_again(
    bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def first(how: Any) -> bool:
        asked.extend(how.keys() & {"IfNoneMatch"})
        return len(asked) == 1

    conflict = OSError(
        errno.EIO, "An error occurred (ConditionalRequestConflict) when calling PutObject"
    )
    raise_in_s3(monkeypatch, conflict, first)
    monkeypatch.setattr(ClaimObject, "poll_seconds", 0.1)
    with Claim(one) as claim:
        assert claim.held()
    assert len(asked) == 2


@only_s3
def test_a_store_that_cannot_write_what_is_not_there_yet_is_taken_at_its_word(
    bucket: Bucket, one: Path, two: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unknown = OSError(errno.ENOSYS, "A header implies functionality that is not implemented")
    raise_in_s3(monkeypatch, unknown, lambda how: "IfNoneMatch" in how)
    with Claim(one), pytest.raises(CacheBusyError), Claim(two):
        pass
    assert claim_of(bucket) == []


@only_s3
def test_a_bucket_that_cannot_be_written_is_told(
    bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raise_in_s3(monkeypatch, PermissionError("Forbidden"), lambda how: True)
    with (
        pytest.raises(CacheWriteError, match=r"claim\.json: Forbidden\. Check the cred"),
        Claim(one),
    ):
        pass
    assert not list(one.glob("*claim*"))  # nor is this machine's kept


def test_a_mirror_that_cannot_be_brought_up_to_date_is_not_held(
    bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(folder: Path) -> None:
        raise CacheError("cut")

    monkeypatch.setattr(featx.store.claim, "refresh", fail)
    with pytest.raises(CacheError, match="cut"), Claim(one):
        pass
    assert claim_of(bucket) == []
    assert not list(one.glob("*claim*"))


def test_a_line_that_hangs_does_not_hold_up_the_end(
    bucket: Bucket, one: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(featx.store.claim, "END_SECONDS", 0.2)
    again = threading.Event()
    read = ClaimObject.read

    def hang(self: ClaimObject) -> object:
        again.wait(60)
        return read(self)

    with Claim(one):
        monkeypatch.setattr(ClaimObject, "read", hang)
    assert not list(one.glob("*claim*"))  # others on this machine need not wait
    assert len(claim_of(bucket)) == 1
    again.set()
    until = time.monotonic() + 20
    while claim_of(bucket) and time.monotonic() < until:
        time.sleep(0.05)
    assert claim_of(bucket) == []  # given back as soon as it could be


# --- what another machine does until the claim is held -------------------------------------------


def test_an_entry_that_was_removed_meanwhile(
    bucket: Bucket, tmp_path: Path, index: DatasetIndex
) -> None:
    extract(bucket.on(tmp_path / "one"), index)
    roots = [bucket.on(tmp_path / name) for name in ("two", "three")]
    (folder,) = (view.parent for view in roots[0].glob("*/*/cache.h5"))
    assert remove(bucket.on(tmp_path / "one")) == 1
    assert remove(folder) == 1
    assert repair(roots[1])["bad"] == []
    assert bucket.names() == []


def test_an_entry_that_was_removed_meanwhile_is_made_again(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fakes.register()
    photos = make_photos(tmp_path / "photos", each=4)
    options: Any = {"engine": "projection", "weights": "random", "image_size": 32}
    other, here = bucket.on(tmp_path / "one"), bucket.on(tmp_path / "two")
    featx.extract(photos, cache_dir=other, **options)
    local_cache(bucket.url)
    first = photos / "class0" / "000.jpg"
    first.with_name("new.jpg").write_bytes(first.read_bytes() + b"another")
    claim = CacheEntry.claim

    def remove_first(self: CacheEntry, *args: Any, **how: Any) -> Claim:
        remove(other)
        return claim(self, *args, **how)

    monkeypatch.setattr(CacheEntry, "claim", remove_first)
    assert featx.extract(photos, cache_dir=here, **options).extracted == 13
    (key,) = (name for name in bucket.names() if name.endswith("/entry.json"))
    assert len(load_features(f"{bucket.url}/{Path(key).parent}").X) == 13


def test_parts_that_were_merged_meanwhile(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = make_index(many_files(80))
    entry = extract(bucket.on(tmp_path / "one"), index, batch=1, part_bytes=1, publish=False)
    here = CacheEntry.at(next(bucket.on(tmp_path / "two").glob("*/*/entry.json")).parent)
    assert len(here.part_paths()) == 80

    def merge_first(folder: Path) -> Claim:
        monkeypatch.setattr(featx.store.entry, "Claim", Claim)
        entry.publish_view(index)
        return Claim(folder)

    monkeypatch.setattr(featx.store.entry, "Claim", merge_first)
    here.publish_view(index)
    assert len(here.part_paths()) == len(entry.part_paths()) == 1
    np.testing.assert_array_equal(load_features(here.path).X, expected(index, "avg"))
