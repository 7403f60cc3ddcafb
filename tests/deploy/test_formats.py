"""Preprocessing in every format, and what the backbones are made of."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
import pytest

from featx.deploy.formats import FORMATS
from featx.deploy.spec import ModelSpec
from featx.errors import DeployError
from featx.quiet import import_keras
from featx.records import ImageSpec

SPEC = ModelSpec(("a", "b", "c"), ImageSpec(6, 7))


@pytest.mark.parametrize("name", FORMATS.names())
def test_every_preprocessing_is_taken_along(name: str, tmp_path: Path) -> None:
    """Caffe's swaps channels, torch's divides by deviations: constants that converters lost."""
    keras = import_keras()
    images = keras.Input((6, 7, 3), dtype="uint8", name="images")
    pixels = keras.ops.cast(images, "float32")
    means = []
    for family in ("vgg16", "densenet", "mobilenet"):
        module = importlib.import_module(f"keras.applications.{family}")
        values = module.preprocess_input(pixels, data_format="channels_last")
        means.append(keras.ops.mean(values, axis=(1, 2)))
    vgg, densenet, mobilenet = means
    output = keras.layers.Softmax()(vgg / 50.0 + densenet + mobilenet)
    path = tmp_path / f"model{FORMATS.get(name).suffix}"
    FORMATS.get(name).save(keras.Model(images, output), path, SPEC)
    _, runner = FORMATS.get(name).load(path)
    batch = np.random.default_rng(0).integers(0, 256, (9, 6, 7, 3), dtype=np.uint8)
    batch[..., 0] //= 3
    mean = batch.astype(np.float64).mean(axis=(1, 2))
    caffe = mean[:, ::-1] - [103.939, 116.779, 123.68]
    torch = (mean / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    scores = caffe / 50 + torch + mean / 127.5 - 1
    expected = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    found = runner.run(batch)["probabilities"]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_what_onnx_cannot_express_is_told(tmp_path: Path) -> None:
    keras = import_keras()
    images = keras.Input((6, 7, 3), dtype="uint8", name="images")
    values = keras.ops.mean(keras.ops.cast(images, "float32"), axis=(1, 2))
    network = keras.Model(images, keras.layers.Softmax()(keras.ops.erfinv(values / 300.0)))
    with pytest.raises(DeployError, match=r"cannot convert this network to ONNX.*saved_model"):
        FORMATS.get("onnx").save(network, tmp_path / "model.onnx", SPEC)
