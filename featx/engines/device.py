"""What the machine and the environment offer, found without importing a framework."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path

from featx.backend import is_installed, keras_backend


def has_driver() -> bool:
    """Tell whether there is a driver of NVIDIA GPUs, not hidden by CUDA_VISIBLE_DEVICES."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "all").strip() in ("", "-1"):
        return False
    return Path("/proc/driver/nvidia/version").exists()


@cache
def has_gpu() -> bool:
    """Tell whether TensorFlow can use a GPU.

    TensorFlow itself is asked only where there is a driver (`has_driver`), since importing it takes
    seconds.
    """
    if not has_driver() or not is_installed("tensorflow"):
        return False
    if keras_backend() != "tensorflow":
        return False
    from featx.quiet import import_keras

    import_keras()
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


FEATURES = (
    "avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx512_fp16", "amx_bf16", "amx_int8",
    "asimd", "sve", "bf16",
)  # fmt: skip
"""Vector instructions worth telling of, as /proc/cpuinfo names them; the last three are ARM's."""

NATIVE_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Those that multiply bfloat16 natively."""


@cache
def cpu_features() -> tuple[str, ...]:
    """Return those of `FEATURES` that the processor has; empty where it cannot be asked."""
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return ()
    flags: set[str] = set()
    for line in text.splitlines():
        name, _, values = line.partition(":")
        if name.strip() in ("flags", "Features"):
            flags.update(values.split())
    return tuple(name for name in FEATURES if name in flags)


def has_native_bfloat16(engine: str) -> bool:
    """Tell whether `engine` has native bfloat16 multiplication to gain from here.

    JAX has it on no CPU: XLA computes bfloat16 there at float32's pace.
    """
    if engine == "jax":
        return False
    if engine == "tensorflow" and has_gpu():
        import tensorflow as tf

        details = [
            tf.config.experimental.get_device_details(gpu)
            for gpu in tf.config.list_physical_devices("GPU")
        ]
        return all(d.get("compute_capability", (0, 0)) >= (8, 0) for d in details)
    return bool(NATIVE_BFLOAT16 & set(cpu_features()))


WHOLE_BATCH, STREAM_BATCH = 32, 8
"""Images of 224×224 that a CPU takes at once: where all cores share a batch, and where each core
has one of its own, which then should stay near its caches."""


def cpu_batch_size(height: int, width: int, images: int = WHOLE_BATCH) -> int:
    """Return how many images a CPU takes at once: a power of two that depends on nothing else.

    Large enough to fill the vector units at every layer, small enough for the activations of a
    layer to stay near the caches.

    Parameters
    ----------
    height, width : int
    images : int
        At 224×224: `WHOLE_BATCH` or `STREAM_BATCH`.
    """
    fits = max(1, images * 224 * 224 // (height * width))
    return min(64, 1 << (fits.bit_length() - 1))


def limit_threads(count: int) -> None:
    """Let engines that are loaded in this process from now on use `count` threads.

    Each reads a variable of its own: TensorFlow two, XLA, which JAX runs on, that of the number of
    processors; OpenVINO is told by its engine (`thread_limit`).
    """
    for name in ("FEATX_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "NPROC"):
        os.environ[name] = str(count)


def thread_limit() -> int:
    """Return the number of threads that an engine may use; 0 where there is no limit."""
    return int(os.environ.get("FEATX_THREADS") or 0)
