"""A Keras model in the other memory layout: NCHW, which is OpenVINO's own."""

from __future__ import annotations

from typing import Any

# Layers that do the same whatever the order of axes, or follow `data_format`.
_FOLLOW = {
    "Activation", "Add", "AveragePooling2D", "Conv2D", "Cropping2D", "CustomScaleLayer",
    "DepthwiseConv2D", "Dropout", "GlobalAveragePooling2D", "GlobalMaxPooling2D", "InputLayer",
    "MaxPooling2D", "Multiply", "ReLU", "SeparableConv2D", "ZeroPadding2D",
}  # fmt: skip
_ALONG_CHANNELS = ("softmax", "log_softmax", "sparsemax", "glu")  # the last axis, that is


def to_channels_first(model: Any) -> Any | None:
    """Return a copy of a functional Keras `model` that computes in NCHW.

    Layers keep their names and weights; input and outputs are NCHW. None where a layer is not
    known to be the same in both layouts (ConvNeXt's are not).
    """
    import keras

    configs = {layer.name: _turned(layer) for layer in model.operations}
    if None in configs.values() or len(model.inputs) != 1:
        return None
    height, width, channels = model.input_shape[1:]
    turned = keras.models.clone_model(
        model,
        input_tensors=keras.Input((channels, height, width), name=model.inputs[0].name),
        clone_function=lambda layer: type(layer).from_config(configs[layer.name]),
    )
    for mine, theirs in zip(turned.weights, model.weights, strict=True):
        mine.assign(theirs.value)
    for layer in turned.layers:
        if hasattr(layer, "finalize_state"):  # Normalization works on copies of its weights
            layer.finalize_state()
    return turned


def _turned(layer: Any) -> dict[str, Any] | None:
    """Return the layer's configuration for NCHW; None where none is known."""
    config: dict[str, Any] = layer.get_config()
    kind = type(layer).__name__
    if config.get("activation") in _ALONG_CHANNELS:
        return None
    if kind in ("BatchNormalization", "Concatenate", "Normalization"):
        axis = config["axis"]
        if axis not in (3, -1, [3], (3,), [-1], (-1,)):
            return None
        return config | {"axis": 1}
    if kind == "Reshape":  # of the weights of channels: (1, 1, channels)
        *sides, channels = config.get("target_shape") or (0,)
        return config | {"target_shape": (channels, *sides)} if sides == [1, 1] else None
    if kind == "Rescaling":
        alike = all(isinstance(config[key], float | int) for key in ("scale", "offset"))
        return config if alike else None
    if kind not in _FOLLOW:
        return None
    return config | {"data_format": "channels_first"} if "data_format" in config else config
