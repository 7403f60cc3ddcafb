"""The command in the current folder."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator

import pytest

from featx.cli import main


@pytest.fixture
def run_cli(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., tuple[int, str, str]]]:
    """Run the command; give status, stdout and stderr."""
    old = signal.getsignal(signal.SIGTERM)

    def run(*words: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["featx", *map(str, words)])
        with pytest.raises(SystemExit) as stop:
            main()
        out, err = capsys.readouterr()
        return int(stop.value.code or 0), out, err

    yield run
    signal.signal(signal.SIGTERM, old)
