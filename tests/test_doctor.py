"""What the doctor finds on machines that lack this or that."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

import featx.doctor
from featx.backbones import parse_backbone
from featx.doctor import diagnose
from featx.doctor.machine import find_folder, find_machine
from featx.doctor.speed import Speed, keep_readings, load_readings, read_speed, readings_path
from featx.doctor.weights import find_weights, is_reachable

MOBILENET = parse_backbone("mobilenet", image_size=64)


@pytest.fixture(autouse=True)
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Folders of a user who has nothing yet, on a machine off the network."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("featx.doctor.weights.is_reachable", lambda url: False)
    return tmp_path / "home"


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, projection: str) -> str:
    monkeypatch.setattr(featx.doctor, "choose_engine", lambda: (projection, "for tests"))
    return projection


def test_a_working_installation_is_timed_and_the_reading_kept(engine: str, tmp_path: Path) -> None:
    found = diagnose([MOBILENET], cache_dir=tmp_path / "cache", seconds=0.05)
    assert (found.engine, found.engine_reason) == (engine, "for tests")
    assert (found.precision, found.native) == ("float32", ("float32",))
    assert found.problems == ()
    (speed,) = found.speeds
    assert (speed.backbone, speed.image_size) == ("mobilenet", (64, 64))
    assert speed.images_per_second > 0
    assert found.speeds_kept
    assert load_readings() == [speed]
    assert not (tmp_path / "cache").exists()  # looking creates nothing


def test_no_seconds_no_speed(engine: str, home: Path) -> None:
    assert diagnose([MOBILENET], seconds=0).speeds == ()
    assert not home.exists()


def test_a_cluster_needs_ray(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.doctor.is_installed", lambda name: name != "ray")
    assert 'pip install "featx[ray]"' in dict(diagnose([MOBILENET], seconds=0).advice).values()
    monkeypatch.setattr("featx.doctor.is_installed", lambda name: True)
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name} 9.8")
    found = diagnose([MOBILENET], seconds=0)
    assert found.ray == "ray 9.8"
    assert 'pip install "featx[ray]"' not in dict(found.advice).values()


def test_without_any_engine_the_rest_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("backend", *(f"engines.{m}" for m in ENGINE_MODULES)):
        monkeypatch.setattr(f"featx.{module}.is_installed", lambda name: False)
    found = diagnose([MOBILENET], seconds=1)
    assert (found.engine, found.precisions, found.speeds) == ("", (), ())
    assert any("No engine is installed" in p for p in found.problems)
    assert "pip install openvino" in dict(found.advice).values()
    assert {e.install for e in found.engines if e.name in ENGINE_MODULES} == {
        "pip install openvino",
        "pip install tensorflow",
        "pip install jax",
    }
    assert found.weights[0].state == "unreachable"


ENGINE_MODULES = ("openvino", "tensorflow", "jax")


def test_a_broken_engine_is_a_problem_and_no_crash(
    engine: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: object) -> tuple[str, ...]:
        raise ImportError("libtbb.so.12: cannot open shared object file")

    monkeypatch.setattr("fakes.ProjectionEngine.precisions", broken)
    found = diagnose([MOBILENET], seconds=1)
    assert "libtbb" in found.problems[0]
    assert found.speeds == ()


def test_weights_are_here_or_can_be_fetched_or_not(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    odd = parse_backbone("mobilenet(alpha=0.3)")
    assert [w.state for w in find_weights([MOBILENET, odd])] == ["unreachable", "none"]
    monkeypatch.setattr("featx.doctor.weights.is_reachable", lambda url: True)
    (online,) = find_weights([MOBILENET])
    assert online.state == "download"
    file = tmp_path / "keras" / "models" / online.where.rpartition("/")[2]
    file.parent.mkdir(parents=True)
    file.touch()
    (here,) = find_weights([MOBILENET])
    assert (here.state, here.where) == ("here", str(file))


@pytest.fixture
def server() -> Iterator[str]:
    class Answers(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_response(200 if self.path == "/there" else 404)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answers) as found:
        thread = threading.Thread(target=found.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{found.server_port}"
        found.shutdown()
        thread.join()


def test_what_answers_is_reachable(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert is_reachable(server + "/there")
    assert not is_reachable(server + "/elsewhere")


def test_a_network_that_never_answers_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.perf_counter()
        assert not is_reachable(f"http://127.0.0.1:{silent.getsockname()[1]}/", seconds=0.2)
        assert time.perf_counter() - started < 2


def test_a_cache_that_cannot_be_written_is_told(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    assert not find_folder(tmp_path / "file" / "cache").writable
    assert find_folder(tmp_path / "not" / "there" / "yet").writable
    real = os.statvfs(tmp_path)
    flags = (*real[:8], real.f_flag | os.ST_RDONLY, real[9])
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result(flags))
    assert not find_folder(tmp_path).writable


def test_the_machine_is_described(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_machine().gpus == ()  # there is no nvidia-smi on this path
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho NVIDIA H200\necho NVIDIA H200\n")
    tool.chmod(0o755)
    found = find_machine()
    assert found.gpus == ("NVIDIA H200", "NVIDIA H200")
    assert found.cores >= 1
    assert found.cpu
    assert found.memory_bytes > 1 << 28


READING = Speed("mobilenet", (224, 224), "openvino", "float32", 150.0, "a CPU", 2)


def test_a_newer_reading_takes_the_place_of_the_same_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.doctor.speed.cpu_model", lambda: "a CPU")
    monkeypatch.setattr("featx.doctor.speed.cpu_cores", lambda: 2)
    half, elsewhere = replace(READING, precision="bfloat16"), replace(READING, cpu="another")
    assert keep_readings([READING, half, elsewhere])
    newer = replace(READING, images_per_second=160.0)
    assert keep_readings([newer])
    assert set(load_readings()) == {newer, half}
    assert len(json.loads(readings_path().read_text())) == 3
    assert [p.name for p in readings_path().parent.iterdir()] == ["speed.json"]


@pytest.mark.parametrize("text", ["", "not json", "{}", '[{"backbone": "vgg16"}]', "[1]"])
def test_a_damaged_file_of_readings_is_none(text: str) -> None:
    readings_path().parent.mkdir(parents=True)
    readings_path().write_text(text)
    assert load_readings() == []


def test_readings_that_cannot_be_kept_are_no_error(home: Path) -> None:
    home.write_text("a file in the way")
    assert not keep_readings([READING])


def test_speed_counts_images_over_time(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import fakes

    monkeypatch.setattr(fakes.ProjectionEngine, "seconds_per_batch", 0.05)
    speed = read_speed(MOBILENET, engine, "float32", 0.3)
    assert 0.2 * fakes.BATCH / 0.05 < speed.images_per_second < fakes.BATCH / 0.05
