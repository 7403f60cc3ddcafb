"""`featx doctor`, and its readings in `featx list backbones`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import featx.doctor

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def nothing_around(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, projection: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.setattr("featx.doctor.weights.is_reachable", lambda url: False)
    monkeypatch.setattr(featx.doctor, "choose_engine", lambda: (projection, "for tests"))


def test_doctor_tells_what_there_is(cli: Cli) -> None:
    status, out, err = cli("doctor", "-q", "-b", "mobilenet,vgg16", "--seconds", "0.05")
    assert status == 0, err
    for words in (
        "CPU",
        "GPU",
        "openvino",
        "cluster",
        "taken by auto: for tests",
        "network does not answer",
    ):
        assert words in out
    assert out.count("images/s in float32") == 2
    assert "featx extract --weights PATH" in out


def test_doctor_json_and_the_readings_in_list(cli: Cli) -> None:
    status, out, _ = cli("doctor", "--json", "--seconds", "0.05")
    assert status == 0
    found = json.loads(out)
    assert found["engine"] == "projection"
    assert [w["state"] for w in found["weights"]] == ["unreachable"]
    assert {"gain", "command"} == set(found["advice"][0])
    (speed,) = found["speeds"]
    _, out, _ = cli("list", "backbones", "--json")
    listed = {row["name"]: row["images_per_second"] for row in json.loads(out)}
    assert listed["mobilenet"] == {"float32": speed["images_per_second"]}
    assert listed["vgg16"] == {}
    _, out, _ = cli("list", "backbones")
    (line,) = (text for text in out.splitlines() if text.startswith("mobilenet "))
    assert f" {speed['images_per_second']:.0f} " in line


def test_a_reading_at_another_size_is_not_listed(cli: Cli) -> None:
    assert cli("doctor", "-q", "--image-size", "96", "--seconds", "0.05")[0] == 0
    _, out, _ = cli("list", "backbones", "--json")
    assert not any(row["images_per_second"] for row in json.loads(out))


def test_a_wrong_backbone_is_one_line(cli: Cli) -> None:
    status, _, err = cli("doctor", "-b", "resnet5")
    assert status == 1
    assert "Did you mean 'resnet50'" in err
