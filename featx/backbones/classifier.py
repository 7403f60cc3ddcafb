"""The pretrained ImageNet classifier of a backbone: uint8 pixels in, 1,000 probabilities out."""

from __future__ import annotations

import contextlib
import hashlib
import socket
import sys
from typing import Any

import numpy as np

from featx.backbones.catalog import BACKBONES
from featx.backbones.graph import call_builder, channels_last, preprocess_pixels
from featx.backbones.loading import load_classifier
from featx.backbones.weights import DOWNLOAD_TIMEOUT_SECONDS, resolve_weights
from featx.errors import SpecError, WeightsError
from featx.quiet import import_keras
from featx.records import BackboneSpec, WeightsRecord

CLASSES = 1000
"""Outputs of a classifier trained on ImageNet-1k."""


def build_classifier(spec: BackboneSpec) -> tuple[Any, WeightsRecord]:
    """Build the whole classifier of `spec` as one graph, trained on ImageNet.

    Parameters
    ----------
    spec : BackboneSpec
        Its weights are "imagenet" (Keras downloads the file with the classifier, where it is not
        in Keras's cache) or the path of such a file. Its image has the backbone's own size, that
        the classifier was trained at.

    Returns
    -------
    graph : keras.Model
        Takes uint8 RGB (n, height, width, 3), preprocessing inside, and returns float32
        (n, 1000) probabilities in the order of Keras's ImageNet classes.
    weights : WeightsRecord
        With the SHA-256 of the file; of weights that Keras fetched, of their values.

    Raises
    ------
    WeightsError
        Weights that are not there or cannot be fetched, that are of another network, or that lack
        the classifier.
    SpecError
        Weights that know no classes ("random"), or another input size.
    """
    row = BACKBONES.get(spec.name)
    if spec.weights in ("random", "auto"):
        raise SpecError(
            f"{spec.weights} weights know no classes: give --weights imagenet, or a file with the "
            "classifier (its top)."
        )
    if (spec.image.height, spec.image.width) != (row.size, row.size):
        raise SpecError(
            f"The ImageNet classifier of {spec.name} takes images of {row.size}x{row.size}, not "
            f"{spec.image.height}x{spec.image.width}."
        )
    keras = import_keras()
    with channels_last():
        if spec.weights == "imagenet":
            network = _fetch(spec)
            weights = WeightsRecord("imagenet", _values_digest(network))
        else:
            weights = resolve_weights(spec)
            network = call_builder(spec, include_top=True, classes=CLASSES)
            load_classifier(network, spec, weights, lambda: call_builder(spec, include_top=False))
        network.trainable = False
        pixels = keras.Input((row.size, row.size, 3), dtype="uint8", name="images")
        values = preprocess_pixels(spec, keras.ops.cast(pixels, "float32"))
        graph = keras.Model(pixels, network(values, training=False), name=f"{spec.name}_classifier")
    return graph, weights


def _fetch(spec: BackboneSpec) -> Any:
    """Let Keras build the classifier with its own weights, downloaded where they are not there."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # Keras prints its progress
            return call_builder(spec, include_top=True, weights="imagenet")
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(
            f"Cannot get the ImageNet classifier of {spec.text} ({reason}). Give a file with the "
            "whole classifier: --weights PATH."
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def _values_digest(network: Any) -> str:
    """SHA-256 over all weights, in their order."""
    digest = hashlib.sha256()
    for values in network.get_weights():
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()
