"""Every backbone's graph is Keras's own model behind Keras's own preprocessing."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from featx.backbones import (
    BACKBONES,
    build_backbone,
    build_graph,
    list_backbones,
    parse_backbone,
    resolve_weights,
)
from featx.records import BackboneSpec, TapSpec

TAPS = (TapSpec("", "avg"), TapSpec("", "max"), TapSpec("", "flatten"))

# Written down a second time, on purpose: function and preprocess_input module in
# keras.applications, and a small input size.
FAMILIES = {
    "vgg16": ("VGG16", "vgg16", 64),
    "vgg19": ("VGG19", "vgg19", 64),
    "resnet50": ("ResNet50", "resnet50", 64),
    "resnet50_v2": ("ResNet50V2", "resnet_v2", 64),
    "inception_v3": ("InceptionV3", "inception_v3", 80),
    "inception_resnet_v2": ("InceptionResNetV2", "inception_resnet_v2", 80),
    "xception": ("Xception", "xception", 72),
    "mobilenet": ("MobileNet", "mobilenet", 64),
    "mobilenet_v2": ("MobileNetV2", "mobilenet_v2", 64),
    "mobilenet_v3_small": ("MobileNetV3Small", "mobilenet_v3", 64),
    "mobilenet_v3_large": ("MobileNetV3Large", "mobilenet_v3", 64),
    "densenet121": ("DenseNet121", "densenet", 64),
    "nasnet_mobile": ("NASNetMobile", "nasnet", 64),
    "efficientnet_b0": ("EfficientNetB0", "efficientnet", 64),
    "efficientnet_v2_b0": ("EfficientNetV2B0", "efficientnet_v2", 64),
    "convnext_tiny": ("ConvNeXtTiny", "convnext", 64),
}
QUICK = {"vgg16", "resnet50", "inception_v3", "mobilenet", "mobilenet_v2", "mobilenet_v3_small"}


def images(count: int, height: int, width: int) -> np.ndarray:
    """Smooth random pictures with all of 0 to 255 in them, read-only."""
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (count, 4, 4, 3)).astype(np.float64)
    rows = np.linspace(0, 3, height)
    columns = np.linspace(0, 3, width)
    near = coarse[:, rows.round().astype(int)][:, :, columns.round().astype(int)]
    pixels = np.clip(near + rng.normal(0, 20, near.shape), 0, 255).astype(np.uint8)
    pixels.flags.writeable = False
    return pixels


def keras_features(spec: BackboneSpec, pixels: np.ndarray) -> np.ndarray:
    """The last feature map by Keras's model of the same weights and its `preprocess_input`."""
    import keras

    function, module, _ = FAMILIES[spec.name]
    model = getattr(keras.applications, function)(
        weights=None, include_top=False, input_shape=(*pixels.shape[1:3], 3), **spec.params
    )
    model.set_weights(build_backbone(spec, resolve_weights(spec)).get_weights())
    preprocess = importlib.import_module(f"keras.applications.{module}").preprocess_input
    return np.asarray(model(preprocess(pixels.astype(np.float32)), training=False))


def assert_close(found: np.ndarray, wanted: np.ndarray, tolerance: float) -> None:
    assert found.shape == wanted.shape
    assert found.dtype == np.float32
    assert np.abs(found - wanted).max() <= tolerance * np.abs(wanted).max()


def assert_equals_keras(spec: BackboneSpec, pixels: np.ndarray) -> None:
    graph = build_graph(spec, resolve_weights(spec), TAPS)
    before = pixels.copy()
    found = {name: np.asarray(value) for name, value in graph(pixels).items()}
    np.testing.assert_array_equal(pixels, before)
    wanted = keras_features(spec, pixels)
    assert wanted.std() > 0
    assert_close(found["avg"], wanted.mean(axis=(1, 2)), 1e-5)
    assert_close(found["max"], wanted.max(axis=(1, 2)), 1e-5)
    assert_close(found["flatten"], wanted.reshape(len(wanted), -1), 1e-5)


def test_every_family_is_held_against_keras() -> None:
    modules = {module for _, module, _ in FAMILIES.values()} | {"resnet"}
    assert {BACKBONES.get(name).preprocess for name in list_backbones()} <= modules
    assert set(FAMILIES) <= set(list_backbones())


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in FAMILIES],
)
def test_graph_equals_keras(name: str) -> None:
    size = FAMILIES[name][2]
    spec = parse_backbone(name, weights="random", image_size=(size, size + 16))
    assert_equals_keras(spec, images(2, size, size + 16))


@pytest.mark.parametrize(
    "text", ["mobilenet(alpha=0.25)", "mobilenet_v3_small(minimalistic=True)", "mobilenet_v2(0.35)"]
)
def test_graph_with_parameters_equals_keras(text: str) -> None:
    spec = parse_backbone(text, weights="random", image_size=64)
    assert_equals_keras(spec, images(2, 64, 64))


@pytest.mark.shared
@pytest.mark.parametrize(
    ("text", "file"),
    [
        ("mobilenet(alpha=0.25)", "mobilenet_0.25_224_notop"),
        ("mobilenet(alpha=0.25)", "mobilenet_0.25_224_top"),
        ("mobilenet", "mobilenet_1.0_224_qat8_notop"),
        ("mobilenet", "mobilenet_1.0_224_qat8_top"),
        ("mobilenet_v2", "mobilenet_v2_1.0_224_float_notop"),
    ],
)
def test_real_weights_equal_keras(text: str, file: str, shared) -> None:  # type: ignore[no-untyped-def]
    import keras

    path = shared / "weights" / f"{file}.weights.h5"
    spec = parse_backbone(text, weights=str(path))
    pixels = images(2, 224, 224)
    found = build_graph(spec, resolve_weights(spec), TAPS)(pixels)
    function, module, _ = FAMILIES[spec.name]
    builder = getattr(keras.applications, function)
    if file.endswith("_top"):
        model = builder(weights=str(path), **spec.params)
        last = "conv_pw_13_relu"
        model = keras.Model(model.inputs, model.get_layer(last).output)
    else:
        model = builder(
            weights=str(path), include_top=False, input_shape=(224, 224, 3), **spec.params
        )
    preprocess = importlib.import_module(f"keras.applications.{module}").preprocess_input
    wanted = np.asarray(model(preprocess(pixels.astype(np.float32)), training=False))
    assert_close(np.asarray(found["avg"]), wanted.mean(axis=(1, 2)), 1e-5)
    assert_close(np.asarray(found["flatten"]), wanted.reshape(2, -1), 1e-5)
