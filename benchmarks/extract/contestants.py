"""What is measured: featx's engine, and what people write with Keras and ONNX Runtime."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 32


class KerasLoop:
    """image_dataset_from_directory, preprocess_input, predict."""

    name = "keras"

    def __init__(self, backbone: str) -> None:
        from featx.backbones import build_backbone, parse_backbone, resolve_weights
        from featx.quiet import import_keras

        keras = import_keras()
        spec = parse_backbone(backbone, weights="random")
        self.size = (spec.image.height, spec.image.width)
        self.keras = keras
        trunk = build_backbone(spec, resolve_weights(spec))
        module = getattr(keras.applications, spec.preprocess)
        self.preprocess = module.preprocess_input
        pooled = keras.layers.GlobalAveragePooling2D()(trunk.output)
        self.model = keras.Model(trunk.input, pooled)
        self.model.predict(np.zeros((BATCH, *self.size, 3), np.float32), verbose=0)

    def run(self, data: Path, out: Path) -> float:
        started = time.perf_counter()
        images = self.keras.utils.image_dataset_from_directory(
            data, image_size=self.size, batch_size=BATCH, shuffle=False, verbose=False
        )
        features = self.model.predict(images.map(lambda x, y: self.preprocess(x)), verbose=0)
        np.save(out / "keras.npy", features)
        return time.perf_counter() - started


class OnnxLoop:
    """The Keras graph in ONNX Runtime, with all its threads; Pillow opens and resizes.

    Preprocessing is inside the graph, so that no NumPy work is held against it.
    """

    name = "onnxruntime"

    def __init__(self, backbone: str) -> None:
        import onnxruntime
        import tensorflow as tf
        import tf2onnx
        from tensorflow.python.framework.convert_to_constants import (
            convert_variables_to_constants_v2,
        )

        from featx.backbones import build_graph, parse_backbone, resolve_weights
        from featx.records import TapSpec

        spec = parse_backbone(backbone, weights="random")
        self.size = (spec.image.height, spec.image.width)
        graph = build_graph(spec, resolve_weights(spec), [TapSpec("", "avg")])
        signature = tf.TensorSpec((None, *self.size, 3), tf.uint8, name="images")

        @tf.function(input_signature=[signature], autograph=False)
        def infer(images: Any) -> Any:
            return graph(images, training=False)["avg"]

        # tf2onnx takes constants that a function has captured for inputs.
        frozen = convert_variables_to_constants_v2(infer.get_concrete_function())

        @tf.function(input_signature=[signature], autograph=False)
        def predict(images: Any) -> Any:
            return tf.identity(frozen(images)[0], "features")

        model, _ = tf2onnx.convert.from_function(predict, input_signature=[signature], opset=17)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        self.session.run(None, {"images": np.zeros((BATCH, *self.size, 3), np.uint8)})

    def run(self, data: Path, out: Path) -> float:
        from PIL import Image

        started = time.perf_counter()
        paths = sorted(data.glob("*/*"))
        features = []
        for start in range(0, len(paths), BATCH):
            images = []
            for path in paths[start : start + BATCH]:
                with Image.open(path) as image:
                    small = image.convert("RGB").resize(self.size[::-1], Image.Resampling.BILINEAR)
                    images.append(np.asarray(small))
            features.append(self.session.run(None, {"images": np.stack(images)})[0])
        np.save(out / "onnx.npy", np.concatenate(features))
        return time.perf_counter() - started


PEERS = {
    "keras": (KerasLoop, ("tensorflow",)),
    "onnxruntime": (OnnxLoop, ("tensorflow", "onnxruntime", "onnx", "tf2onnx")),
}
"""Each with the packages that it needs. PyTorch is left out: it has none of Keras's networks."""


class Loaded:
    """A graph that is loaded already, as the peers' are before their clocks start."""

    def __init__(
        self,
        engine: str,
        backbone: str,
        precision: str = "float32",
        *,
        taps: tuple[str, ...] = ("avg",),
        image_size: int | None = None,
    ) -> None:
        from featx.backbones import parse_backbone, resolve_weights
        from featx.engines import ENGINES
        from featx.records import TapSpec

        spec = parse_backbone(backbone, weights="random", image_size=image_size)
        started = time.perf_counter()
        self.runner = ENGINES.get(engine).load(
            spec, resolve_weights(spec), [TapSpec.parse(tap) for tap in taps], precision
        )
        self.load_seconds = time.perf_counter() - started
        self.image = spec.image
        shape = (self.runner.batch_size, spec.image.height, spec.image.width, 3)
        self.batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
        self.runner.run(self.batch)
        self.key = (spec.text, tuple(self.runner.taps))

    def run_alone(self, images: int) -> float:
        """Return images a second on ready arrays, over about so many images."""
        count = max(2, round(images / self.runner.batch_size))
        started = time.perf_counter()
        for _ in self.runner.stream(self.batch for _ in range(count)):
            pass
        return count * self.runner.batch_size / (time.perf_counter() - started)


class ReadyEngine:
    """An engine under a name of its own that gives graphs loaded already."""

    summary = "for this benchmark"
    backend = None  # Keras is at work already

    def __init__(self, loaded: Sequence[Loaded]) -> None:
        from featx.engines import ENGINES

        self.runners = {one.key: one.runner for one in loaded}
        self.name = f"ready-{id(self)}"
        ENGINES.register(self.name, self)  # which holds on to it, so that no other has its id

    def missing(self) -> None:
        return None

    def precisions(self) -> tuple[str, ...]:
        return ("float32", "bfloat16", "float16")

    def load(self, spec: Any, weights: object, taps: Any, precision: str) -> Any:
        return self.runners[spec.text, tuple(tap.name for tap in taps)]
