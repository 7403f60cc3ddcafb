"""A backbone as one Keras graph: uint8 pixels in, preprocessing inside, one output a tap."""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from featx.backbones.catalog import BACKBONES
from featx.backbones.loading import load_weights
from featx.backbones.parse import bound_params
from featx.backbones.quiet import import_keras
from featx.errors import BackboneError, SpecError, UnknownNameError
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
    with _channels_last():
        backbone = call_builder(spec, include_top=False)
        load_weights(backbone, spec, weights)
    return backbone


def build_graph(
    spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], dtype: str = "float32"
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
    keras = import_keras()
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(dtype)
    try:
        backbone = build_backbone(spec, weights)
        with _channels_last():
            return _assemble(keras, backbone, spec, taps)
    finally:
        keras.config.set_dtype_policy(before)


def tap_shapes(spec: BackboneSpec, taps: Sequence[TapSpec]) -> dict[str, tuple[int, ...]]:
    """Return the feature shape of one image at each tap, before flattening.

    (7, 7, 1024) for a flatten tap, (1024,) for a pooled one. No weights are loaded.
    """
    with _channels_last():
        backbone = call_builder(spec, include_top=False)
    shapes = {}
    for tap in taps:
        shape = tuple(_tap_tensor(backbone, spec, tap).shape[1:])
        shapes[tap.name] = shape if tap.pooling == "flatten" else shape[-1:]
    return shapes


def list_layers(spec: BackboneSpec) -> list[tuple[str, tuple[int, ...]]]:
    """Return name and output shape (without the batch) of every layer that can be a tap."""
    with _channels_last():
        backbone = call_builder(spec, include_top=False)
    return [(layer.name, tuple(layer.output.shape[1:])) for layer in _layers(backbone)]


def call_builder(spec: BackboneSpec, *, include_top: bool, classes: int = 1000) -> Any:
    """Call the keras.applications function of `spec`, with no weights.

    With the classifier the input has the backbone's own size, since dense layers depend on it.
    """
    import_keras()
    row = BACKBONES.get(spec.name)
    module, _, attribute = row.builder.partition(":")
    builder = getattr(importlib.import_module(module), attribute)
    shape = (spec.image.height, spec.image.width, 3)
    options: dict[str, Any] = {"input_shape": shape}
    if include_top:
        options = {"input_shape": (row.size, row.size, 3), "classes": classes}
    try:
        return builder(weights=None, include_top=include_top, **options, **bound_params(spec))
    except (ValueError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())
        raise BackboneError(
            f"Keras cannot build {spec.text} at {shape[0]}x{shape[1]}: {reason}"
        ) from error


def _assemble(keras: Any, backbone: Any, spec: BackboneSpec, taps: Sequence[TapSpec]) -> Any:
    tensors = [_tap_tensor(backbone, spec, tap) for tap in taps]
    trunk = keras.Model(backbone.inputs, tensors, name=spec.name)
    trunk.trainable = False
    height, width = spec.image.height, spec.image.width
    pixels = keras.Input((height, width, 3), dtype="uint8", name="images")
    values = keras.ops.cast(pixels, "float32")
    features = trunk(_preprocess(spec, values), training=False)
    outputs = {
        tap.name: _pool(keras, feature, tap)
        for tap, feature in zip(taps, keras.tree.flatten(features), strict=True)
    }
    return keras.Model(pixels, outputs, name=f"{spec.name}_features")


def _preprocess(spec: BackboneSpec, values: Any) -> Any:
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
    names = [layer.name for layer in _layers(backbone)]
    if tap.layer not in names:
        hint = f"See: featx list layers {_quoted(spec.text)}"
        raise UnknownNameError(
            f"layer of {spec.name}", tap.layer, near_misses(tap.layer, names), hint
        )
    return backbone.get_layer(tap.layer).output


def _layers(backbone: Any) -> list[Any]:
    """Layers with one output that has fixed sizes."""
    return [
        layer
        for layer in backbone.layers
        if hasattr(layer.output, "shape") and len(layer.output.shape) >= 2
    ]


def _quoted(text: str) -> str:
    return f"'{text}'" if "(" in text else text


@contextmanager
def _channels_last() -> Iterator[None]:
    """Build as NHWC whatever the user's keras.json says; numbering of layers starts afresh."""
    keras = import_keras()
    before = keras.config.image_data_format()
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_image_data_format(before)
