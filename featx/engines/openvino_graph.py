"""A backbone's graph in OpenVINO's own format, built by Keras in a process of its own.

Keras builds it on its OpenVINO backend: that imports in a third of the time of TensorFlow, which
need not be installed. The backend is one a process, so that this process, which may have to train
networks, keeps the choice of its own.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import LazyLoader
from pathlib import Path
from typing import Any

from featx.engines.batch import memory_errors
from featx.errors import EngineError, EngineMemoryError, FeatxError, pack_error, unpack_error
from featx.records import BackboneSpec, ImageSpec, TapSpec, WeightsRecord, to_json

FRAMEWORKS = ("tensorflow", "jax", "torch", "pandas")
NEVER = (*FRAMEWORKS, "sklearn")
"""What Keras imports where it is installed, to no use here."""
LATER = ("scipy.signal",)
"""What its backend needs and imports, for layers that no backbone has: a third of all the time."""


@dataclass(frozen=True)
class OpenVinoGraph:
    """A graph for batches of any size, its outputs in the order of the taps.

    Attributes
    ----------
    xml, weights : bytes
        OpenVINO's two files.
    shapes : mapping of str to tuple of int
        Feature shape of one image at each tap, before flattening.
    """

    xml: bytes
    weights: bytes
    shapes: Mapping[str, tuple[int, ...]]


def make_graph(
    spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec]
) -> OpenVinoGraph:
    """Build the graph of `spec` with `weights` and all `taps`; see `GraphBuild.result`."""
    with GraphBuild(spec, weights, taps) as build:
        return build.result()


class GraphBuild:
    """A graph that a process of its own is building, until the end of the context at most."""

    def __init__(self, spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec]) -> None:
        self._spec = spec
        self._folder = tempfile.TemporaryDirectory(prefix="featx-")
        self._path = Path(self._folder.name) / "graph.xml"
        taken = [tap.name for tap in taps]
        asked = json.dumps([to_json(spec), to_json(weights), taken, str(self._path)])
        # Not as a module (-m), nor from the working directory: whatever lies there stays out.
        command = [sys.executable, "-P", "-c", f"from {__name__} import main; main()"]
        env = os.environ | {
            "KERAS_BACKEND": "openvino",
            "OPENBLAS_NUM_THREADS": "1",  # NumPy's: more would spin, and have nothing to do
            "PYTHONPATH": os.pathsep.join(
                [*filter(None, sys.path), str(Path(__file__).parents[2])]
            ),
        }
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, env=env)
        self.pid = self._process.pid
        stdin, self._process.stdin = self._process.stdin, None
        assert stdin
        with suppress(BrokenPipeError), stdin:  # why it has ended is told with the result
            stdin.write(asked.encode())

    def __enter__(self) -> GraphBuild:
        return self

    def __exit__(self, *error: object) -> None:
        with self._process:  # closes its pipes, and waits
            self._process.kill()
        self._folder.cleanup()

    def result(self) -> OpenVinoGraph:
        """Wait for the graph.

        Raises
        ------
        EngineError
            The process failed in a way of its own.
        EngineMemoryError
            It was killed: memory ran out.
        BackboneError, WeightsError, UnknownNameError
            As in `featx.backbones.build_graph`.
        """
        out, err = self._process.communicate()
        status, name = self._process.returncode, self._spec.text
        if status == -signal.SIGKILL:
            raise EngineMemoryError(f"The process that builds {name} was killed.")
        if status:
            said = err.decode(errors="replace").strip()
            raise EngineError(
                f"The process that builds {name} for OpenVINO failed: "
                f"{said.splitlines()[-1] if said else f'exit status {status}'}"
            )
        answer = json.loads(out.splitlines()[-1])  # what Python says at its start is above
        if "error" in answer:
            raise unpack_error(answer["error"])
        shapes = {tap: tuple(shape) for tap, shape in answer["shapes"]}
        # Read once the other process has given its memory back: networks may be large.
        weights = self._path.with_suffix(".bin").read_bytes()
        return OpenVinoGraph(self._path.read_bytes(), weights, shapes)


def main() -> None:
    """Build the graph that stdin asks for, and answer on stdout."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed
    sys.meta_path.insert(0, _Sparing())
    fields, weights, names, path = json.load(sys.stdin)
    spec = BackboneSpec(**fields | {"image": ImageSpec(**fields["image"])})
    taps = [TapSpec.parse(name) for name in names]
    answer: dict[str, Any]
    try:
        with memory_errors(RuntimeError):
            shapes = _export(spec, WeightsRecord(**weights), taps, Path(path))
        answer = {"shapes": list(shapes.items())}
    except FeatxError as error:
        answer = {"error": pack_error(error)}
    with out:
        json.dump(answer, out)
    os._exit(0)  # at once: to take Keras apart would take a tenth of the time of it all


def _export(
    spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], path: Path
) -> dict[str, tuple[int, ...]]:
    from featx.backbones import build_graph, graph_shapes
    from featx.quiet import block_telemetry, import_keras

    block_telemetry()
    import_keras(describes=True)
    import openvino
    from keras.src.backend.openvino.core import OpenVINOKerasTensor
    from openvino import opset13 as ops

    graph = build_graph(spec, weights, taps, channels_first=True)
    # As keras.Model.export does, which takes 1 for the number of images where a layer asks for it.
    shape = openvino.PartialShape([-1, spec.image.height, spec.image.width, 3])
    pixels = ops.parameter(shape, openvino.Type.u8, "images")
    features = graph(OpenVINOKerasTensor(pixels.output(0)), training=False)
    results = [ops.result(features[tap.name].output) for tap in taps]
    model = openvino.Model(results, [pixels], spec.name)
    openvino.save_model(model, path, compress_to_fp16=False)
    return graph_shapes(graph, taps)


class _Sparing:
    """Finds nothing of `NEVER`, as if it were not installed, and loads `LATER` when it is used."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        if name in NEVER:
            raise ModuleNotFoundError(f"{name} is not needed here", name=name)
        spec = PathFinder.find_spec(name, path, target) if name in LATER else None
        if spec and spec.loader:
            spec.loader = LazyLoader(spec.loader)
        return spec
