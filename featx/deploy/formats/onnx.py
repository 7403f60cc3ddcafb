"""An ONNX file: converted from TensorFlow's graph by tf2onnx, run by ONNX Runtime."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from featx.backend import is_installed
from featx.deploy.formats.trace import signature, trace
from featx.deploy.formats.turns import run_in_turn
from featx.deploy.spec import INPUT, KEY, OUTPUT, ModelSpec
from featx.engines import Runner
from featx.errors import DeployError

OPSET = 17
"""Operators of ONNX 1.12 (2022), which ONNX Runtime has had since 1.12."""

LARGEST_BYTES = 2**31 - 1
"""What a file of one piece can hold."""


class OnnxFormat:
    """One file with graph and weights."""

    name = "onnx"
    summary = "ONNX Runtime, and most other runtimes"
    suffix = ".onnx"
    converts = True

    def missing(self, *, to_export: bool) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""
        needed = ["tensorflow", "tf2onnx", "onnx"] if to_export else []
        absent = [m for m in [*needed, "onnxruntime"] if not is_installed(m)]
        if not absent:
            return None
        return "pip install 'featx[onnx]'" if to_export else "pip install onnxruntime"

    def save(self, network: Any, path: Path, spec: ModelSpec) -> None:
        """Convert and write; see `ModelFormat.save`."""
        import onnx
        import tf2onnx

        size = sum(int(np.prod(w.shape)) * 4 for w in network.weights)
        if size > LARGEST_BYTES:
            raise DeployError(
                f"The model's weights take {size / 1e9:.1f} GB, and an ONNX file holds 2.1 GB. "
                "Export it as keras, saved_model or openvino."
            )
        log = logging.getLogger("tf2onnx")
        before = log.level
        log.setLevel(logging.CRITICAL)  # it warns, with tracebacks, of optimizations that it skips
        try:
            model, _ = tf2onnx.convert.from_function(
                _frozen(network), input_signature=[signature(network)], opset=OPSET
            )
            onnx.checker.check_model(model)
        except (ValueError, onnx.checker.ValidationError) as error:
            reason = str(error).strip().splitlines()[0].rstrip(".")
            raise DeployError(
                f"tf2onnx cannot convert this network to ONNX: {reason}. Export it as keras, "
                "saved_model or openvino."
            ) from error
        finally:
            log.setLevel(before)
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_param = "n"
        model.producer_name, model.producer_version = "featx", str(spec.run.get("featx", ""))
        onnx.helper.set_model_props(
            model, {KEY: spec.to_text(), "classes": json.dumps(list(spec.classes))}
        )
        onnx.save(model, str(path))

    def load(self, path: Path) -> tuple[ModelSpec, Runner]:
        """Load the file; see `ModelFormat.load`."""
        import onnxruntime as ort
        from onnxruntime.capi import onnxruntime_pybind11_state as errors

        options = ort.SessionOptions()
        options.log_severity_level = 3
        wrong = (errors.Fail, errors.InvalidGraph, errors.InvalidProtobuf, errors.NoSuchFile)
        try:
            session = ort.InferenceSession(
                str(path), options, providers=ort.get_available_providers()
            )
        except (*wrong, errors.InvalidArgument, errors.NotImplemented) as error:
            reason = " ".join(str(error).split())[:300]
            raise DeployError(f"ONNX Runtime cannot load {path}: {reason}") from error
        text = session.get_modelmeta().custom_metadata_map.get(KEY)
        if text is None:
            raise DeployError(f"{path} was not exported by featx: it has no {KEY!r} metadata.")
        spec = ModelSpec.from_text(text, path)

        def submit(batch: np.ndarray) -> np.ndarray:
            (found,) = session.run([OUTPUT], {INPUT: batch})
            return np.asarray(found)

        return spec, run_in_turn(spec, submit, f"{path.name} on onnxruntime")


def _frozen(network: Any) -> Any:
    """Return the network as a tf.function whose weights and constants are part of its graph.

    tf2onnx takes constants that a function has captured, such as the means that some
    preprocessing subtracts, for inputs.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(trace(network).get_concrete_function())

    @tf.function(input_signature=[signature(network)], autograph=False)
    def predict(images: Any) -> dict[str, Any]:
        return {OUTPUT: tf.identity(frozen(images)[0], OUTPUT)}

    return predict
