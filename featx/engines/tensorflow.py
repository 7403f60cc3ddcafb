"""TensorFlow: the default on a GPU; works on a CPU too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones import build_graph, graph_shapes
from featx.backend import is_installed, use_backend
from featx.engines.batch import Collect, Submit, memory_errors
from featx.engines.device import cpu_batch_size, has_gpu
from featx.engines.runner import Runner
from featx.errors import EngineError
from featx.quiet import import_keras
from featx.records import BackboneSpec, TapSpec, WeightsRecord

POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
"""Keras dtype policy of each precision."""

GPU_START = 8
"""Growth begins at this many times a CPU's batch: each size costs seconds to compile."""


class TensorFlowEngine:
    """The Keras graph as one traced TensorFlow function."""

    name = "tensorflow"
    backend = "tensorflow"
    summary = "for a GPU (XLA, mixed precision); works on a CPU"

    def missing(self) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""
        return None if is_installed("tensorflow") else "pip install tensorflow"

    def precisions(self) -> tuple[str, ...]:
        """Return the precisions that are worth computing in here."""
        return ("float32", "bfloat16", "float16") if has_gpu() else ("float32", "bfloat16")

    def load(
        self, spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], precision: str
    ) -> Runner:
        """Trace the graph; see `Engine.load`."""
        use_backend(self.backend)
        if precision not in self.precisions():
            raise EngineError(
                f"The engine 'tensorflow' does not compute in {precision} here. It can: "
                f"{', '.join(self.precisions())}."
            )
        import_keras()
        import tensorflow as tf

        height, width = spec.image.height, spec.image.width
        gpu = has_gpu()
        graph = build_graph(spec, weights, taps, POLICIES[precision])
        names = [tap.name for tap in taps]

        def compile(batch_size: int) -> tuple[Submit, Collect]:
            signature = [tf.TensorSpec((batch_size, height, width, 3), tf.uint8, name="images")]

            @tf.function(input_signature=signature, jit_compile=gpu, autograph=False)
            def infer(images: Any) -> list[Any]:
                features = graph(images, training=False)
                return [features[name] for name in names]

            with memory_errors(tf.errors.OpError):
                traced = infer.get_concrete_function()

            def submit(batch: np.ndarray) -> Any:
                with memory_errors(tf.errors.OpError):
                    return traced(tf.constant(batch))

            def collect(outputs: Any) -> list[np.ndarray]:
                with memory_errors(tf.errors.OpError):
                    return [output.numpy() for output in outputs]

            return submit, collect

        return Runner.compiled(
            graph_shapes(graph, taps),
            (height, width),
            cpu_batch_size(height, width) * (GPU_START if gpu else 1),
            3 if gpu else 1,
            compile,
            f"{spec.text} on tensorflow in {precision}",
            grows=gpu,
        )
