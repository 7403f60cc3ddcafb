"""The base of a network: which layers it has, where it ends, and where its frozen part ends."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featx.backbones import build_backbone
from featx.backbones.graph import call_builder, channels_last, name_layers
from featx.errors import SpecError
from featx.quiet import import_keras
from featx.records import BackboneSpec, TapSpec, WeightsRecord


@dataclass(frozen=True)
class Base:
    """A backbone without classifier, its last layers left out where that was asked for.

    Attributes
    ----------
    model : keras.Model
        What `preprocess_input` returns, to feature maps; always in inference mode.
    names : tuple of str
        Of `model.layers`, as `featx list layers` shows them.
    last : str
        Name of the layer it ends with; "" is the backbone's own end.
    """

    model: Any
    names: tuple[str, ...]
    last: str = ""

    def tap(self, pooling: str) -> TapSpec:
        """Return the features that a cache would have of the base's end."""
        return TapSpec(self.last, pooling)


@dataclass(frozen=True)
class CutRecord:
    """The one tensor at which a base can be cut in two without touching what is trained.

    Attributes
    ----------
    tap : TapSpec
        The tensor, flattened.
    shape : tuple of int
        Of one image's values there.
    layer : keras.Layer
        Whose output it is.
    at_end : bool
        Nothing of the base comes after it.
    share : float
        Of the base's multiplications, those below the cut.
    """

    tap: TapSpec
    shape: tuple[int, ...]
    layer: Any
    at_end: bool = False
    share: float = 1.0


def build_base(spec: BackboneSpec, weights: WeightsRecord | None, drop_last: int = 0) -> Base:
    """Build a backbone up to the layer before its last `drop_last`.

    Parameters
    ----------
    spec : BackboneSpec
    weights : WeightsRecord, optional
        None leaves them as Keras draws them: to look at layers and shapes only.
    drop_last : int
        Layers to leave out, as Keras counts `model.layers`.

    Returns
    -------
    Base

    Raises
    ------
    SpecError
        More layers than there are, or an end in the middle of branches.
    BackboneError, WeightsError
        As `featx.backbones.build_backbone`.
    """
    if weights is None:
        with channels_last():
            model = call_builder(spec, include_top=False)
    else:
        model = build_backbone(spec, weights)
    known = {id(layer): name for name, layer in name_layers(model).items()}
    last = ""
    if drop_last:
        model, last = _truncate(model, spec.text, drop_last, known)
    names = tuple(known.get(id(layer), layer.name) for layer in model.layers)
    return Base(hold_inference(model), names, last)


def set_trainable(base: Base, first: int) -> None:
    """Train the layers from number `first` on, and no other."""
    base.model.trainable = True
    for number, layer in enumerate(base.model.layers):
        layer.trainable = number >= first


def find_cut(base: Base) -> CutRecord | None:
    """Find the last tensor that all paths through a base go through, below what is trained.

    In a graph with skip connections or branches the layer just below the first trained one often
    carries only a part of what goes on; then the cut is further up.

    Parameters
    ----------
    base : Base
        `trainable` set.

    Returns
    -------
    CutRecord or None
        None where nothing with parameters lies before such a tensor. A cut at the end of the base
        has the base's end as its tap.
    """
    model = base.model
    order = {id(layer): number for number, layer in enumerate(model.layers)}
    whole = {id(op) for op in _upstream(model.outputs)}
    best: tuple[int, Any] | None = None
    for layer in model.layers:
        if type(layer).__name__ == "InputLayer" or id(layer) not in whole:
            continue
        below = _upstream([_output(layer)])
        if any(getattr(op, "trainable_weights", ()) for op in below):
            continue
        if not any(getattr(op, "weights", ()) for op in below):
            continue
        above = _upstream(model.outputs, stop=layer)
        if any(type(op).__name__ == "InputLayer" for op in above):
            continue  # another path goes around it
        if best is None or len(below) > best[0]:
            best = len(below), layer
    if best is None:
        return None
    layer = best[1]
    at_end = _output(layer) is model.outputs[0]
    name = base.last if at_end else base.names[order[id(layer)]]
    shape = tuple(_output(layer).shape[1:])
    frozen = _multiplications(_upstream([_output(layer)]))
    share = frozen / max(1, _multiplications(model.layers))
    return CutRecord(TapSpec(name, "flatten"), shape, layer, at_end, share)


def build_tail(base: Base, cut: CutRecord) -> Any:
    """Return the part of a base after a cut that is not its end; it shares the base's layers."""
    keras = import_keras()
    tail = keras.Model(_output(cut.layer), base.model.outputs[0], name=f"{base.model.name}_tail")
    return hold_inference(tail)


def hold_inference(model: Any) -> Any:
    """Make a Keras model run as in prediction, whatever it is called with, and return it.

    Calling it with ``training=False`` is not enough: a network around it hands its own
    ``training=True`` down to all its layers, and batch normalisation would move its statistics. The
    model is saved as any other.
    """
    run = model.call

    def call(inputs: Any, training: Any = None, mask: Any = None) -> Any:
        return run(inputs, training=False, mask=mask)

    model.call = call
    return model


def _truncate(model: Any, text: str, drop_last: int, known: dict[int, str]) -> tuple[Any, str]:
    keras = import_keras()
    layers = model.layers
    if not 0 < drop_last < len(layers) - 1:
        raise SpecError(
            f"drop_last={drop_last}: {text} has {len(layers)} layers. Give 0 to {len(layers) - 2}."
        )
    if not _ends_at(layers, drop_last):
        good = [n for n in range(1, len(layers) - 1) if _ends_at(layers, n)]
        near = sorted(sorted(good, key=lambda n: abs(n - drop_last))[:2])
        raise SpecError(
            f"drop_last={drop_last} would end {text} in the middle of branches: its layer "
            f"{known.get(id(layers[-1 - drop_last]), layers[-1 - drop_last].name)!r} is one of "
            f"several ends. Near it {' and '.join(map(str, near))} would do."
        )
    end = layers[-1 - drop_last]
    return keras.Model(model.inputs, _output(end), name=model.name), known[id(end)]


def _ends_at(layers: Sequence[Any], drop_last: int) -> bool:
    """Tell whether all that is left leads to one layer."""
    end = layers[-1 - drop_last]
    if type(end).__name__ == "InputLayer":
        return False
    below = {id(op) for op in _upstream([_output(end)])}
    return all(id(layer) in below for layer in layers[: len(layers) - drop_last])


def _multiplications(operations: Sequence[Any]) -> int:
    """Count the multiplications of convolutions and dense layers for one image, roughly."""
    total = 0
    for operation in operations:
        kernels = [w for w in getattr(operation, "weights", ()) if len(w.shape) > 1]
        sides = _output(operation).shape[1:-1] if kernels else ()
        total += sum(math.prod(w.shape) for w in kernels) * math.prod(sides)
    return total


def _output(layer: Any) -> Any:
    """Return what a layer gave when the backbone was built; later calls added other outputs."""
    return layer._inbound_nodes[0].output_tensors[0]


def _upstream(tensors: Sequence[Any], stop: Any = None) -> list[Any]:
    """Return the operations that lead to `tensors`; what leads to `stop`, and it, are left out."""
    found: dict[int, Any] = {}
    waiting = list(tensors)
    while waiting:
        history = waiting.pop()._keras_history
        operation = history.operation
        if operation is stop or id(operation) in found:
            continue
        found[id(operation)] = operation
        waiting += operation._inbound_nodes[history.node_index].input_tensors
    return list(found.values())
