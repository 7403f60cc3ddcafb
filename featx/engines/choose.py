"""The registry of engines, and which of them to take."""

from __future__ import annotations

from featx.backend import is_backend_chosen, keras_backend, use_backend
from featx.engines.base import PRECISIONS, Engine
from featx.engines.device import has_driver, has_gpu, has_native_bfloat16
from featx.engines.jax import JaxEngine
from featx.engines.openvino import OpenVinoEngine
from featx.engines.tensorflow import TensorFlowEngine
from featx.errors import EngineError, SpecError
from featx.registry import Registry

ENGINES = Registry[Engine]("engine", hint="See: featx list engines")
"""Every engine by its name."""

ENGINES.register("openvino", OpenVinoEngine())
ENGINES.register("tensorflow", TensorFlowEngine())
ENGINES.register("jax", JaxEngine())

_AUTO = ("openvino", "tensorflow", "jax")  # whatever else is registered is taken by name only


def choose_engine(name: str = "auto") -> tuple[str, str]:
    """Choose the engine for this machine.

    Parameters
    ----------
    name : str
        A name of `ENGINES`, or "auto".

    Returns
    -------
    name : str
    reason : str
        A few words for the log: "asked for", "a GPU was found".

    Raises
    ------
    UnknownNameError
        No such engine.
    EngineError
        The engine asked for is not installed here, or none is (names the pip command); or this
        process has begun with another backend of Keras than it needs.
    """
    if name != "auto":
        need(name)
        return name, "asked for"
    installed = [known for known in _AUTO if ENGINES.get(known).missing() is None]
    if not installed:
        raise EngineError(
            "No engine is installed. Run: pip install openvino (the fastest on a CPU), or: pip "
            "install tensorflow, or: pip install jax"
        )
    jax = keras_backend() == "jax"
    if jax and is_backend_chosen():
        name, reason = "jax", "Keras's backend here is jax"
    elif jax and has_driver():
        name, reason = "jax", "a GPU was found, and no TensorFlow"
    elif has_gpu():
        name, reason = "tensorflow", "a GPU was found"
    elif "openvino" in installed:
        name, reason = "openvino", "the fastest on a CPU"
    else:
        name = "jax" if jax else "tensorflow"
        reason = "openvino, faster on a CPU, is not installed: pip install openvino"
    need(name)
    return name, reason


def choose_precision(name: str, engine: str) -> tuple[str, str]:
    """Choose the precision of the forward pass.

    Parameters
    ----------
    name : str
        One of `PRECISIONS`, or "auto".
    engine : str
        Name of the engine, of `choose_engine`.

    Returns
    -------
    name : str
        For "auto", bfloat16 where the engine has it and the machine multiplies it natively; else
        float32.
    reason : str
        A few words for the log.

    Raises
    ------
    SpecError
        No such precision.
    """
    if name != "auto":
        if name not in PRECISIONS:
            raise SpecError(f"Unknown precision {name!r}. Use: auto, {', '.join(PRECISIONS)}.")
        return name, "asked for"
    if not has_native_bfloat16(engine):
        return "float32", f"{engine} has no native bfloat16 here"
    if "bfloat16" not in ENGINES.get(engine).precisions():
        return "float32", f"the engine {engine!r} has no bfloat16 here"
    return "bfloat16", "native on this machine"


def need(name: str) -> Engine:
    """Return the engine called `name` with Keras set to its backend, or raise EngineError."""
    engine = ENGINES.get(name)
    command = engine.missing()
    if command is not None:
        raise EngineError(f"The engine {name!r} cannot be used here. Run: {command}")
    if engine.backend:
        use_backend(engine.backend)
    return engine
