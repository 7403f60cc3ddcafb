"""The command in an empty folder, and a small data set that has been extracted there."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from featx.cli import main

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture
def cli(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Cli]:
    """Run the command in an empty folder; give status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("FEATX_CACHE", raising=False)
    monkeypatch.delenv("FEATX_RUNS", raising=False)
    old = signal.getsignal(signal.SIGTERM)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["featx", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    yield run
    signal.signal(signal.SIGTERM, old)


@pytest.fixture
def extracted(cli: Cli, photos: Path, projection: str) -> Path:
    status, _, err = cli(
        "extract", photos, "--weights", "random", "--engine", projection, "--quiet"
    )
    assert status == 0, err
    return photos
