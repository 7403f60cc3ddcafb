"""Which backend Keras runs on: decided before Keras is imported, since a process keeps its first.

Only the standard library is imported here.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path

from featx.errors import EngineError

BACKENDS = ("tensorflow", "jax")
"""The backends that train and predict, the one taken first where both are installed."""
DESCRIBES = "openvino"
"""A backend that builds networks; taken for no more than that, where there is no other."""


def is_installed(module: str) -> bool:
    """Tell whether `module` can be imported, without importing it."""
    spec = importlib.util.find_spec(module)
    return spec is not None and spec.origin is not None  # no origin: a folder left behind


def keras_backend() -> str:
    """Return the backend that Keras has taken, or will take when featx imports it.

    KERAS_BACKEND decides; else keras.json, where what it names is installed (Keras writes
    "tensorflow" there by itself); else the first of `BACKENDS` that is installed, else `DESCRIBES`
    where that is.
    """
    keras = sys.modules.get("keras")
    if keras is not None:
        return str(keras.config.backend())
    if backend := os.environ.get("KERAS_BACKEND"):
        return backend
    wanted = _configured()
    if wanted and is_installed(wanted):
        return wanted
    return next((name for name in (*BACKENDS, DESCRIBES) if is_installed(name)), BACKENDS[0])


def is_backend_chosen() -> bool:
    """Tell whether the backend is somebody's choice, or this process's, rather than a default."""
    default = BACKENDS[0]  # which Keras writes into its file by itself
    chosen = "keras" in sys.modules or bool(os.environ.get("KERAS_BACKEND"))
    return chosen or _configured() not in ("", default)


def use_backend(name: str) -> None:
    """Make Keras take the backend `name` in this process.

    Raises
    ------
    EngineError
        Keras has taken another one, or KERAS_BACKEND asks for another.
    """
    if "keras" not in sys.modules and "KERAS_BACKEND" not in os.environ:
        os.environ["KERAS_BACKEND"] = name
    found = keras_backend()
    if found != name:
        why = "is imported with" if "keras" in sys.modules else "is to take (KERAS_BACKEND)"
        raise EngineError(
            f"This needs Keras on the backend {name!r}, but Keras {why} {found!r} here. Start "
            f"afresh without KERAS_BACKEND, or with KERAS_BACKEND={name}."
        )


def require_backend(*, describes: bool = False) -> None:
    """Fix the backend in the environment, where Keras will look for it.

    Parameters
    ----------
    describes : bool
        Networks are to be built, not trained or run: `DESCRIBES` suffices.

    Raises
    ------
    EngineError
        There is none that can do what is wanted.
    """
    name = keras_backend()
    if name == DESCRIBES and not describes:
        there = any(map(is_installed, BACKENDS))
        remedy = "Start afresh without KERAS_BACKEND." if there else "Run: pip install tensorflow"
        raise EngineError(
            "Networks are trained, and run for this, by TensorFlow or JAX, and Keras is to take "
            f"{name} here. {remedy}"
        )
    if "keras" not in sys.modules and not is_installed(name):
        raise EngineError(
            f"Keras has no backend here: {name} is not installed. Run: pip install tensorflow "
            "(or: pip install jax)"
        )
    os.environ.setdefault("KERAS_BACKEND", name)


def _configured() -> str:
    """Return the backend that keras.json names; "" where it names none."""
    path = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "keras.json"
    try:
        return str(json.loads(path.read_text())["backend"])
    except (OSError, ValueError, KeyError, TypeError):
        return ""
