"""The ends of every network that is trained: pixels in, logits and probabilities out, saving."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from featx.quiet import import_keras
from featx.training.images import iterate_ahead

PREDICT_BATCH = 64


def pixel_input(image_size: tuple[int, int]) -> Any:
    """Return the Keras input of every network: uint8 RGB (n, height, width, 3)."""
    return import_keras().Input((*image_size, 3), dtype="uint8", name="images")


def classify(features: Any, n_classes: int, seed: int = 0) -> Any:
    """Return probabilities (float32) of pooled features: a dense layer, then a softmax.

    The softmax must be a network's last layer: training takes the logits before it.
    """
    keras = import_keras()
    start = keras.initializers.GlorotUniform(seed=seed)
    dense = keras.layers.Dense(n_classes, kernel_initializer=start, dtype="float32", name="logits")
    return keras.layers.Softmax(dtype="float32", name="probabilities")(dense(features))


def logits_of(network: Any) -> Any:
    """Return the same network up to the input of its softmax; the weights are shared."""
    keras = import_keras()
    last = network.layers[-1]
    if not isinstance(last, keras.layers.Softmax):
        raise ValueError(f"the last layer of {network.name} is {last.name}, not a softmax")
    return keras.Model(network.inputs, last.input, name=f"{network.name}_logits")


def predict(network: Any, X: Any, batch_size: int = PREDICT_BATCH) -> np.ndarray:
    """Return the probabilities of images, without augmentation.

    Every batch has one shape, so that nothing is traced twice: the last is filled up.

    Parameters
    ----------
    network : keras.Model
    X : array of shape (n, height, width, 3), uint8, or lazy images

    Returns
    -------
    ndarray of shape (n, n_classes), float64
        Rows sum to one.
    """
    n = len(X)
    starts = range(0, n, batch_size)
    batches = [np.minimum(np.arange(s, s + batch_size), n - 1) for s in starts]
    found = [np.asarray(network.predict_on_batch(x)) for x in iterate_ahead(X, batches)]
    values = np.concatenate(found)[:n].astype(np.float64)
    return values / values.sum(axis=1, keepdims=True)


def save_network(network: Any, path: Path) -> None:
    """Write a network as .keras under exactly the name `path`, whatever its suffix."""
    draft = path.with_name(f"{path.name}.keras")
    try:
        network.save(draft)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def count_parameters(network: Any) -> dict[str, int]:
    """Return "parameters_trained", "parameters_frozen" and "layers" (those with parameters)."""
    return {
        "parameters_trained": _total(network.trainable_weights),
        "parameters_frozen": _total(network.non_trainable_weights),
        "layers": sum(bool(layer.weights) for layer in _inner_layers(network)),
    }


def _inner_layers(network: Any) -> Iterator[Any]:
    for layer in network.layers:
        if hasattr(layer, "layers"):
            yield from _inner_layers(layer)
        else:
            yield layer


def _total(weights: Any) -> int:
    return int(sum(np.prod(w.shape) for w in weights))
