"""What a run of a recipe has finished: one small file in its folder, and a lock on it."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from featx.errors import RunError

STATE_VERSION = 1
"""Version of the file's format."""

FOLDER = "recipe"
"""Folder inside the run's that holds what is not a run record."""


@dataclass
class StageState:
    """What is known of one stage.

    Attributes
    ----------
    digest : str
        Of everything it was run with; another digest is another stage.
    finished : bool
    seconds : float
        Of the attempt that finished.
    before : list of str
        Names of the run records that were there when it began.
    records : list of str
        Names of the run records that it made.
    report : dict
        What an extraction said of itself.
    """

    digest: str
    finished: bool = False
    seconds: float = 0.0
    before: list[str] = field(default_factory=list)
    records: list[str] = field(default_factory=list)
    report: dict[str, Any] = field(default_factory=dict)


class RunState:
    """The stages of one run, by name.

    Parameters
    ----------
    folder : Path
        Where the run's records are.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / FOLDER / "state.json"
        self.stages = _load(self.path)

    def is_finished(self, name: str, digest: str) -> bool:
        """Tell whether the stage ran to its end with the same inputs, and its records are there."""
        stage = self.stages.get(name)
        return (
            stage is not None
            and stage.digest == digest
            and stage.finished
            and all((self.folder / record).is_file() for record in stage.records)
        )

    def was_begun(self, name: str, digest: str) -> bool:
        """Tell whether the stage was begun with the same inputs and did not end."""
        stage = self.stages.get(name)
        return stage is not None and stage.digest == digest and not stage.finished

    def begin(self, name: str, digest: str) -> StageState:
        """Note that a stage begins; one that was begun before goes on."""
        if not self.was_begun(name, digest):
            self.stages[name] = StageState(
                digest, before=sorted(self._unclaimed() | self._claimed())
            )
            self.save()
        return self.stages[name]

    def leftover(self, name: str) -> set[str]:
        """Return the names of the records made since the stage first began."""
        return self._unclaimed() - set(self.stages[name].before)

    def finish(self, name: str, seconds: float, report: Mapping[str, Any]) -> None:
        """Note that a stage ended, with the records made since it began."""
        stage = self.stages[name]
        stage.records = sorted(self.leftover(name))
        stage.finished, stage.seconds, stage.report = True, seconds, dict(report)
        self.save()

    def _claimed(self) -> set[str]:
        return {record for stage in self.stages.values() for record in stage.records}

    def _unclaimed(self) -> set[str]:
        return {p.name for p in self.folder.glob("*.json")} - self._claimed()

    def save(self) -> None:
        """Write the file, whole or not at all."""
        document = {
            "featx_recipe": STATE_VERSION,
            "stages": {name: asdict(stage) for name, stage in self.stages.items()},
        }
        with reporting(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            temporary = self.path.with_name(f".{self.path.name}.{os.getpid()}.partial")
            try:
                with open(temporary, "w") as file:
                    file.write(json.dumps(document, indent=1) + "\n")
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(temporary, self.path)
            finally:
                temporary.unlink(missing_ok=True)


@contextmanager
def sole_run(folder: Path) -> Iterator[None]:
    """Hold the run's folder against other processes.

    Raises
    ------
    RunError
        Another process runs the same recipe there, or the folder cannot be written.
    """
    path = folder / FOLDER / "lock"
    with reporting(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = open(path, "a")  # noqa: SIM115  # held open as long as the lock
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                f"Another process runs this recipe in {folder}. Wait for it, or name another "
                "folder with --runs-dir."
            ) from None
        yield


@contextmanager
def reporting(path: Path) -> Iterator[None]:
    """Turn an OSError inside into a RunError that names `path`."""
    try:
        yield
    except OSError as error:
        raise RunError(
            f"Cannot write {path}: {error.strerror or error}. Free space there, or name another "
            "folder with --runs-dir."
        ) from error


def _load(path: Path) -> dict[str, StageState]:
    """Read the file; a damaged one counts as none, since the stages can be run again."""
    try:
        document = json.loads(path.read_text())
        if document["featx_recipe"] != STATE_VERSION:
            return {}
        return {name: StageState(**fields) for name, fields in document["stages"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
