"""Without notices of C++ code: of TensorFlow, which tells a lot, and others; without telemetry."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

from featx.backend import require_backend

_NOTICE = re.compile(
    rb"WARNING: All log messages before absl"
    rb"|[IWE]\d{4} [\d:.]+ +\d+ (port|cudart_stub|cpu_feature_guard|cuda_\w+|gpu_device)\.cc"
    rb"|To enable the following instructions"
    rb"|\s*$"
)


def import_keras(*, describes: bool = False) -> ModuleType:
    """Import keras; TensorFlow's notices (oneDNN, no CUDA) do not reach the terminal.

    A `TF_CPP_MIN_LOG_LEVEL` in the environment is the user's wish: then all is printed.

    Parameters
    ----------
    describes : bool
        Networks are to be built, not trained or run.

    Raises
    ------
    EngineError
        Keras has no backend to run on (`featx.backend`).
    """
    require_backend(describes=describes)
    if "keras" in sys.modules or "TF_CPP_MIN_LOG_LEVEL" in os.environ:
        import keras

        return keras
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
    with without_notices(_NOTICE):
        import keras

        keras.ops.zeros(())  # the first operation looks for devices, and tells
    return keras


def block_telemetry() -> None:
    """Keep OpenVINO, which is to be imported yet, from telling its makers of every conversion.

    It does so unasked where the package openvino-telemetry is, in processes forked for it.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # not to be found


@contextmanager
def many_networks() -> Iterator[None]:
    """Hold back TensorFlow's warning of retracing.

    It counts the graphs traced of all networks together and blames them for being several; each
    network here has its graph traced once.
    """
    logger = logging.getLogger("tensorflow")
    logger.addFilter(_is_no_retracing)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_retracing)


def _is_no_retracing(record: logging.LogRecord) -> bool:
    return "triggered tf.function retracing" not in str(record.msg)


@contextmanager
def without_notices(known: re.Pattern[bytes]) -> Iterator[None]:
    """Hold back what C++ code writes to the error stream; pass on lines that are not `known`.

    Some notices are written before the log level is read that would stop them, so that only the
    file descriptor itself can be caught.
    """
    sys.stderr.flush()
    saved = os.dup(2)
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(saved, 2)
            os.close(saved)
            held.seek(0)
            rest = b"".join(line for line in held if not known.match(line))
            if rest:
                os.write(2, rest)
