"""Numeric precision of training."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from featx.engines.device import has_gpu, has_native_bfloat16
from featx.errors import SpecError
from featx.quiet import import_keras

PRECISIONS = ("float32", "mixed")


def training_policy(precision: str) -> str:
    """Return the Keras dtype policy of a precision.

    Parameters
    ----------
    precision : str
        "float32" or "mixed": weights in float32, products in bfloat16, or in float16 on a GPU that
        does not have bfloat16.

    Raises
    ------
    SpecError
        It is neither.
    """
    if precision not in PRECISIONS:
        raise SpecError(f"Unknown precision {precision!r}. Use one of: {', '.join(PRECISIONS)}.")
    if precision == "float32":
        return "float32"
    import_keras()
    old_gpu = has_gpu() and not has_native_bfloat16("tensorflow")
    return "mixed_float16" if old_gpu else "mixed_bfloat16"


@contextmanager
def build_under(policy: str) -> Iterator[None]:
    """Build networks under a Keras dtype policy, channels last; restore what was set before."""
    keras = import_keras()
    before = keras.config.dtype_policy(), keras.config.image_data_format()
    keras.config.set_dtype_policy(policy)
    keras.config.set_image_data_format("channels_last")
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before[0])
        keras.config.set_image_data_format(before[1])
