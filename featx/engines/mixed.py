"""Which layers OpenVINO computes in float32 when the rest of the graph is in bfloat16."""

from __future__ import annotations

import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

EARLY = 4
"""A layer is early while its maps are at least this fraction (1/4) of the image's side."""

# In OpenVINO's file format: do not convert this layer to another precision.
_KEEP = {"name": "precise", "version": "0"}
_NO_LAYERS = ("Const", "Parameter", "Result")


def keep_early_layers(model: Any, side: int) -> Any:
    """Mark the early layers of a network with depthwise convolutions to stay in float32.

    A depthwise filter's weights nearly cancel each other over a smooth picture, so that rounding
    them to 8 bits shifts whole channels, and every later layer takes the shift along. In networks
    without such filters bfloat16 changes the features by less than 1%; those are left alone.

    Parameters
    ----------
    model : openvino.Model
    side : int
        The smaller side of the image, in pixels.

    Returns
    -------
    openvino.Model
        `model` itself where there is nothing to mark. OpenVINO's Python API cannot set the mark,
        so that it is written into the model's text form.
    """
    import openvino
    from openvino._offline_transformations import apply_moc_transformations

    if not any(op.get_type_name() == "GroupConvolution" for op in model.get_ops()):
        return model
    # As OpenVINO's own converter does: normalisation goes into the convolutions, which would
    # otherwise happen later and lose the mark.
    apply_moc_transformations(model, cf=False, smart_reshape=False)
    with tempfile.TemporaryDirectory(prefix="featx-") as folder:
        path = Path(folder) / "model.xml"
        openvino.save_model(model, path, compress_to_fp16=False)
        tree = ElementTree.parse(path)
        for layer in tree.getroot().iterfind("layers/layer"):
            if layer.get("type") not in _NO_LAYERS and _map_side(layer) >= side // EARLY:
                notes = layer.find("rt_info")
                if notes is None:
                    notes = ElementTree.Element("rt_info")
                    layer.insert(0 if layer.find("data") is None else 1, notes)
                ElementTree.SubElement(notes, "attribute", _KEEP)
        tree.write(path)
        return openvino.Core().read_model(path)


def _map_side(layer: ElementTree.Element) -> int:
    """Return the height or width of what a layer gives; 0 where that is no map."""
    sizes = [int(dim.text or 0) for dim in layer.iterfind("output/port[1]/dim")]
    return sizes[2] if len(sizes) == 4 else 0  # in NCHW and NHWC alike
