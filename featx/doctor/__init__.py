"""What this installation can do, how fast, and what to install for more."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from featx import __version__
from featx.backend import is_installed
from featx.doctor.machine import Folder, Machine, find_folder, find_machine
from featx.doctor.speed import Speed, keep_readings, load_readings, read_speed
from featx.doctor.weights import WeightsState, find_weights
from featx.engines import ENGINES, choose_engine, choose_precision
from featx.engines.device import has_gpu, has_native_bfloat16
from featx.errors import FeatxError
from featx.records import BackboneSpec, to_json

__all__ = ["Diagnosis", "EngineState", "diagnose", "load_readings"]


@dataclass(frozen=True)
class EngineState:
    """An engine: its version ("" where it is not installed) and the command that installs it."""

    name: str
    version: str
    install: str


@dataclass(frozen=True)
class Diagnosis:
    """What `featx doctor` found.

    Attributes
    ----------
    featx, python : str
        Versions.
    machine : Machine
    engines : tuple of EngineState
    engine, engine_reason : str
        What `--engine auto` takes and why; "" and the error where it takes none.
    precisions, native : tuple of str
        What that engine computes in here, and which of these the machine multiplies natively.
    precision, precision_reason : str
        What `--precision auto` takes and why.
    weights : tuple of WeightsState
    cache : Folder
    ray : str
        Version of Ray, which clusters need; "" where it is not installed.
    speeds : tuple of Speed
    speeds_kept : bool
        Whether the readings could be written down.
    problems : tuple of str
        What went wrong while looking.
    advice : tuple of (str, str)
        What there is to gain, and the command for it.
    """

    featx: str
    python: str
    machine: Machine
    engines: tuple[EngineState, ...]
    engine: str
    engine_reason: str
    precisions: tuple[str, ...]
    native: tuple[str, ...]
    precision: str
    precision_reason: str
    weights: tuple[WeightsState, ...]
    cache: Folder
    ray: str
    speeds: tuple[Speed, ...]
    speeds_kept: bool
    problems: tuple[str, ...]
    advice: tuple[tuple[str, str], ...]

    def to_json(self) -> dict[str, Any]:
        """Return the document of `featx doctor --json`."""
        document: dict[str, Any] = to_json(self)
        document["advice"] = [{"gain": g, "command": c} for g, c in self.advice]
        return document


def diagnose(
    specs: Sequence[BackboneSpec],
    *,
    cache_dir: str | os.PathLike[str] = "features",
    seconds: float = 5.0,
    progress: Callable[[str], object] = lambda text: None,
) -> Diagnosis:
    """Look at machine, engines, weights and cache directory, and time the backbones.

    Parameters
    ----------
    specs : sequence of BackboneSpec
        The backbones to look for weights of, and to time.
    cache_dir : path
    seconds : float
        How long to time each backbone, shared out among the native precisions; 0 times nothing.
    progress : callable
        Told what is being done.

    Returns
    -------
    Diagnosis
        Whatever is missing or broken is in it; nothing is raised for that.
    """
    problems: list[str] = []
    machine = find_machine()
    progress("engines")
    engine, reason = _chosen(problems)
    precisions = _precisions(engine, problems) if engine else ()
    fast = engine and "bfloat16" in precisions and has_native_bfloat16(engine)
    native = tuple(p for p in precisions if p == "float32" or (p == "bfloat16" and fast))
    auto = choose_precision("auto", engine) if precisions else ("", "no engine can be used")
    progress("weights")
    weights = find_weights(specs)
    speeds: list[Speed] = []
    for spec in specs if seconds > 0 else ():
        for precision in native:
            progress(f"{spec.text} in {precision}")
            try:
                speeds.append(read_speed(spec, engine, precision, seconds / len(native)))
            except FeatxError as error:
                problems.append(str(error))
    cache = find_folder(cache_dir)
    return Diagnosis(
        featx=__version__,
        python=platform.python_version(),
        machine=machine,
        engines=tuple(_state(name) for name in ENGINES),
        engine=engine,
        engine_reason=reason,
        precisions=precisions,
        native=native,
        precision=auto[0],
        precision_reason=auto[1],
        weights=tuple(weights),
        cache=cache,
        ray=_version("ray"),
        speeds=tuple(speeds),
        speeds_kept=bool(speeds) and keep_readings(speeds),
        problems=tuple(problems),
        advice=tuple(_advice(machine, engine, weights, cache)),
    )


def _chosen(problems: list[str]) -> tuple[str, str]:
    try:
        return choose_engine()
    except FeatxError as error:
        problems.append(str(error))
        return "", str(error)


def _precisions(engine: str, problems: list[str]) -> tuple[str, ...]:
    try:
        return ENGINES.get(engine).precisions()
    except Exception as error:  # noqa: BLE001 - an installation can be broken in any way
        problems.append(f"The engine {engine!r} is installed but broken: {error}")
        return ()


def _state(name: str) -> EngineState:
    return EngineState(name, _version(name), ENGINES.get(name).missing() or "")


def _version(package: str) -> str:
    """Return the version of an installed package; "" where it is not."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _advice(
    machine: Machine, engine: str, weights: Sequence[WeightsState], cache: Folder
) -> list[tuple[str, str]]:
    found = []
    if not engine:
        found.append(("an engine: nothing can be extracted yet", "pip install openvino"))
    elif machine.gpus and engine != "jax" and not has_gpu():
        found.append(("the GPU, which TensorFlow does not see", "pip install tensorflow[and-cuda]"))
    elif engine in ("tensorflow", "jax") and not machine.gpus:
        command = ENGINES.get("openvino").missing()
        if command:
            found.append(("the engine that is fastest on a CPU", command))
    if not is_installed("hdf5plugin"):
        found.append(("smaller caches: extract --compression blosc2", "pip install hdf5plugin"))
    if not is_installed("ray"):
        found.append(("several machines: --cluster", 'pip install "featx[ray]"'))
    if not is_installed("pyarrow"):
        found.append(("cache export to Parquet", "pip install pyarrow"))
    for item in weights:
        if item.state == "unreachable":
            name = item.where.rpartition("/")[2]
            gain = f"ImageNet weights of {item.backbone}: fetch {name} elsewhere"
            found.append((gain, "featx extract --weights PATH"))
    if not cache.writable:
        found.append((f"a cache that can be written: {cache.path} cannot", "--cache-dir FOLDER"))
    return found
