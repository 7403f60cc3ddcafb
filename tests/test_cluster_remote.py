"""Extraction on real Ray nodes into a bucket: driver and workers share nothing but that."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bucket import BUCKETS, SERVERS, Bucket
from conftest import make_photos
from fake_cache import claim_of_another

pytest.importorskip("ray")
from ray_nodes import Nodes, ray_nodes

from featx.store import load_features, verify

pytestmark = pytest.mark.slow

ACTOR = "MapBatches(Worker)"
IMAGES, MORE = 240, 720


@pytest.fixture(params=list(SERVERS))
def bucket(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    with SERVERS[request.param]() as address:
        made = BUCKETS[request.param](address, monkeypatch)
        yield made
        made.close()


@pytest.fixture
def nodes(bucket: Bucket, tmp_path: Path) -> Iterator[Nodes]:
    bucket.on(tmp_path / "workers")  # where the nodes are to have their mirrors
    with ray_nodes(1, 1) as made:
        yield made


def start(photos: Path, cache: str, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "featx", "extract", str(photos), "--cache-dir", cache]
    command += ["--backbone", "mobilenet(alpha=0.5)", "--weights", "random", "--engine", "openvino"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, "--json", *options], env={**os.environ}, stdout=pipe, stderr=pipe, text=True
    )


def finish(run: subprocess.Popen[str]) -> dict[str, Any]:
    out, said = run.communicate(timeout=240)
    assert run.returncode == 0, said
    assert out, said
    return dict(json.loads(out))


def rows_of(report: dict[str, Any]) -> dict[str, bytes]:
    found = load_features(report["caches"][0]["path"])
    return {path: row.tobytes() for path, row in zip(found.paths, found.X, strict=True)}


def test_workers_publish_into_the_bucket_also_when_one_is_killed(
    nodes: Nodes, bucket: Bucket, tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "photos", classes=3, each=IMAGES // 3)
    alone = rows_of(finish(start(photos, str(tmp_path / "alone"))))

    driver = bucket.on(tmp_path / "driver")
    run = start(photos, bucket.url, "--cluster", nodes.address)
    worker = nodes.wait_for(ACTOR)
    while len(bucket.parts()) < 1:
        assert run.poll() is None, run.communicate()[1]
    worker.send_signal(signal.SIGKILL)
    report = finish(run)
    assert report["extracted"] == IMAGES
    assert rows_of(report) == alone
    names = [path.name for path in (tmp_path / "workers").rglob("parts/*.h5")]
    assert {Path(key).name for key in bucket.parts()} <= set(names)  # written there, not here
    assert verify(driver)["bad"] == []

    bucket.on(tmp_path / "other")
    again = finish(start(photos, bucket.url))
    assert (again["extracted"], again["reused"]) == (0, IMAGES)
    assert rows_of(again) == alone


def test_a_command_that_dies_is_taken_over_from_another_machine(
    nodes: Nodes, bucket: Bucket, tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "photos", classes=3, each=MORE // 3)
    run = start(photos, bucket.url, "--cluster", nodes.address)
    while len(bucket.parts()) < 2:
        assert run.poll() is None, run.communicate()[1]
    run.send_signal(signal.SIGKILL)
    run.communicate()

    other = bucket.on(tmp_path / "other")
    report = finish(start(photos, bucket.url, "--cluster", nodes.address))
    assert 0 < report["reused"] < MORE
    found = verify(other)
    assert (found["bad"], found["rows"]) == ([], MORE)  # each once
    assert [key for key in bucket.names() if "claim" in key] == []


def test_nothing_is_published_once_another_machine_has_taken_over(
    nodes: Nodes, bucket: Bucket, tmp_path: Path
) -> None:
    photos = make_photos(tmp_path / "photos", classes=3, each=MORE // 3)
    run = start(photos, bucket.url, "--cluster", nodes.address)
    while not bucket.parts():
        assert run.poll() is None, run.communicate()[1]
    (claim,) = (key for key in bucket.names() if key.endswith("/claim.json"))
    bucket.write(claim, claim_of_another(machine="elsewhere"))
    said = run.communicate(timeout=240)[1]
    assert run.returncode == 1, said
    assert "held by another run by now" in said
    assert b"theirs" in bucket.read(claim)
