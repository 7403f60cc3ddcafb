"""What is told where a bucket, its credentials, a package or the line to it are missing."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import s3fs
from aiohttp import ClientConnectionResetError
from bucket import Bucket
from fsspec.asyn import get_loop
from gcsfs.retry import HttpError

from featx.errors import CacheError, CacheMissError, CacheWriteError, SpecError
from featx.store import load_features, local_cache
from featx.store.remote import RemoteCache

only_s3 = pytest.mark.parametrize("server", ["s3"], indirect=True)


class ClientCredentialError(Exception):
    """As of a store that featx has no extra for."""


def test_errors_name_the_url_and_the_remedy(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATX_MIRROR", str(tmp_path))
    elsewhere = f"{bucket.scheme}://nobodys-bucket/x"
    with pytest.raises(CacheError, match=rf"{elsewhere}: there is no such bucket. Make the bucket"):
        local_cache(elsewhere)
    with pytest.raises(SpecError, match=r"nosuch://bucket"):
        local_cache("nosuch://bucket/x")
    with pytest.raises(CacheMissError, match="names no entry"):
        load_features(f"{bucket.scheme}://bucket")


@only_s3
def test_a_package_that_is_not_installed_is_named(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATX_MIRROR", str(tmp_path))
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(CacheError, match=r'pip install "featx\[gs\]"'):
        local_cache("gcs://bucket/x")  # fsspec has not met this name of it yet


@pytest.mark.parametrize(
    ("error", "told"),
    [(ClientConnectionResetError("Cannot write to closing transport"), 0), (ValueError("odd"), 1)],
)
def test_a_cut_line_is_told_once_and_not_by_tasks_in_the_background(
    bucket: Bucket,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
    told: int,
) -> None:
    async def fail() -> None:
        raise error

    async def leave_behind() -> None:
        task = asyncio.ensure_future(fail())
        await asyncio.wait([task])
        del task

    bucket.on(tmp_path)
    loop = get_loop()
    asyncio.run_coroutine_threadsafe(leave_behind(), loop).result(30)
    assert len([r for r in caplog.records if "never retrieved" in r.message]) == told


@pytest.mark.parametrize(
    ("url", "error", "remedy"),
    [
        ("gs://b/x", HttpError({"code": 401, "message": "Anonymous caller"}), "gcloud auth"),
        ("gs://b/x", OSError("Forbidden: b/o\nno access"), "what they may do there"),
        ("s3://b/x", PermissionError("denied"), "what they may do there"),
        ("abfs://b/x", ClientCredentialError("none"), "as this store takes them"),
        ("s3://b/x", TimeoutError(), "TimeoutError. Run the command again"),
    ],
)
def test_what_a_store_refuses_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str, error: Exception, remedy: str
) -> None:
    def refuse(*args: object, **options: object) -> None:
        raise error

    monkeypatch.setattr("featx.store.remote._connect", lambda url, pid: (refusing, "b/x"))
    refusing = SimpleNamespace(find=refuse)
    with pytest.raises(CacheError, match=remedy) as caught:
        RemoteCache(url, tmp_path).pull()
    assert "\n" not in str(caught.value)


@only_s3
def test_no_credentials(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*os.environ]:
        if name.startswith("AWS_") and name != "AWS_ENDPOINT_URL":
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FEATX_MIRROR", str(tmp_path))
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(CacheError, match="aws configure"):
        local_cache(f"{bucket.url}/other")


def test_a_file_that_is_gone_here_is_no_missing_bucket(bucket: Bucket, tmp_path: Path) -> None:
    cache = RemoteCache(bucket.url, bucket.on(tmp_path))
    with pytest.raises(CacheWriteError, match="gone") as caught:
        cache.put(tmp_path / "gone", "toy/gone")
    assert "bucket" not in str(caught.value).replace(str(tmp_path), "")
