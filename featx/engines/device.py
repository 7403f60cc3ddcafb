"""What the machine and the environment offer, found without importing a framework."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from featx.backend import is_installed, keras_backend


@cache
def has_gpu() -> bool:
    """Tell whether TensorFlow can use a GPU.

    TensorFlow itself is asked only where an NVIDIA driver is present and not hidden by
    CUDA_VISIBLE_DEVICES, since importing it takes seconds.
    """
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    if not Path("/proc/driver/nvidia/version").exists() or not is_installed("tensorflow"):
        return False
    if keras_backend() != "tensorflow":
        return False
    from featx.quiet import import_keras

    import_keras()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def cpu_batch_size(height: int, width: int) -> int:
    """Return how many images a CPU takes at once: a power of two that depends on nothing else.

    Large enough to fill the vector units at every layer, small enough for the activations of a
    layer to stay near the caches; 32 at 224×224.
    """
    fits = max(1, 32 * 224 * 224 // (height * width))
    return min(64, 1 << (fits.bit_length() - 1))
