"""A model turned to NCHW computes what the model computes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from featx.backbones.layout import to_channels_first
from featx.backend import is_installed
from featx.quiet import import_keras

SIZE = (36, 44, 3)
"""Of the pixels: no two sides alike, so that a wrong axis is seen."""


def small_model() -> Any:
    """Return a network with every layer that can be turned, in NHWC; its weights are random."""
    import keras

    layers = keras.layers
    pixels = keras.Input(SIZE, name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0)(pixels)
    x = layers.Normalization(name="norm")(x)
    x = layers.ZeroPadding2D(((0, 1), (2, 1)))(x)
    x = layers.Conv2D(8, 3, strides=2, padding="valid", name="conv")(x)
    x = layers.BatchNormalization(axis=3, name="bn")(x)
    x = layers.ReLU(6.0)(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    x = layers.Activation("swish", name="swish")(x)
    wide = layers.SeparableConv2D(12, (1, 5), padding="same", strides=2, name="separable")(x)
    pooled = layers.MaxPooling2D((2, 2), padding="same")(x)
    x = layers.Concatenate(name="joined")([wide, pooled])
    gate = layers.GlobalAveragePooling2D()(x)
    gate = layers.Reshape((1, 1, 28), name="squeezed")(gate)
    gate = layers.Conv2D(28, 1, activation="sigmoid", name="gate")(gate)
    x = layers.Multiply()([x, gate])
    x = layers.Add()([x, layers.Dropout(0.5)(x)])
    x = layers.Cropping2D(((1, 0), (0, 2)))(x)
    early = layers.AveragePooling2D((3, 2), strides=1, name="early")(x)
    late = layers.Conv2D(5, 3, dilation_rate=2, use_bias=False, name="late")(early)
    model = keras.Model(pixels, [early, late, layers.GlobalMaxPooling2D()(late)])
    rng = np.random.default_rng(3)
    for weight in model.weights:
        # Variances must be positive, and a count is a whole number.
        values = rng.uniform(0.1, 0.5, weight.shape).astype(weight.dtype)
        weight.assign(values if values.ndim < 2 else values - 0.3)
    model.get_layer("norm").finalize_state()
    return model


# OpenVINO runs both layouts; TensorFlow's convolutions on a CPU only NHWC.
COMPARE = """
import json, sys
import numpy as np
import openvino
from keras.src.backend.openvino.core import OpenVINOKerasTensor
from openvino import opset13 as ops
from featx.backbones.layout import to_channels_first
from test_layout import SIZE, small_model

def outputs(model, images):
    given = ops.parameter(images.shape, openvino.Type.f32)
    found = model(OpenVINOKerasTensor(given.output(0)), training=False)
    graph = openvino.Model([ops.result(value.output) for value in found], [given])
    options = {"INFERENCE_PRECISION_HINT": "f32"}
    compiled = openvino.Core().compile_model(graph, "CPU", options)
    return list(compiled(images).values())

model = small_model()
turned = to_channels_first(model)
images = np.random.default_rng(0).uniform(0, 255, (2, *SIZE)).astype(np.float32)
wanted = outputs(model, images)
found = outputs(turned, np.ascontiguousarray(images.transpose(0, 3, 1, 2)))
errors = []
for mine, theirs in zip(found, wanted, strict=True):
    mine = mine.transpose(0, 2, 3, 1) if mine.ndim == 4 else mine
    assert mine.shape == theirs.shape, (mine.shape, theirs.shape)
    assert theirs.std() > 1e-3
    errors.append(float(np.abs(mine - theirs).max() / np.abs(theirs).max()))
