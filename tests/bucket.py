"""A real S3 API over loopback HTTP, and machines that share nothing but a bucket."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import boto3
import pytest
import s3fs
from moto.server import ThreadedMotoServer

from featx.store import local_cache

_NUMBERS = itertools.count()


class Bucket:
    """A bucket of its own on a server, which this process and its children find from now on.

    Attributes
    ----------
    url : str
        Of a cache in it.
    """

    def __init__(self, server: ThreadedMotoServer, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.name = f"bucket{next(_NUMBERS)}"
        self.url = f"s3://{self.name}/team/features"
        host, port = server.get_host_and_port()
        for name, value in {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }.items():
            patch.setenv(name, value)
        s3fs.S3FileSystem.clear_instance_cache()  # they would keep other credentials
        self._client: Any = boto3.client("s3")
        self._client.create_bucket(Bucket=self.name)

    def names(self) -> list[str]:
        """Return the names of all objects of the cache, below its URL."""
        found = self._client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(item["Key"].removeprefix("team/features/") for item in found)

    def parts(self) -> list[str]:
        return [key for key in self.names() if "/parts/" in key]

    def read(self, key: str) -> bytes:
        found = self._client.get_object(Bucket=self.name, Key=f"team/features/{key}")
        return bytes(found["Body"].read())

    def write(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=f"team/features/{key}", Body=data)

    def flip(self, key: str, near: bytes = b"") -> None:
        """Flip one bit of an object: where the bytes `near` are, else in its middle."""
        data = bytearray(self.read(key))
        data[data.index(near) if near else len(data) // 2] ^= 1
        self.write(key, bytes(data))

    def close(self) -> None:
        self._client.close()

    def on(self, machine: Path) -> Path:
        """Return the cache's folder on a machine: all that it has is below `machine`."""
        self._patch.setenv("FEATX_MIRROR", str(machine))
        return local_cache(self.url)


def whole_files(mirror: Path) -> list[str]:
    """Return the names of the files in a mirror whose bytes are there."""
    names = []
    for path in mirror.rglob("*"):
        away, name = path.with_name(f".{path.name}.away"), path.relative_to(mirror).as_posix()
        if path.is_file() and not away.exists() and "/." not in f"/{name}":
            names.append(name)
    return sorted(names)
