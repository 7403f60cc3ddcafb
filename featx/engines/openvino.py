"""OpenVINO: the default on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backbones import build_graph, graph_shapes
from featx.backend import is_installed, use_backend
from featx.engines.batch import Collect, Submit, compile_or_halve, memory_errors
from featx.engines.device import cpu_batch_size, thread_limit
from featx.engines.mixed import keep_early_layers
from featx.engines.runner import Runner
from featx.errors import EngineError
from featx.quiet import block_telemetry, import_keras
from featx.records import BackboneSpec, TapSpec, WeightsRecord

block_telemetry()

_PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """The Keras graph as OpenVINO IR; several infer requests at once, one thread each."""

    name = "openvino"
    backend = "tensorflow"
    summary = "fastest on a CPU; float32, and bfloat16 where the CPU has it"

    def missing(self) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""
        absent = [m for m in ("openvino", "tensorflow") if not is_installed(m)]
        return f"pip install {' '.join(absent)}" if absent else None

    def precisions(self) -> tuple[str, ...]:
        """Return the precisions that the CPU computes in natively."""
        import openvino

        found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return ("float32", "bfloat16") if "BF16" in found else ("float32",)

    def load(
        self, spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], precision: str
    ) -> Runner:
        """Convert and compile the graph; see `Engine.load`."""
        use_backend(self.backend)
        if precision not in self.precisions():
            raise EngineError(
                f"The engine 'openvino' cannot compute in {precision} on this CPU. It can: "
                f"{', '.join(self.precisions())}."
            )
        import openvino

        height, width = spec.image.height, spec.image.width
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],
            "PERFORMANCE_HINT": "THROUGHPUT",
        }
        if threads := thread_limit():
            options["INFERENCE_NUM_THREADS"] = threads
            options["ENABLE_CPU_PINNING"] = False  # to the first cores, by each process alike
        shapes: dict[str, tuple[int, ...]] = {}
        in_flight = 0

        def compile(batch_size: int) -> tuple[Submit, Collect]:
            nonlocal shapes, in_flight
            try:
                with memory_errors(RuntimeError):
                    model, shapes = _convert(spec, weights, taps, batch_size)
                    if precision != "float32":
                        model = keep_early_layers(model, min(height, width))
                    compiled = openvino.Core().compile_model(model, "CPU", options)
                    # One request more than streams run at once: the next batch is there when one
                    # is done.
                    requests = max(in_flight, int(compiled.get_property("NUM_STREAMS")) + 1)
                    device = Requests(compiled, requests)
            except RuntimeError as error:
                reason = " ".join(str(error).split())
                raise EngineError(f"OpenVINO cannot compile {spec.text}: {reason}") from error
            in_flight = in_flight or requests
            return device.submit, device.collect

        label = f"{spec.text} on openvino in {precision}"
        device, batch_size = compile_or_halve(compile, cpu_batch_size(height, width), label)
        size = (height, width)
        return Runner(shapes, size, batch_size, in_flight, *device, label, compile)


class Requests:
    """A ring of infer requests, used in turn."""

    def __init__(self, compiled: Any, count: int) -> None:
        self._requests = [compiled.create_infer_request() for _ in range(count)]
        self._next = 0
        self._outputs = len(compiled.outputs)

    def submit(self, batch: np.ndarray) -> Any:
        """Start the work on `batch` (not copied) and return the request."""
        request = self._requests[self._next]
        self._next = (self._next + 1) % len(self._requests)
        with memory_errors(RuntimeError):
            request.start_async([batch], share_inputs=True)
        return request

    def collect(self, request: Any) -> list[np.ndarray]:
        """Wait for `request`; its buffers are used again, so its results are copied."""
        with memory_errors(RuntimeError):
            request.wait()
            return [request.get_output_tensor(i).data.copy() for i in range(self._outputs)]


def _convert(
    spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], batch_size: int
) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Return the OpenVINO model for batches of `batch_size`, outputs in the order of `taps`."""
    import_keras()
    import openvino
    import tensorflow as tf

    graph = build_graph(spec, weights, taps)
    names = [tap.name for tap in taps]
    shape = (batch_size, spec.image.height, spec.image.width, 3)

    @tf.function(input_signature=[tf.TensorSpec(shape, tf.uint8, name="images")], autograph=False)
    def infer(images: Any) -> list[Any]:
        features = graph(images, training=False)
        return [tf.identity(features[name], f"tap_{i}") for i, name in enumerate(names)]

    converted = openvino.convert_model(infer.get_concrete_function())
    # The converter takes loose ends of the graph for outputs too: swish has one for its gradient.
    results = [converted.output(f"tap_{i}:0").get_node() for i in range(len(names))]
    model = openvino.Model(results, converted.get_parameters(), spec.name)
    return model, graph_shapes(graph, taps)
