"""Checkpoints: whole or not there, and of the right training."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import numpy as np
import pytest

from featx.errors import RunError
from featx.training import Checkpoint, CheckpointFolder

VALUES = [np.arange(6, dtype=np.float32).reshape(2, 3), np.array(3, np.uint32)]


def test_what_is_saved_comes_back(tmp_path: Path) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoints", {"net": "a"})
    assert checkpoint.load() is None
    checkpoint.save({"history": {"loss": [1.5]}}, VALUES, VALUES[:1])
    found = Checkpoint(tmp_path / "checkpoints", {"net": "a"}).load()
    assert found is not None
    assert found.state["history"] == {"loss": [1.5]}
    for mine, theirs in zip(VALUES, found.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs)
        assert mine.dtype == theirs.dtype
    assert len(found.best) == 1


def test_another_training_has_another_checkpoint(tmp_path: Path) -> None:
    Checkpoint(tmp_path, {"net": "a"}).save({}, VALUES, [])
    assert Checkpoint(tmp_path, {"net": "b"}).load() is None


@pytest.mark.parametrize("damage", ["truncated", "flipped", "empty", "foreign"])
def test_a_damaged_one_is_not_used_and_says_so(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({}, VALUES, VALUES)
    data = bytearray(checkpoint.path.read_bytes())
    if damage == "flipped":
        at = data.index(VALUES[0].tobytes())
        data[at + 5] ^= 0x10
    content = {"truncated": data[: len(data) // 2], "empty": b"", "foreign": b"PK no zip"}
    checkpoint.path.write_bytes(content.get(damage, data))
    with caplog.at_level(logging.WARNING, logger="featx"):
        assert checkpoint.load() is None
    assert "starts anew" in caplog.text


def test_an_interrupted_write_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = Checkpoint(tmp_path, {})
    checkpoint.save({"epoch": 1}, VALUES, [])

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(RunError, match=r"No space left.*--runs-dir"):
        checkpoint.save({"epoch": 2}, VALUES, [])
    found = checkpoint.load()
    assert found is not None
    assert found.state["epoch"] == 1
    assert len(list(tmp_path.iterdir())) == 1, "a draft is left behind"


def test_a_finished_one_names_its_record_until_the_command_is_done(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints")
    first, second = folder.checkpoint({"draw": 0}), folder.checkpoint({"draw": 1})
    assert first is not None
    assert second is not None
    first.save({}, VALUES, [])
    first.finish(tmp_path / "run-é.json")
    assert not first.path.exists()
    assert first.outcome() == "run-é.json"
    assert second.outcome() == ""
    folder.forget()
    assert first.outcome() == ""
    assert not (tmp_path / "checkpoints").exists()


def test_starting_anew_forgets_what_there_is(tmp_path: Path) -> None:
    Checkpoint(tmp_path, {}).save({}, VALUES, [])
    checkpoint = CheckpointFolder(tmp_path, resume=False).checkpoint({})
    assert checkpoint is not None
    assert checkpoint.load() is None
    assert CheckpointFolder(None).checkpoint({}) is None
