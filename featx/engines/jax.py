"""JAX: the same Keras graph on Keras's JAX backend, with no TensorFlow installed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones import build_graph, graph_shapes
from featx.backend import is_installed, use_backend
from featx.engines.batch import Collect, Submit, memory_errors
from featx.engines.device import cpu_batch_size
from featx.engines.runner import Runner
from featx.engines.tensorflow import GPU_START, POLICIES
from featx.errors import EngineError
from featx.quiet import import_keras
from featx.records import BackboneSpec, TapSpec, WeightsRecord


class JaxEngine:
    """The Keras graph as one jitted JAX function."""

    name = "jax"
    summary = "for installations without TensorFlow"
    backend = "jax"

    def missing(self) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""
        return None if is_installed("jax") else "pip install jax"

    def precisions(self) -> tuple[str, ...]:
        """Return the precisions that JAX can compute in here."""
        import jax

        on_cpu = jax.default_backend() == "cpu"
        return ("float32", "bfloat16") if on_cpu else ("float32", "bfloat16", "float16")

    def load(
        self, spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], precision: str
    ) -> Runner:
        """Compile the graph; see `Engine.load`."""
        use_backend(self.backend)
        if precision not in self.precisions():
            raise EngineError(
                f"The engine 'jax' does not compute in {precision} here. It can: "
                f"{', '.join(self.precisions())}."
            )
        import_keras()
        import jax

        height, width = spec.image.height, spec.image.width
        on_cpu = jax.default_backend() == "cpu"
        graph = build_graph(spec, weights, taps, POLICIES[precision])
        names = [tap.name for tap in taps]
        constants = [v.value for v in graph.trainable_variables]
        statistics = [v.value for v in graph.non_trainable_variables]

        @jax.jit
        def infer(trainable: Any, fixed: Any, images: Any) -> list[Any]:
            features, _ = graph.stateless_call(trainable, fixed, images, training=False)
            return [features[name] for name in names]

        def compile(batch_size: int) -> tuple[Submit, Collect]:
            shape = (batch_size, height, width, 3)
            with memory_errors(jax.errors.JaxRuntimeError):
                pixels = jax.ShapeDtypeStruct(shape, np.uint8)
                compiled = infer.lower(constants, statistics, pixels).compile()

            def submit(batch: np.ndarray) -> Any:
                # Nothing here waits: pixels go over, as uint8, while earlier batches are computed,
                # and features come back while later ones are.
                with memory_errors(jax.errors.JaxRuntimeError):
                    outputs = compiled(constants, statistics, jax.device_put(batch))
                    for output in outputs:
                        output.copy_to_host_async()
                return outputs

            return submit, collect

        def collect(outputs: Any) -> list[np.ndarray]:
            with memory_errors(jax.errors.JaxRuntimeError):
                return [np.array(output) for output in outputs]

        return Runner.compiled(
            graph_shapes(graph, taps),
            (height, width),
            cpu_batch_size(height, width) * (1 if on_cpu else GPU_START),
            3,
            compile,
            f"{spec.text} on jax in {precision}",
            grows=not on_cpu,
        )
