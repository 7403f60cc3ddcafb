"""A backbone as one Keras graph: uint8 pixels in, preprocessing inside, one output a tap."""

from __future__ import annotations

import importlib
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featx.backbones.catalog import BACKBONES
from featx.backbones.layout import to_channels_first
from featx.backbones.loading import load_weights
from featx.backbones.parse import bound_params
from featx.errors import BackboneError, SpecError, UnknownNameError
from featx.quiet import import_keras
from featx.records import POOLINGS, BackboneSpec, TapSpec, WeightsRecord
from featx.registry import near_misses


def build_backbone(spec: BackboneSpec, weights: WeightsRecord) -> Any:
    """Build the bare Keras model of `spec`, weights loaded, without classifier and pooling.

    Its input is what the family's `preprocess_input` returns, as float32 NHWC.

    Parameters
    ----------
    spec : BackboneSpec
    weights : WeightsRecord
        Of `resolve_weights(spec)`.

    Returns
    -------
    keras.Model

    Raises
    ------
    BackboneError
        Keras cannot build the backbone as described.
    WeightsError
        The weights do not fit.
    """
    with channels_last():
        backbone = call_builder(spec, include_top=False)
        load_weights(
            backbone, spec, weights, lambda n: call_builder(spec, include_top=True, classes=n)
        )
    return backbone


def build_graph(
    spec: BackboneSpec,
    weights: WeightsRecord,
    taps: Sequence[TapSpec],
    dtype: str = "float32",
    *,
    channels_first: bool = False,
) -> Any:
    """Build one graph from pixels to all `taps`.

    Parameters
    ----------
    spec : BackboneSpec
    weights : WeightsRecord
        Of `resolve_weights(spec)`.
    taps : sequence of TapSpec
        At least one.
    dtype : str
        Keras dtype policy of the backbone: "float32", "mixed_bfloat16" or "mixed_float16".
    channels_first : bool
        Let the backbone compute in NCHW where it can; what goes in and comes out is the same.

    Returns
    -------
    keras.Model
        Takes uint8 RGB (n, height, width, 3) and returns a dict of float32 (n, width) by
        `TapSpec.name`. Batch normalisation is in inference mode, dropout is off.

    Raises
    ------
    UnknownNameError
        A tap names a layer that the backbone does not have.
    BackboneError, WeightsError
        As in `build_backbone`.
    """
    if not taps:
        raise SpecError("No taps: ask for at least one of avg, max, flatten or LAYER:POOLING.")
    keras = import_keras(describes=True)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        backbone = build_backbone(spec, weights)
        with channels_last():
            turned = to_channels_first(backbone) if channels_first else None
            return _assemble(keras, turned or backbone, spec, taps, first=turned is not None)
    finally:
        keras.config.set_dtype_policy(before)


def tap_shapes(spec: BackboneSpec, taps: Sequence[TapSpec]) -> dict[str, tuple[int, ...]]:
    """Return the feature shape of one image at each tap, before flattening.

    (7, 7, 1024) for a flatten tap, (1024,) for a pooled one. No weights are loaded.
    """
    with channels_last():
        backbone = call_builder(spec, include_top=False)
    return _shapes([_tap_tensor(backbone, spec, tap) for tap in taps], taps)


def graph_shapes(graph: Any, taps: Sequence[TapSpec]) -> dict[str, tuple[int, ...]]:
    """Return what `tap_shapes` does, off a graph built with the same `taps`."""
    trunk = next(layer for layer in graph.layers if hasattr(layer, "layers"))
    return _shapes(trunk.outputs, taps)


def _shapes(tensors: Sequence[Any], taps: Sequence[TapSpec]) -> dict[str, tuple[int, ...]]:
    shapes = {}
    for tensor, tap in zip(tensors, taps, strict=True):
        shape = tuple(tensor.shape[1:])
        shapes[tap.name] = shape if tap.pooling == "flatten" else shape[-1:]
    return shapes


def list_layers(spec: BackboneSpec) -> list[tuple[str, tuple[int, ...]]]:
    """Return name and output shape (without the batch) of every layer that can be a tap."""
    with channels_last():
        backbone = call_builder(spec, include_top=False)
    layers = name_layers(backbone)
    return [(name, tuple(layer.output.shape[1:])) for name, layer in layers.items()]


