"""Progress on stderr: rate and remaining time, nothing where it is not wanted."""

from __future__ import annotations

import threading
from typing import Any


class Bars:
    """Progress bars, one at a time; a context manager.

    Parameters
    ----------
    shown : bool
        False shows nothing.
    unit : str
        What is counted.
    """

    def __init__(self, shown: bool, unit: str = "img") -> None:
        self._shown, self._unit = shown, unit
        self._bar: Any = None
        self._stage = ""
        self._lock = threading.Lock()

    def __call__(self, stage: str, done: int, total: int) -> None:
        """Show that `done` of `total` (0: not known) are done in `stage`; from any thread."""
        with self._lock:
            if stage != self._stage or self._bar is None:
                self._open(stage, total)
            self._bar.total = total or None
            self._bar.update(done - self._bar.n)

    def add(self, stage: str, count: int, total: int) -> None:
        """Show that `count` more of `total` are done in `stage`; from any thread."""
        with self._lock:
            if stage != self._stage or self._bar is None:
                self._open(stage, total)
            self._bar.update(count)

    def note(self, word: str) -> None:
        """Show `word` behind the bar that is open; from any thread."""
        with self._lock:
            if self._bar is not None:
                self._bar.set_postfix_str(word, refresh=False)

    def __enter__(self) -> Bars:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        self._bar, self._stage = None, ""

    def _open(self, stage: str, total: int) -> None:
        from tqdm import tqdm

        if self._bar is not None:
            self._bar.close()
        self._stage = stage
        # A stage that takes no time leaves no line behind.
        self._bar = tqdm(
            desc=stage,
            total=total or None,
            unit=self._unit,
            disable=not self._shown,
            delay=0.5,
            smoothing=0.1,
        )
