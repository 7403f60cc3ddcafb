"""Extraction on real Ray nodes, whose processes are killed in mid-run."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import psutil
import pytest
from conftest import make_photos

pytest.importorskip("ray")
from ray_nodes import Nodes, ray_nodes

from featx.store import verify
from featx.store.part import Part

pytestmark = pytest.mark.slow

ACTOR = "MapBatches(Worker)"
IMAGES = 360


@dataclass
class World:
    """Photos, nodes, and what one process made of the photos."""

    photos: Path
    nodes: Nodes
    alone: dict[str, bytes]

    def start(self, cache: Path, cluster: str, *options: str) -> subprocess.Popen[str]:
        """Start `featx extract` on the nodes, as a process."""
        return start(self.photos, cache, *options, "--cluster", cluster, env=self.nodes.env)


def start(photos: Path, cache: Path, *options: str, env: Any = None) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "featx", "extract", str(photos), "--cache-dir", str(cache)]
    command += ["--backbone", "mobilenet(alpha=0.5)", "--weights", "random", "--engine", "openvino"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [*command, "--json", *options], env=env, stdout=pipe, stderr=pipe, text=True
    )


def finish(run: subprocess.Popen[str]) -> dict[str, Any]:
    out, said = run.communicate(timeout=240)
    assert run.returncode == 0, said
    return json.loads(out)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    photos = make_photos(folder / "photos", classes=3, each=IMAGES // 3)
    (photos / "class0" / "broken.jpg").write_bytes(b"\xff\xd8\xff, and no more")
    alone = start(photos, folder / "alone")
    with ray_nodes(1, 1) as nodes:
        finish(alone)
        yield World(photos, nodes, rows_once(folder / "alone"))


def parts_of(cache: Path) -> list[Path]:
    return sorted(cache.glob("*/*/parts/[!.]*.h5"))


def rows_once(cache: Path) -> dict[str, bytes]:
    """Return the bytes of each row, by digest; each must be there once."""
    found: dict[str, bytes] = {}
    for path in parts_of(cache):
        with Part(path) as part, h5py.File(path) as file:
            rows = file["features/avg"][:]
            for digest, row in zip(part.digests(), rows, strict=True):
                assert digest not in found, f"{digest} is there twice"
                found[digest] = row.tobytes()
    return found


def wait_for_parts(cache: Path, count: int, run: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 200
    while len(parts_of(cache)) < count:
        assert run.poll() is None, run.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def check(world: World, cache: Path, report: dict[str, Any]) -> None:
    assert rows_once(cache) == world.alone
    assert [item["reason"] for item in report["quarantined"]] == ["truncated JPEG, 16 bytes"]
    assert verify(cache)["bad"] == []
    assert not list(cache.rglob("*.tmp"))
    assert not list(cache.rglob("claim.json"))


def test_the_rows_are_those_of_one_machine_bit_for_bit(world: World, tmp_path: Path) -> None:
    report = finish(world.start(tmp_path, world.nodes.client))
    assert (report["extracted"], report["engine"]) == (IMAGES, "openvino")
    check(world, tmp_path, report)
    assert len(parts_of(tmp_path)) > 4
    again = finish(world.start(tmp_path, "auto"))
    assert (again["extracted"], again["reused"]) == (0, IMAGES)


LOOK = """
import sys

from featx.cluster import connect, find_room, stream


class Look:
    def __init__(self, told):
        import featx.extraction.stages

    def __call__(self, row):
        return {"modules": " ".join(sys.modules)}


with connect("auto"):
    (row,) = stream([{"a": "b"}], [Look], [None], find_room())
print(row["modules"])
"""


def test_workers_import_no_more_than_their_work_needs(world: World) -> None:
    command = [sys.executable, "-c", LOOK]
    modules = set(subprocess.check_output(command, env=world.nodes.env, text=True).split())
    assert {"ray.data", "featx.extraction.stages"} <= modules
    assert not modules & {"keras", "sklearn", "ray.util.state", "featx.extraction.steps"}


EARLY = """
import sys, threading
from featx.cluster import prepare

prepare("auto")
[t.join() for t in threading.enumerate() if t.name == "import ray"]
print("ray.data._internal.execution.streaming_executor" in sys.modules)
"""


def test_what_ray_data_imports_late_is_imported_while_the_graph_is_built() -> None:
    assert subprocess.check_output([sys.executable, "-c", EARLY], text=True) == "True\n"


def test_a_worker_that_is_killed_costs_no_row(world: World, tmp_path: Path) -> None:
    run = world.start(tmp_path, "auto")
    wait_for_parts(tmp_path, 2, run)
    world.nodes.wait_for(ACTOR).send_signal(signal.SIGKILL)
    left = IMAGES - len(rows_once(tmp_path))
    assert left > 0, "the worker was killed too late to matter"
    report = finish(run)
    assert report["extracted"] == IMAGES
    check(world, tmp_path, report)


def test_what_a_killed_driver_had_done_is_kept_and_the_rest_is_resumed(
    world: World, tmp_path: Path
) -> None:
    run = world.start(tmp_path, "auto")
    wait_for_parts(tmp_path, 2, run)
    actors = world.nodes.workers(ACTOR)
    run.kill()
    run.communicate()
    second = world.start(tmp_path, "auto")  # while the first one's actors may be at work still
    report = finish(second)
    assert 0 < report["reused"] < IMAGES
    assert report["extracted"] + report["reused"] == IMAGES
    check(world, tmp_path, report)
    _, alive = psutil.wait_procs(actors, timeout=30)
    assert alive == [], "workers outlive their driver"


def test_a_node_that_leaves_costs_no_row(world: World, tmp_path: Path) -> None:
    with ray_nodes(1, 1) as nodes:
        run = World(world.photos, nodes, world.alone).start(tmp_path, "auto")
        wait_for_parts(tmp_path, 2, run)
        nodes.kill_node(1)
        assert len(rows_once(tmp_path)) < IMAGES, "the node left too late to matter"
        report = finish(run)
        assert report["extracted"] == IMAGES
        check(world, tmp_path, report)
