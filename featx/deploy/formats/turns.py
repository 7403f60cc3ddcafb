"""A runner for runtimes that take one batch after the other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from featx.deploy.spec import OUTPUT, ModelSpec
from featx.engines import Runner
from featx.engines.device import cpu_batch_size


def run_in_turn(spec: ModelSpec, predict: Callable[[np.ndarray], np.ndarray], label: str) -> Runner:
    """Return a runner of `predict`, which takes a batch and returns its probabilities."""
    height, width = spec.image.height, spec.image.width
    return Runner(
        {OUTPUT: (len(spec.classes),)},
        (height, width),
        cpu_batch_size(height, width),
        1,
        predict,
        lambda values: [values],
        label,
    )
