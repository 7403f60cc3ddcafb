"""From a run record to one model file, checked on the run's own test photos before it is there."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx import __version__
from featx.backend import use_backend
from featx.deploy.find import find_run
from featx.deploy.formats import ModelFormat, find_format
from featx.deploy.loading import DeployedModel
from featx.deploy.network import NetworkRecord, build_network
from featx.deploy.spec import ModelSpec
from featx.errors import DeployError
from featx.progress import Bars
from featx.records import RunRecord, TestSetRecord, to_json
from featx.runs import load_test_set
from featx.store import local_cache

TOLERANCE = 1e-3
"""Largest difference of a probability between the exported model and the run that is let through:
runtimes agree to about 1e-5, and a wrong preprocessing is off by far more than this."""

CHECKED = 32
"""Test photos that an export is checked on, by default."""


@dataclass(frozen=True)
class ExportRecord:
    """What was exported.

    Attributes
    ----------
    path : str
    format : str
    size_bytes : int
        Of all its files.
    model : ModelSpec
    checked : int
        Test photos that the file was tried on; 0 where none could be found.
    largest_difference : float or None
        Of a probability, over those photos.
    notes : tuple of str
        What a user should know.
    """

    path: str
    format: str
    size_bytes: int
    model: ModelSpec
    checked: int
    largest_difference: float | None
    notes: tuple[str, ...] = ()

    def summary(self) -> str:
        """Return a few readable lines."""
        run, image = self.model.run, self.model.image
        words = " ".join(str(run[w]) for w in ("backbone", "tap", "head") if run.get(w))
        lines = [
            f"{self.path}: {self.format}, {self.size_bytes / 1e6:.1f} MB",
            f"  {words or run['kind']}, accuracy {run['accuracy']:.3f} on {run['n_test']} test "
            f"images of {run['dataset']}",
            f"  takes uint8 RGB {image.height}x{image.width}, gives the probabilities of "
            f"{len(self.model.classes)} classes",
        ]
        if self.largest_difference is not None:
            exact = f"to {self.largest_difference:.0e}" if self.largest_difference else "exactly"
            lines.append(
                f"  checked on {self.checked} test photos: probabilities are the run's {exact}"
            )
        else:
            lines.append("  not checked: the test photos are not where they were")
        return "\n".join(lines + [f"  note: {note}" for note in self.notes])


def export(
    run: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    format: str | None = None,
    runs_dir: str | os.PathLike[str] = "runs",
    cache_dir: str | os.PathLike[str] = "features",
    weights: Sequence[str] = (),
    dataset: str | None = None,
    check: int = CHECKED,
    force: bool = False,
    progress: bool = False,
) -> ExportRecord:
    """Write backbone and head of a run as one model: pixels in, class probabilities out.

    A head is fitted again from the cache, which takes as long as it took, and must predict what the
    record says. The file is then tried on test photos, and appears under its name only if it gives
    the run's probabilities.

    Parameters
    ----------
    run : str or path
        A run record's path, its name, the beginning of its name, or "best"
        (`featx.deploy.find.find_run`).
    out : path
        Its name tells the format: .keras, .onnx, .xml (OpenVINO, with a .bin beside it), or a
        folder (TensorFlow SavedModel).
    format : str, optional
        "keras", "saved_model", "onnx" or "openvino", where the name shall not decide.
    runs_dir, cache_dir : path
    weights : sequence of str
        Files to look for the backbone's weights in, where they have moved.
    dataset : str, optional
        For "best", where there are runs on several data sets.
    check : int
        Test photos to try the model on; fewer where there are not so many.
    force : bool
        Replace a model that is there.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    ExportRecord

    Raises
    ------
    DeployError
        No such run, one that cannot be exported, a file that is there, or a runtime that is not
        installed.
    RunError
        The cached features are not those of the run any more.
    CacheMissError, WeightsError
        Features or weights are not there any more.
    """
    target = Path(out)
    found = find_format(target, format)
    command = found.missing(to_export=True)
    if command is not None:
        raise DeployError(f"Exporting to {found.name} needs what is not installed. Run: {command}")
    _check_target(target, found, force)
    with Bars(progress, unit="step") as bars:
        bars("read the run", 0, 0)
        path, record = find_run(run, runs_dir=runs_dir, dataset=dataset)
        if found.converts:
            use_backend("tensorflow")
        bars("build the network", 0, 0)
        made = build_network(path, record, cache_dir=local_cache(cache_dir), weights=weights)
        spec = ModelSpec(record.classes, made.image, _about(path, record, made))
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".featx-export-", dir=target.parent) as folder:
                draft = Path(folder) / target.name
                bars(f"write {found.name}", 0, 0)
                found.save(made.network, draft, spec)
                bars("check", 0, 0)
                checked, difference = _check(found, draft, path, record, made, check)
                size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
                _publish(draft, target)
        except OSError as error:
            raise DeployError(
                f"Cannot write {target}: {error.strerror or error}. Free space there, or choose "
                "another --out."
            ) from error
    return ExportRecord(str(target), found.name, size, spec, checked, difference, made.notes)


def _about(path: Path, record: RunRecord, made: NetworkRecord) -> dict[str, Any]:
    return {
        "record": path.stem,
        "kind": record.kind,
        "dataset": record.dataset,
        "target": record.split.get("target", ""),
        "backbone": record.backbone,
        "tap": record.tap,
        "head": record.head.text,
        "params": to_json(record.params),
        "calibrated": made.calibrated,
        "accuracy": record.metrics["accuracy"],
        "n_test": record.split["n_test"],
        "test_digest": record.split["test_digest"],
        "featx": __version__,
    }


def _check_target(target: Path, found: ModelFormat, force: bool) -> None:
    if not os.path.lexists(target):
        return
    if found.suffix and target.is_dir():
        raise DeployError(f"{target} is a folder: name a file in it.")
    if not found.suffix and not (target / "saved_model.pb").is_file():
        if not target.is_dir() or any(target.iterdir()):
            raise DeployError(
                f"{target} is there and is no SavedModel: name a folder that is not there."
            )
    elif not force:
        raise DeployError(f"{target} is there already: choose another --out, or add --force.")


def _publish(draft: Path, target: Path) -> None:
    """Move the finished files to their place, the one that is opened last."""
    for beside in draft.parent.iterdir():
        if beside.name != draft.name:
            os.replace(beside, target.parent / beside.name)
    if target.is_dir() and not target.is_symlink():
        shutil.rmtree(target)
    os.replace(draft, target)


def _check(
    found: ModelFormat, draft: Path, path: Path, record: RunRecord, made: NetworkRecord, n: int
) -> tuple[int, float | None]:
    """Try the model on test photos; return how many, and the largest difference found."""
    tested = load_test_set(record, path.parent)
    photos = _photos(tested, n) if tested is not None else {}
    expected, rows = made.expected, list(photos)
    model = DeployedModel(draft, *found.load(draft))
    if not photos:
        blank = np.zeros((1, made.image.height, made.image.width, 3), np.uint8)
        model.predict(blank)  # at the least it must run
        return 0, None
    predictions = model.predict(list(photos.values()))
    if len(predictions) < len(photos):
        return 0, None  # a photo has changed under our hands
    if expected is None:
        expected_rows = np.asarray(made.network.predict_on_batch(_pixels(model, photos.values())))
    else:
        expected_rows = expected[rows]
    difference = float(np.abs(predictions.probabilities - expected_rows).max())
    loose = any("float32" in note for note in made.notes)
    if record.kind != "head":
        theirs = record.arrays["y_pred"][rows]
        wrong = int((predictions.probabilities.argmax(axis=1) != theirs).sum())
        if wrong > max(1, len(rows) // 10):
            raise DeployError(
                f"The network beside {path.name} predicts {wrong} of {len(rows)} test photos "
                "otherwise than the run did: it is of another run, or damaged."
            )
    if difference > TOLERANCE and not loose and record.head.name != "knn":
        raise DeployError(
            f"The exported model differs from the run by up to {difference:.1e} on {len(rows)} "
            f"test photos, more than {TOLERANCE}; nothing was written. Please report this, with "
            "the output of featx doctor."
        )
    return len(rows), difference


def _pixels(model: DeployedModel, photos: Any) -> np.ndarray:
    from featx.datasets.decode import read_image

    return np.stack([read_image(photo, model.image) for photo in photos])


def _photos(tested: TestSetRecord, n: int) -> dict[int, str]:
    """Return the paths of up to `n` test photos that are as they were, by row, spread over all."""
    found: dict[int, str] = {}
    if not tested.root or not tested.digests or n < 1:
        return found
    step = max(1, len(tested.paths) // n)
    for row in range(0, len(tested.paths), step):
        path = os.path.join(tested.root, tested.paths[row])
        try:
            with open(path, "rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == tested.digests[row]
        except OSError:
            continue
        if same:
            found[row] = path
        if len(found) == n:
            break
    return found
