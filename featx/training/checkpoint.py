"""Checkpoints: what training needs to go on after any interruption, one file a training.

A file is written whole under a temporary name and renamed, so that a kill at any moment leaves the
last finished epoch. No pickle: arrays, and the state as JSON.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import RunError
from featx.records import to_json

log = logging.getLogger("featx")

FORMAT = 1


@dataclass(frozen=True)
class Saved:
    """What a checkpoint holds.

    Attributes
    ----------
    state : mapping
        JSON-able: epochs done, history, what `Stopping` remembers, ...
    variables : list of ndarray
        Of the network in training, its random generators and its optimizer.
    best : list of ndarray
        Weights of the best epoch.
    """

    state: Mapping[str, Any]
    variables: list[np.ndarray]
    best: list[np.ndarray]


class CheckpointFolder:
    """The checkpoints of one command, kept until the whole of it is done.

    Parameters
    ----------
    folder : path or None
        None keeps nothing.
    resume : bool
        False forgets what an earlier command left.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, *, resume: bool = True) -> None:
        self._folder, self._resume = folder, resume
        self._given: list[Checkpoint] = []

    def checkpoint(self, identity: Mapping[str, Any]) -> Checkpoint | None:
        """Return the checkpoint of a training; None where nothing is kept.

        Raises
        ------
        RunError
            The folder cannot be written: better told before an epoch than after it.
        """
        if self._folder is None:
            return None
        _require_writable(Path(self._folder))
        found = Checkpoint(self._folder, identity)
        if not self._resume:
            found.forget()
        self._given.append(found)
        return found

    def forget(self) -> None:
        """Remove the checkpoints that were given out: the command is done."""
        for checkpoint in self._given:
            checkpoint.forget()


class Checkpoint:
    """The checkpoint of one training, and the note of what became of it.

    Parameters
    ----------
    folder : path
        Where it is kept; made where it is missing.
    identity : mapping
        JSON-able; everything that decides what the training does. Another identity is another
        checkpoint.

    Attributes
    ----------
    path : Path
    """

    def __init__(self, folder: str | os.PathLike[str], identity: Mapping[str, Any]) -> None:
        text = json.dumps(to_json({"format": FORMAT, **identity}), sort_keys=True)
        name = hashlib.sha256(text.encode()).hexdigest()[:24]
        self.path = Path(folder) / f"{name}.npz"
        self._note = self.path.with_suffix(".done")

    def load(self) -> Saved | None:
        """Return what was saved; None where there is nothing, or it is damaged (it says so)."""
        try:
            with open(self.path, "rb") as file:
                stored = np.load(file, allow_pickle=False)
                state = json.loads(bytes(stored["state"]).decode())
                variables = [stored[f"v{i}"] for i in range(state["variables"])]
                weights = [stored[f"b{i}"] for i in range(state["weights"])]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged (%s): training starts anew.", self.path, error)
            return None
        return Saved(state, variables, weights)

    def save(
        self,
        state: Mapping[str, Any],
        variables: Sequence[np.ndarray],
        best: Sequence[np.ndarray],
    ) -> None:
        """Replace what was saved.

        Raises
        ------
        RunError
            The folder cannot be written.
        """
        counts = {"variables": len(variables), "weights": len(best)}
        text = json.dumps(to_json({**state, **counts})).encode()
        arrays = {f"v{i}": value for i, value in enumerate(variables)}
        arrays |= {f"b{i}": value for i, value in enumerate(best)}
        arrays["state"] = np.frombuffer(text, np.uint8)
        self._write(self.path, lambda file: np.savez(file, allow_pickle=False, **arrays))

    def finish(self, record: Path) -> None:
        """Note that the training's outcome is in the run record `record`, and let go of the rest.

        Until `forget`, a command that is run again finds the record instead of training anew.
        """
        self._write(self._note, lambda file: file.write(os.fsencode(record.name)))
        self.path.unlink(missing_ok=True)

    def outcome(self) -> str:
        """Return the file name of the run record that `finish` noted; "" where there is none."""
        try:
            return os.fsdecode(self._note.read_bytes())
        except OSError:
            return ""

    def forget(self) -> None:
        """Remove all there is of it, and the folder with the last of its checkpoints."""
        with suppress(OSError):
            self.path.unlink(missing_ok=True)
            self._note.unlink(missing_ok=True)
            self.path.parent.rmdir()

    def _write(self, path: Path, write: Any) -> None:
        draft = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(draft, "wb") as file:
                write(file)
                file.flush()
                os.fsync(file.fileno())
            os.replace(draft, path)
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            with suppress(OSError):
                draft.unlink(missing_ok=True)


def _require_writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        raise _unwritable(folder, error) from error


def _unwritable(path: Path, error: OSError) -> RunError:
    return RunError(
        f"Cannot write the checkpoint {path}: {error.strerror or error}. "
        "Free space there, or name another folder with --runs-dir."
    )
