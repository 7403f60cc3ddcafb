"""A .keras file: Keras's own, of Keras's own layers alone, so that it loads without featx."""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from featx.deploy.formats.trace import trace
from featx.deploy.formats.turns import run_in_turn
from featx.deploy.spec import FILE, OUTPUT, ModelSpec
from featx.engines import Runner
from featx.errors import DeployError
from featx.quiet import import_keras
from featx.records import ImageSpec
from featx.runs import load_run


class KerasFormat:
    """Architecture and weights in one archive; any backend of Keras runs it."""

    name = "keras"
    summary = "Keras, any backend"
    suffix = ".keras"
    converts = False

    def missing(self, *, to_export: bool) -> str | None:
        """Return None: Keras is there."""
        return None

    def save(self, network: Any, path: Path, spec: ModelSpec) -> None:
        """Write the archive; see `ModelFormat.save`."""
        network.save(path)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(FILE, spec.to_text())

    def load(self, path: Path) -> tuple[ModelSpec, Runner]:
        """Load the network; one that a run has left beside its record will do as well."""
        network = load_keras(path)
        spec = _read_spec(path, network)

        return spec, run_in_turn(spec, _predictor(network), f"{path.name} on keras")


def _predictor(network: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function of a batch; on TensorFlow a traced one, without `predict`'s overhead."""
    if import_keras().config.backend() != "tensorflow":
        return lambda batch: np.asarray(network.predict_on_batch(batch), np.float32)
    import tensorflow as tf

    traced = trace(network).get_concrete_function()

    def predict(batch: np.ndarray) -> np.ndarray:
        found: np.ndarray = traced(tf.constant(batch))[OUTPUT].numpy()
        return found

    return predict


def load_keras(path: str | os.PathLike[str]) -> Any:
    """Load a .keras file; code inside it is not run (Keras's safe mode).

    Raises
    ------
    DeployError
        It is damaged, or has layers that are not Keras's.
    """
    keras = import_keras()
    try:
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except (ValueError, TypeError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:300]
        raise DeployError(f"Keras cannot load {os.fspath(path)}: {reason}") from error


def _read_spec(path: Path, network: Any) -> ModelSpec:
    try:
        with zipfile.ZipFile(path) as archive:
            return ModelSpec.from_text(archive.read(FILE).decode(), path)
    except KeyError:
        record = path.with_suffix(".json")
        if not record.is_file() or "featx_run" not in json.loads(record.read_text()):
            raise DeployError(
                f"{path} does not say what its classes are: it was not exported by featx. Use "
                "featx export."
            ) from None
    run = load_run(record)
    height, width = network.input_shape[1:3]
    return ModelSpec(run.classes, ImageSpec(height, width), {"record": record.stem})
