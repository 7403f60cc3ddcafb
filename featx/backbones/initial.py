"""Random weights that are the same for every engine and Keras backend."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np


def he_normal(shape: Sequence[int], fan_in: int, seed: int, position: int) -> np.ndarray:
    """Draw one kernel from N(0, 2 / fan_in) (He et al. 2015, eq. 10).

    Parameters
    ----------
    shape : sequence of int
        Of the kernel.
    fan_in : int
        How many inputs feed one output.
    seed, position : int
        The backbone's seed and the kernel's place among its weights: each has its own stream.

    Returns
    -------
    ndarray of `shape`, float32
    """
    rng = np.random.default_rng([seed, position])
    kernel = rng.standard_normal(tuple(shape), dtype=np.float32)
    kernel *= np.float32(np.sqrt(2.0 / fan_in))
    return kernel


def draw_weights(model: Any, seed: int) -> None:
    """Give every kernel of a Keras `model` He-normal values; leave the rest as built.

    Batch normalisation is then the identity and biases are zero. Positions, not names, seed the
    kernels: Keras numbers some layers by how many were made before in the process.
    """
    position = 0
    for layer in model.layers:
        for weight in layer.weights:
            if weight.name.endswith("kernel"):
                shape = tuple(weight.shape)
                depthwise = "Depthwise" in type(layer).__name__ or "depthwise" in weight.name
                inputs = shape[:-2] if depthwise else shape[:-1]
                weight.assign(he_normal(shape, int(np.prod(inputs)), seed, position))
            position += 1
