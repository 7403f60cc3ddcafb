"""A TensorFlow SavedModel folder: for TensorFlow Serving and whatever reads these."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from featx.backend import is_installed
from featx.deploy.formats.trace import trace
from featx.deploy.formats.turns import run_in_turn
from featx.deploy.spec import FILE, INPUT, OUTPUT, ModelSpec
from featx.engines import Runner
from featx.errors import DeployError
from featx.quiet import import_keras

ENCODED = "serve_encoded"
"""Signature that takes the bytes of image files."""


class SavedModelFormat:
    """A folder with the graph, its weights, and two signatures."""

    name = "saved_model"
    summary = "TensorFlow, TensorFlow Serving"
    suffix = ""
    converts = True

    def missing(self, *, to_export: bool) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""
        return None if is_installed("tensorflow") else "pip install tensorflow"

    def save(self, network: Any, path: Path, spec: ModelSpec) -> None:
        """Write the folder.

        "serving_default" takes pixels; `ENCODED` takes the bytes of JPEG, PNG or GIF files and
        resizes by TensorFlow's antialiased bilinear rule, which is near featx's, not the same.
        """
        import tensorflow as tf

        predict = trace(network)
        size = (spec.image.height, spec.image.width)

        def decode(data: Any) -> Any:
            # Reads PNG and GIF too; the default arithmetic for JPEG is a coarser one.
            pixels = tf.io.decode_jpeg(data, channels=3, dct_method="INTEGER_ACCURATE")
            pixels = tf.image.resize(tf.cast(pixels, tf.float32), size, antialias=True)
            return tf.cast(tf.clip_by_value(tf.round(pixels), 0.0, 255.0), tf.uint8)

        text = tf.TensorSpec((None,), tf.string, name="encoded")

        @tf.function(input_signature=[text], autograph=False)
        def predict_encoded(encoded: Any) -> dict[str, Any]:
            image = tf.TensorSpec((*size, 3), tf.uint8)
            pixels = tf.map_fn(decode, encoded, fn_output_signature=image)
            found = predict(pixels)[OUTPUT]
            names = tf.constant(spec.classes)
            return {OUTPUT: found, "class": tf.gather(names, tf.argmax(found, axis=1))}

        module = tf.Module()
        module.kept = list(network.variables)  # the layers themselves would be traced one by one
        module.predict, module.predict_encoded = predict, predict_encoded
        signatures = {
            "serving_default": predict.get_concrete_function(),
            ENCODED: predict_encoded.get_concrete_function(),
        }
        tf.saved_model.save(module, str(path), signatures=signatures)
        extra = path / "assets.extra"  # where TensorFlow lets others put what is theirs
        extra.mkdir()
        (extra / FILE).write_text(spec.to_text())

    def load(self, path: Path) -> tuple[ModelSpec, Runner]:
        """Load the folder's "serving_default"; see `ModelFormat.load`."""
        try:
            text = (path / "assets.extra" / FILE).read_text()
        except OSError:
            raise DeployError(
                f"{path} has no assets.extra/{FILE}: it was not exported by featx."
            ) from None
        spec = ModelSpec.from_text(text, path)
        import_keras()
        import tensorflow as tf

        try:
            loaded = tf.saved_model.load(str(path))
            loaded.signatures["serving_default"]
        except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
            reason = " ".join(str(error).split())[:300]
            raise DeployError(f"TensorFlow cannot load {path}: {reason}") from error

        def submit(batch: np.ndarray) -> np.ndarray:
            # The function alone would not keep its weights alive.
            infer = loaded.signatures["serving_default"]
            found: np.ndarray = infer(**{INPUT: tf.constant(batch)})[OUTPUT].numpy()
            return found

        return spec, run_in_turn(spec, submit, f"{path.name} on tensorflow")
