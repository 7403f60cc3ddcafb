"""An OpenVINO model: an .xml with the graph, and its weights in a .bin beside it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from featx.backend import is_installed
from featx.deploy.formats.trace import trace
from featx.deploy.spec import INPUT, KEY, OUTPUT, ModelSpec
from featx.engines import Runner
from featx.engines.device import STREAM_BATCH, cpu_batch_size
from featx.engines.openvino import Requests
from featx.errors import DeployError


class OpenVinoFormat:
    """Two files, the weights in float32."""

    name = "openvino"
    summary = "OpenVINO, the fastest on a CPU"
    suffix = ".xml"
    converts = True

    def missing(self, *, to_export: bool) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""
        needed = ["openvino", "tensorflow"] if to_export else ["openvino"]
        absent = [m for m in needed if not is_installed(m)]
        return f"pip install {' '.join(absent)}" if absent else None

    def save(self, network: Any, path: Path, spec: ModelSpec) -> None:
        """Convert and write; see `ModelFormat.save`."""
        import openvino

        converted = openvino.convert_model(trace(network).get_concrete_function())
        # The converter takes loose ends of the graph for outputs too.
        (output,) = [o for o in converted.outputs if any(OUTPUT in name for name in o.get_names())]
        model = openvino.Model([output.get_node()], converted.get_parameters(), "featx")
        model.inputs[0].get_tensor().set_names({INPUT})
        model.outputs[0].get_tensor().set_names({OUTPUT})
        model.set_rt_info(spec.to_text(), [KEY, "model"])
        model.set_rt_info(json.dumps(list(spec.classes)), [KEY, "classes"])
        openvino.save_model(model, path, compress_to_fp16=False)

    def load(self, path: Path) -> tuple[ModelSpec, Runner]:
        """Load the files; see `ModelFormat.load`."""
        import openvino

        if not path.with_suffix(".bin").is_file():
            raise DeployError(f"The weights of {path} are not beside it, in {path.stem}.bin.")
        core = openvino.Core()
        try:
            model = core.read_model(path)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise DeployError(f"OpenVINO cannot load {path}: {reason}") from error
        if not model.has_rt_info([KEY, "model"]):
            raise DeployError(
                f"{path} was not exported by featx: it has no {KEY!r} in its rt_info."
            )
        spec = ModelSpec.from_text(model.get_rt_info([KEY, "model"]).astype(str), path)
        height, width = spec.image.height, spec.image.width
        batch_size = cpu_batch_size(height, width, STREAM_BATCH)
        options = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "THROUGHPUT"}
        try:
            model.reshape([batch_size, height, width, 3])
            compiled = core.compile_model(model, "CPU", options)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:300]
            raise DeployError(f"OpenVINO cannot compile {path}: {reason}") from error
        in_flight = int(compiled.get_property("NUM_STREAMS")) + 1
        device = Requests(compiled, in_flight)
        runner = Runner(
            {OUTPUT: (len(spec.classes),)},
            (height, width),
            batch_size,
            in_flight,
            device.submit,
            device.collect,
            f"{path.name} on openvino",
        )
        return spec, runner