def call_builder(
    spec: BackboneSpec, *, include_top: bool, classes: int = 1000, weights: str | None = None
) -> Any:
    """Call the keras.applications function of `spec`, with no weights unless "imagenet" is asked.

    With the classifier the input has the backbone's own size, since dense layers depend on it.
    """
    import_keras(describes=True)
    row = BACKBONES.get(spec.name)
    module, _, attribute = row.builder.partition(":")
    builder = getattr(importlib.import_module(module), attribute)
    shape = (spec.image.height, spec.image.width, 3)
    options: dict[str, Any] = {"input_shape": shape}
    if include_top:
        options = {"input_shape": (row.size, row.size, 3), "classes": classes}
    try:
        return builder(weights=weights, include_top=include_top, **options, **bound_params(spec))
    except (ValueError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())
        raise BackboneError(
            f"Keras cannot build {spec.text} at {shape[0]}x{shape[1]}: {reason}"
        ) from error


def _assemble(
    keras: Any, backbone: Any, spec: BackboneSpec, taps: Sequence[TapSpec], *, first: bool
) -> Any:
    tensors = [_tap_tensor(backbone, spec, tap) for tap in taps]
    if first:
        tensors = [keras.ops.moveaxis(t, 1, -1) if t.ndim == 4 else t for t in tensors]
    trunk = keras.Model(backbone.inputs, tensors, name=spec.name)
    trunk.trainable = False
    height, width = spec.image.height, spec.image.width
    pixels = keras.Input((height, width, 3), dtype="uint8", name="images")
    values = preprocess_pixels(spec, keras.ops.cast(pixels, "float32"))
    features = trunk(keras.ops.moveaxis(values, -1, 1) if first else values, training=False)
    outputs = {
        tap.name: _pool(keras, feature, tap)
        for tap, feature in zip(taps, keras.tree.flatten(features), strict=True)
    }
    return keras.Model(pixels, outputs, name=f"{spec.name}_features")


def preprocess_pixels(spec: BackboneSpec, values: Any) -> Any:
    """Apply the family's own `preprocess_input` as graph operations.

    For families whose graph begins with the preprocessing (EfficientNet, MobileNetV3, ConvNeXt) it
    is the identity, so that it happens exactly once everywhere.
    """
    module = importlib.import_module(f"keras.applications.{spec.preprocess}")
    return module.preprocess_input(values, data_format="channels_last")


def _pool(keras: Any, feature: Any, tap: TapSpec) -> Any:
    feature = keras.ops.cast(feature, "float32")
    if tap.pooling == "flatten":
        width = 1
        for side in feature.shape[1:]:
            width *= side
        return keras.ops.reshape(feature, (-1, width))
    axes = tuple(range(1, len(feature.shape) - 1))
    if not axes:
        return feature
    pool = {"avg": keras.ops.mean, "max": keras.ops.max}[tap.pooling]
    return pool(feature, axis=axes)


def _tap_tensor(backbone: Any, spec: BackboneSpec, tap: TapSpec) -> Any:
    if tap.pooling not in POOLINGS:
        raise SpecError(f"Unknown pooling {tap.pooling!r}. Use one of: {', '.join(POOLINGS)}.")
    if not tap.layer:
        return backbone.output
    layers = name_layers(backbone)
    if tap.layer not in layers:
        hint = f"See: featx list layers {_quoted(spec.text)}"
        raise UnknownNameError(
            f"layer of {spec.name}", tap.layer, near_misses(tap.layer, layers), hint
        )
    return layers[tap.layer].output


def name_layers(backbone: Any) -> dict[str, Any]:
    """Return the layers that can be taps, by the names they have in a fresh process.

    Keras numbers layers without a name of their own on and on: the first Conv2D of a process is
    conv2d, that of the next model conv2d_94. Counting starts afresh here with each backbone.
    """
    layers = [layer for layer in backbone.layers if type(layer).__name__ != "InputLayer"]
    numbered: dict[int, tuple[str, int]] = {}
    first: dict[str, int] = {}
    for layer in layers:
        kind = _snake_case(type(layer).__name__)
        match = re.fullmatch(rf"{kind}(?:_(\d+))?", layer.name)
        if match:
            number = int(match[1] or 0)
            numbered[id(layer)] = (kind, number)
            first[kind] = min(number, first.get(kind, number))
    named = {}
    for layer in layers:
        name = layer.name
        if id(layer) in numbered:
            kind, number = numbered[id(layer)]
            name = kind if number == first[kind] else f"{kind}_{number - first[kind]}"
        named[name] = layer
    return named


def _snake_case(name: str) -> str:
    """Name a layer class as Keras does: SeparableConv2D is separable_conv2d."""
    name = re.sub(r"\W+", "", name)
    name = re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", name)
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()


def _quoted(text: str) -> str:
    return f"'{text}'" if "(" in text else text


@contextmanager
def channels_last() -> Iterator[None]:
    """Build as NHWC whatever the user's keras.json says."""
    keras = import_keras(describes=True)
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)
