"""Real `featx extract` processes on a cache in object storage: killed, and with the line cut."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from bucket import Bucket, S3Bucket, s3_server
from conftest import make_photos

from featx.store import load_features, verify
from featx.store.part import Part

pytestmark = pytest.mark.slow

# The stand-in engine takes its time, and each batch becomes a part at once.
RUN = """
import sys
sys.path.insert(0, sys.argv.pop(1))
import fakes
from featx.cli import main
from featx.store import CacheEntry
fakes.register()
fakes.ProjectionEngine.seconds_per_batch = float(sys.argv.pop(1))
CacheEntry.writer.__kwdefaults__["part_seconds"] = 0.0
main()
"""
EXTRACT = ("--engine", "projection", "--weights", "random", "--image-size", "32", "--json")
IMAGES = 96


@pytest.fixture
def server() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def bucket(server: ExitStack, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    made = S3Bucket(server.enter_context(s3_server()), monkeypatch)
    yield made
    made.close()


def start(*words: str, seconds: float = 0.0) -> subprocess.Popen[str]:
    tests = str(Path(__file__).parents[1])
    command = [sys.executable, "-c", RUN, tests, str(seconds), *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ}
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return dict(json.loads(out))


def wait_for_parts(bucket: Bucket, count: int) -> None:
    deadline = time.monotonic() + 120
    while len(bucket.parts()) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)


def digests_in(part: Path) -> list[str]:
    with Part(part) as file:
        return list(file.digests())


def rows_of(entry: str | Path) -> dict[str, bytes]:
    found = load_features(entry)
    return {path: row.tobytes() for path, row in zip(found.paths, found.X, strict=True)}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_photos(tmp_path_factory.mktemp("data") / "photos", each=IMAGES // 3)


@pytest.fixture(scope="module")
def plain(photos: Path) -> dict[str, bytes]:
    """The rows as they are on a disk: path to bytes."""
    folder = photos.parent / "features"
    report = finish(start("extract", str(photos), *EXTRACT, "--cache-dir", str(folder)))
    return rows_of(report["caches"][0]["path"])


def test_a_killed_machine_is_taken_over_by_another(
    bucket: Bucket, tmp_path: Path, photos: Path, plain: dict[str, bytes]
) -> None:
    words = ("extract", str(photos), *EXTRACT, "--cache-dir", bucket.url)
    bucket.on(tmp_path / "one")
    process = start(*words, seconds=0.3)
    wait_for_parts(bucket, 3)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not [key for key in bucket.names() if key.endswith("cache.h5")]
    saved = len(bucket.parts()) * 8
    assert saved < IMAGES
    shutil.rmtree(tmp_path / "one")

    bucket.on(tmp_path / "two")
    report = finish(start(*words))
    assert (report["reused"], report["extracted"]) == (saved, IMAGES - saved)
    assert rows_of(report["caches"][0]["path"]) == plain

    mirror = bucket.on(tmp_path / "three")
    assert verify(mirror)["bad"] == []
    assert finish(start(*words))["extracted"] == 0
    judged = [
        finish(start("classify", str(photos), "--head", "centroid", "--json", *where))["rows"]
        for where in (
            ("--cache-dir", bucket.url, "--runs-dir", str(tmp_path / "runs")),
            ("--cache-dir", str(photos.parent / "features"), "--runs-dir", str(tmp_path / "runs")),
        )
    ]
    assert judged[0][0]["n_test"] > 0
    for name in ("accuracy", "accuracy_ci", "macro_f1", "n_train", "n_test"):
        assert judged[0][0][name] == judged[1][0][name]


def test_a_killed_run_goes_on_with_what_it_has_on_the_disk(
    bucket: Bucket, tmp_path: Path, photos: Path, plain: dict[str, bytes]
) -> None:
    words = ("extract", str(photos), *EXTRACT, "--cache-dir", bucket.url)
    mirror = bucket.on(tmp_path / "one")
    for _ in range(3):
        process = start(*words, seconds=0.2)
        wait_for_parts(bucket, len(bucket.parts()) + 1)
        process.send_signal(signal.SIGKILL)
        process.communicate()
    finish(start(*words))
    (view,) = mirror.glob("*/*/cache.h5")
    assert rows_of(view) == plain
    digests = [d for p in view.parent.glob("parts/*.h5") for d in digests_in(p)]
    assert len(digests) == len(set(digests)) == IMAGES
    assert verify(bucket.on(tmp_path / "two"))["bad"] == []


def test_a_line_that_is_cut_ends_the_run_and_costs_no_row(
    server: ExitStack,
    bucket: Bucket,
    tmp_path: Path,
    photos: Path,
    plain: dict[str, bytes],
) -> None:
    words = ("extract", str(photos), *EXTRACT, "--cache-dir", bucket.url)
    mirror = bucket.on(tmp_path / "one")
    process = start(*words, seconds=0.3)
    wait_for_parts(bucket, 2)
    port = int(os.environ["AWS_ENDPOINT_URL"].rpartition(":")[2])
    server.close()
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert f"Error: Cannot write {bucket.url}/photos/mobilenet-" in err
    assert "kept on this machine and sent by the next run" in err
    kept = sum(len(digests_in(p)) for p in mirror.glob("*/*/parts/*.h5"))

    process = start("cache", "ls", "--cache-dir", bucket.url)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "Traceback" not in err
    assert f"Error: Cannot read {bucket.url}" in err

    with s3_server(port):
        sent = len(bucket.parts())
        report = finish(start(*words))
        assert (report["reused"], report["extracted"]) == (kept, IMAGES - kept)
        assert kept > sent * 8
        assert rows_of(report["caches"][0]["path"]) == plain
        two = bucket.on(tmp_path / "two")
        (view,) = two.glob("*/*/cache.h5")
        assert rows_of(view) == plain
        assert verify(two)["bad"] == []
