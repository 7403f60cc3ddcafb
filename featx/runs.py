"""Run records on disk: one JSON file a run, its arrays beside it in one .npz.

Runs on the same test rows share a file that says which images those are, `test-<digest16>.npz`; a
network that was trained lies beside its record as `.keras`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import zipfile
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import RunError
from featx.records import ExtractionKey, HeadSpec, RunRecord, StepSpec, TestSetRecord, to_json

RUN_VERSION = 1
"""Version of the files' format."""

_UNREADABLE = (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile)


def save_run(
    record: RunRecord,
    runs_dir: str | os.PathLike[str],
    *,
    test_set: TestSetRecord | None = None,
    network: Callable[[Path], object] | None = None,
) -> Path:
    """Write `record` under a readable, unique name.

    The JSON goes last, and each file under a temporary name that is then renamed: a JSON file that
    can be seen is whole, and so is what lies beside it.

    Parameters
    ----------
    record : RunRecord
    runs_dir : path
        Made where it is missing.
    test_set : TestSetRecord, optional
        The images tested on, for `load_test_set`. Kept once for all runs on the same test rows,
        the latest paths winning.
    network : callable, optional
        `network(path)` writes the network that the run trained; it is kept beside the record, with
        the suffix .keras.

    Returns
    -------
    Path
        The JSON file: "<data set>-<backbone>-<tap>-<head>-<shots>-draw<n>-<digest8>.json".

    Raises
    ------
    RunError
        The folder cannot be written, or `test_set` is not what `record` was tested on.
    """
    if test_set is not None and not np.array_equal(test_set.labels, record.arrays["y_true"]):
        raise RunError(
            f"The {len(test_set.labels)} images given are not those that the run was tested on "
            f"({record.split['n_test']}): give those of its own split."
        )
    data = to_json(dataclasses.replace(record, arrays={}))
    data["arrays"] = sorted(record.arrays)
    text = json.dumps({"featx_run": RUN_VERSION, **data}, indent=1, ensure_ascii=True) + "\n"
    folder = Path(runs_dir)
    path = folder / f"{_name(record)}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if test_set is not None:
            _save_test_set(test_set, _test_set_path(record, folder))
        if network is not None:
            with _published(path.with_suffix(".keras")) as temporary:
                network(temporary)
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


def load_run(path: str | os.PathLike[str], *, arrays: Collection[str] | None = None) -> RunRecord:
    """Read one run record, given its JSON file.

    Parameters
    ----------
    path : path
    arrays : collection of str, optional
        Read only these, as far as it has them; the scores of many runs take gigabytes.

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
        names = [n for n in data.pop("arrays") if arrays is None or n in arrays]
        return _record(data, _read_arrays(path.with_suffix(".npz"), names) if names else {})
    except _UNREADABLE as error:
        raise RunError(
            f"Cannot read the run record {path}: {error}. Delete it and its .npz, or restore them."
        ) from error


def load_test_set(record: RunRecord, runs_dir: str | os.PathLike[str]) -> TestSetRecord | None:
    """Read which images a run was tested on.

    Parameters
    ----------
    record : RunRecord
    runs_dir : path

    Returns
    -------
    TestSetRecord or None
        Its rows are those of the record's arrays. None where that was not written.

    Raises
    ------
    RunError
        The file cannot be read.
    """
    path = _test_set_path(record, Path(runs_dir))
    try:
        return _read_test_set(path) if path.exists() else None
    except _UNREADABLE as error:
        raise RunError(
            f"Cannot read the test rows {path}: {error}. Delete it; the next run writes it anew."
        ) from error


def network_path(path: str | os.PathLike[str]) -> Path:
    """Return where the network of the run record `path` (its JSON file) lies, if it has one."""
    return Path(path).with_suffix(".keras")


def _test_set_path(record: RunRecord, folder: Path) -> Path:
    return folder / f"test-{record.split['test_digest'][:16]}.npz"


def _save_test_set(test_set: TestSetRecord, path: Path) -> None:
    about = {"featx_test_set": RUN_VERSION, **{n: getattr(test_set, n) for n in _TEST_SET_TEXTS}}
    arrays = {
        "paths": _texts(test_set.paths),
        "digests": _texts(test_set.digests),
        "labels": np.asarray(test_set.labels, np.int32),
        "classes": _texts(test_set.classes),
        "about": np.array(json.dumps(about)),
    }
    with suppress(*_UNREADABLE):
        kept = _read_arrays(path, list(arrays))
        if not test_set.root and _read_test_set(path).root:
            return  # features from elsewhere do not say where the images lie
        if all(np.array_equal(kept[name], values) for name, values in arrays.items()):
            return
    with _published(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _read_test_set(path: Path) -> TestSetRecord:
    stored = _read_arrays(path, ["paths", "digests", "labels", "classes", "about"])
    about = json.loads(str(stored["about"]))
    if about.pop("featx_test_set", None) != RUN_VERSION:
        raise ValueError("not the test rows of featx runs of a known version")
    texts: dict[str, Any] = {
        name: tuple(stored[name].tolist()) for name in ("paths", "digests", "classes")
    }
    return TestSetRecord(labels=stored["labels"], **texts, **about)


_TEST_SET_TEXTS = ("dataset", "source", "root", "target")


def _texts(values: Sequence[str]) -> np.ndarray:
    return np.array(values, dtype=np.str_)


def _read_arrays(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    with open(path, "rb") as file:
        stored = np.load(file, allow_pickle=False)
        return {name: stored[name] for name in names}


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
        ending = path.suffix if path.suffix == ".keras" else ""  # Keras goes by it
        self._temporary = path.with_name(f".{path.name}.{os.getpid()}.partial{ending}")

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
