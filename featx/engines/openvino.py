"""OpenVINO: the default on a CPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.backend import is_installed
from featx.engines.batch import Collect, Submit, compile_or_halve, memory_errors
from featx.engines.device import STREAM_BATCH, cpu_batch_size, thread_limit
from featx.engines.mixed import keep_early_layers
from featx.engines.openvino_graph import OpenVinoGraph, make_graph
from featx.engines.runner import Runner
from featx.errors import EngineError
from featx.quiet import block_telemetry
from featx.records import BackboneSpec, TapSpec, WeightsRecord

block_telemetry()

_PRECISION_HINTS = {"float32": "f32", "bfloat16": "bf16"}


class OpenVinoEngine:
    """The Keras graph in OpenVINO's format; several infer requests at once, one thread each."""

    name = "openvino"
    backend = ""
    summary = "fastest on a CPU; float32, and bfloat16 where the CPU has it"

    def missing(self) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""
        return None if is_installed("openvino") else "pip install openvino"

    def precisions(self) -> tuple[str, ...]:
        """Return the precisions that the CPU computes in natively."""
        import openvino

        found = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return ("float32", "bfloat16") if "BF16" in found else ("float32",)

    def load(
        self, spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], precision: str
    ) -> Runner:
        """Build and compile the graph; see `Engine.load`."""
        self._require(precision)
        return self.compile(spec, make_graph(spec, weights, taps), precision)

    def compile(self, spec: BackboneSpec, graph: OpenVinoGraph, precision: str) -> Runner:
        """Compile a graph of `make_graph`, of this machine or another; needs no Keras.

        Raises
        ------
        EngineError
            The precision is not to be had here, or compilation failed.
        """
        self._require(precision)
        import openvino

        height, width = spec.image.height, spec.image.width
        options: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": _PRECISION_HINTS[precision],
            "PERFORMANCE_HINT": "THROUGHPUT",
        }
        if threads := thread_limit():
            options["INFERENCE_NUM_THREADS"] = threads
            options["ENABLE_CPU_PINNING"] = False  # to the first cores, by each process alike
        in_flight = 0

        def compile(batch_size: int) -> tuple[Submit, Collect]:
            nonlocal in_flight
            try:
                with memory_errors(RuntimeError):
                    core = openvino.Core()
                    model = core.read_model(graph.xml, graph.weights)
                    model.reshape([batch_size, height, width, 3])
                    if precision != "float32":
                        model = keep_early_layers(model, min(height, width))
                    compiled = core.compile_model(model, "CPU", options)
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
        size = (height, width)
        device, batch_size = compile_or_halve(compile, cpu_batch_size(*size, STREAM_BATCH), label)
        return Runner(graph.shapes, size, batch_size, in_flight, *device, label, compile)

    def _require(self, precision: str) -> None:
        if precision not in self.precisions():
            raise EngineError(
                f"The engine 'openvino' cannot compute in {precision} on this CPU. It can: "
                f"{', '.join(self.precisions())}."
            )


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