print(json.dumps(errors))
"""


@pytest.mark.slow
@pytest.mark.skipif(not is_installed("openvino"), reason="openvino is not installed")
def test_the_turned_model_gives_the_same() -> None:
    path = [os.path.dirname(__file__), *filter(None, sys.path)]
    done = subprocess.run(
        [sys.executable, "-c", COMPARE],
        env={**os.environ, "KERAS_BACKEND": "openvino", "PYTHONPATH": os.pathsep.join(path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    errors = json.loads(done.stdout.splitlines()[-1])
    assert len(errors) == 3
    assert max(errors) < 1e-5


def test_layers_keep_names_and_weights() -> None:
    model = _keras_model(small_model)
    turned = to_channels_first(model)
    assert turned is not None
    assert [layer.name for layer in turned.layers] == [layer.name for layer in model.layers]
    height, width, channels = SIZE
    assert turned.input_shape == (None, channels, height, width)
    for mine, theirs in zip(turned.outputs, model.outputs, strict=True):
        n, *sides, channels = theirs.shape
        assert tuple(mine.shape) == (n, channels, *sides)
    assert len(model.weights) > 10
    assert [weight.path for weight in turned.weights] == [weight.path for weight in model.weights]
    for mine, theirs in zip(turned.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_the_model_itself_is_left_alone() -> None:
    model = _keras_model(small_model)
    before = model.get_weights()
    config = model.get_config()
    turned = to_channels_first(model)
    for weight in turned.weights:
        weight.assign(np.zeros(weight.shape, weight.dtype))
    assert model.get_config() == config
    for mine, theirs in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)


UNKNOWN: dict[str, Callable[[Any, Any], Any]] = {
    "lambda": lambda keras, x: keras.layers.Lambda(lambda v: v[:, ::-1])(x),
    "dense": lambda keras, x: keras.layers.Dense(4)(x),
    "normalised rows": lambda keras, x: keras.layers.BatchNormalization(axis=1)(x),
    "joined rows": lambda keras, x: keras.layers.Concatenate(axis=1)([x, x]),
    "layer normalisation": lambda keras, x: keras.layers.LayerNormalization()(x),
    "reshape to a map": lambda keras, x: keras.layers.Reshape((4, 12, 3))(x),
    "reshape to a vector": lambda keras, x: keras.layers.Reshape((144,))(x),
    "reshape as an operation": lambda keras, x: keras.ops.reshape(x, (-1, 4, 12, 3)),
    "mean of the channels": lambda keras, x: keras.ops.mean(x, axis=-1, keepdims=True),
    "flatten": lambda keras, x: keras.layers.Flatten()(x),
    "a scale a channel": lambda keras, x: keras.layers.Rescaling([1.0, 2.0, 3.0])(x),
    "an offset a channel": lambda keras, x: keras.layers.Rescaling(2.0, [1.0, 2.0, 3.0])(x),
    "softmax of the channels": lambda keras, x: keras.layers.Activation("softmax")(x),
    "convolution with softmax": lambda keras, x: keras.layers.Conv2D(2, 1, activation="softmax")(x),
}


@pytest.mark.parametrize("name", list(UNKNOWN))
def test_an_unknown_layer_is_none(name: str) -> None:
    def build() -> Any:
        keras = import_keras()
        pixels = keras.Input((6, 8, 3))
        x = keras.layers.Conv2D(3, 1)(pixels)
        return keras.Model(pixels, UNKNOWN[name](keras, x))

    assert to_channels_first(_keras_model(build)) is None


def test_what_has_two_inputs_is_none() -> None:
    def build() -> Any:
        keras = import_keras()
        pair = [keras.Input((6, 8, 3)), keras.Input((6, 8, 3))]
        return keras.Model(pair, keras.layers.Add()(pair))

    assert to_channels_first(_keras_model(build)) is None


@pytest.mark.parametrize("name", ["MobileNet", "MobileNetV3Small", "EfficientNetB0", "VGG16"])
def test_networks_of_keras_are_turned(name: str) -> None:
    def build() -> Any:
        builder = getattr(import_keras().applications, name)
        return builder(weights=None, include_top=False, input_shape=(64, 96, 3))

    model = _keras_model(build)
    turned = to_channels_first(model)
    assert turned is not None
    height, width, channels = model.output_shape[1:]
    assert turned.output_shape == (None, channels, height, width)


def _keras_model(build: Callable[[], Any]) -> Any:
    from featx.backbones.graph import channels_last

    import_keras()
    with channels_last():
        return build()
