"""Object storage over loopback HTTP, and machines that share nothing but a bucket.

The APIs of S3 and of Google Cloud Storage, each spoken by the client that people use.
"""

from __future__ import annotations

import itertools
import socket
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import boto3
import gcsfs
import pytest
import s3fs
from gcp_storage_emulator.server import create_server
from gcsfs.extended_gcsfs import BucketType, ExtendedGcsFileSystem
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from moto.server import ThreadedMotoServer

from featx.store import local_cache

_NUMBERS = itertools.count()


@contextmanager
def s3_server(port: int = 0) -> Iterator[str]:
    """Serve S3 and give the address; what is stored outlives the server."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def google_server() -> Iterator[str]:
    """Serve Google Cloud Storage and give the address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with create_server("127.0.0.1", port, in_memory=True):
        yield f"http://127.0.0.1:{port}"


class Bucket(ABC):
    """A bucket of its own on a server, which this process and its children find from now on.

    Attributes
    ----------
    url : str
        Of a cache in it.
    """

    scheme: str

    def __init__(self, address: str, patch: pytest.MonkeyPatch) -> None:
        self._patch = patch
        self.name = f"bucket{next(_NUMBERS)}"
        self.url = f"{self.scheme}://{self.name}/team/features"
        for name, value in self._environment(address).items():
            patch.setenv(name, value)
        self._create()

    @abstractmethod
    def _environment(self, address: str) -> dict[str, str]: ...

    @abstractmethod
    def _create(self) -> None: ...

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of all objects of the cache, below its URL."""

    @abstractmethod
    def read(self, key: str) -> bytes: ...

    @abstractmethod
    def write(self, key: str, data: bytes) -> None: ...

    @abstractmethod
    def close(self) -> None: ...

    def parts(self) -> list[str]:
        return [key for key in self.names() if "/parts/" in key]

    def flip(self, key: str, near: bytes = b"") -> None:
        """Flip one bit of an object: where the bytes `near` are, else in its middle."""
        data = bytearray(self.read(key))
        data[data.index(near) if near else len(data) // 2] ^= 1
        self.write(key, bytes(data))

    def on(self, machine: Path) -> Path:
        """Return the cache's folder on a machine: all that it has is below `machine`."""
        self._patch.setenv("FEATX_MIRROR", str(machine))
        return local_cache(self.url)


class S3Bucket(Bucket):
    scheme = "s3"

    def _environment(self, address: str) -> dict[str, str]:
        return {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_MAX_ATTEMPTS": "1",
        }

    def _create(self) -> None:
        s3fs.S3FileSystem.clear_instance_cache()  # they would keep other credentials
        self._client: Any = boto3.client("s3")
        self._client.create_bucket(Bucket=self.name)

    def names(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket=self.name).get("Contents", [])
        return sorted(item["Key"].removeprefix("team/features/") for item in found)

    def read(self, key: str) -> bytes:
        found = self._client.get_object(Bucket=self.name, Key=f"team/features/{key}")
        return bytes(found["Body"].read())

    def write(self, key: str, data: bytes) -> None:
        self._client.put_object(Bucket=self.name, Key=f"team/features/{key}", Body=data)

    def close(self) -> None:
        self._client.close()


class GoogleBucket(Bucket):
    scheme = "gs"

    def _environment(self, address: str) -> dict[str, str]:
        return {
            "STORAGE_EMULATOR_HOST": address,
            "NO_GCE_CHECK": "true",  # looks for credentials on the network else
        }

    def _create(self) -> None:
        gcsfs.GCSFileSystem.clear_instance_cache()  # they would keep another address
        # The client asks by another API what kind of bucket it is, for a second each time here.
        self._patch.setattr(ExtendedGcsFileSystem, "_get_bucket_type", _flat, raising=False)
        self._client = storage.Client(project="testing", credentials=AnonymousCredentials())
        self._bucket = self._client.create_bucket(self.name)

    def names(self) -> list[str]:
        found = self._client.list_blobs(self.name, prefix="team/features/")
        return sorted(blob.name.removeprefix("team/features/") for blob in found)

    def read(self, key: str) -> bytes:
        return bytes(self._bucket.blob(f"team/features/{key}").download_as_bytes())

    def write(self, key: str, data: bytes) -> None:
        self._bucket.blob(f"team/features/{key}").upload_from_string(data)

    def close(self) -> None:
        self._client.close()


async def _flat(files: ExtendedGcsFileSystem, bucket: str) -> BucketType:
    return BucketType.NON_HIERARCHICAL


SERVERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "s3": s3_server,
    "gs": google_server,
}
BUCKETS: dict[str, type[Bucket]] = {"s3": S3Bucket, "gs": GoogleBucket}


def whole_files(mirror: Path) -> list[str]:
    """Return the names of the files in a mirror whose bytes are there."""
    names = []
    for path in mirror.rglob("*"):
        away, name = path.with_name(f".{path.name}.away"), path.relative_to(mirror).as_posix()
        if path.is_file() and not away.exists() and "/." not in f"/{name}":
            names.append(name)
    return sorted(names)
