"""Run records on disk: one JSON file a run, its arrays beside it in one .npz."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import RunError
from featx.records import ExtractionKey, HeadSpec, RunRecord, StepSpec, to_json

RUN_VERSION = 1
"""Version of the files' format."""


def save_run(record: RunRecord, runs_dir: str | os.PathLike[str]) -> Path:
    """Write `record` under a readable, unique name.

    The arrays go first, the JSON last, each under a temporary name that is then renamed: a JSON
    file that can be seen is whole, and so are its arrays.

    Parameters
    ----------
    record : RunRecord
    runs_dir : path
        Made where it is missing.

    Returns
    -------
    Path
        The JSON file: "<data set>-<backbone>-<tap>-<head>-<shots>-draw<n>-<digest8>.json".

    Raises
    ------
    RunError
        The folder cannot be written.
    """
    data = to_json(dataclasses.replace(record, arrays={}))
    data["arrays"] = sorted(record.arrays)
    text = json.dumps({"featx_run": RUN_VERSION, **data}, indent=1, ensure_ascii=True) + "\n"
    folder = Path(runs_dir)
    path = folder / f"{_name(record)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if record.arrays:
            with _published(path.with_suffix(".npz")) as temporary, open(temporary, "wb") as file:
                np.savez_compressed(file, allow_pickle=False, **record.arrays)
        with _published(path) as temporary:
            temporary.write_text(text)
    except OSError as error:
        raise RunError(
            f"Cannot write the run record {path}: {error.strerror or error}. "
            "Free space there, or name another folder with --runs-dir."
        ) from error
    return path


def load_runs(runs_dir: str | os.PathLike[str]) -> list[RunRecord]:
    """Read every run record of a folder.

    Parameters
    ----------
    runs_dir : path

    Returns
    -------
    list of RunRecord
        Oldest first, by the time in the record; empty where there is no folder.

    Raises
    ------
    RunError
        A record or its arrays cannot be read; names the file.
    """
    records = [load_run(path) for path in sorted(Path(runs_dir).glob("*.json"))]
    return sorted(records, key=lambda r: str(r.environment.get("time", "")))


def load_run(path: str | os.PathLike[str]) -> RunRecord:
    """Read one run record, given its JSON file.

    Raises
    ------
    RunError
        It or its arrays cannot be read.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text())
        if not isinstance(data, dict) or data.pop("featx_run", None) != RUN_VERSION:
            raise ValueError("not a featx run record of a known version")
        names = data.pop("arrays")
        arrays: dict[str, np.ndarray] = {}
        if names:
            with open(path.with_suffix(".npz"), "rb") as file:
                stored = np.load(file, allow_pickle=False)
                arrays = {name: stored[name] for name in names}
        return _record(data, arrays)
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise RunError(
            f"Cannot read the run record {path}: {error}. Delete it and its .npz, or restore them."
        ) from error


def _record(data: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> RunRecord:
    fields = dict(data)
    if fields["key"] is not None:
        fields["key"] = ExtractionKey.from_json(fields["key"])
    head = fields["head"]
    steps = tuple(StepSpec(s["name"], _tuples(s["params"])) for s in head.get("steps", ()))
    fields["head"] = HeadSpec(head["name"], _tuples(head["params"]), steps)
    fields["params"] = _tuples(fields["params"])
    fields["classes"] = tuple(fields["classes"])
    fields["parts"] = tuple(fields.get("parts", ()))
    return RunRecord(**fields, arrays=arrays)


def _tuples(params: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has lists only; parameters have tuples only."""
    return {k: tuple(v) if isinstance(v, list) else v for k, v in params.items()}


def _name(record: RunRecord) -> str:
    shots = "all" if record.shots is None else f"{record.shots}shot"
    words = [record.dataset, record.backbone, record.tap, record.head.text, shots]
    plain = [re.sub(r"[^A-Za-z0-9_.+]+", "_", word).strip("_.")[:60] for word in words]
    return "-".join([p for p in plain if p] + [f"draw{record.draw}"])


class _published:
    """Context: a temporary path that takes the final name on success and is removed on failure."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")

    def __enter__(self) -> Path:
        return self._temporary

    def __exit__(self, kind: object, *rest: object) -> None:
        try:
            if kind is None:
                with open(self._temporary, "rb") as file:
                    os.fsync(file.fileno())
                os.replace(self._temporary, self._path)
        finally:
            self._temporary.unlink(missing_ok=True)
