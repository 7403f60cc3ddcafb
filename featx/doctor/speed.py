"""How many images a second a backbone makes here, without decoding; and the readings kept.

Readings are kept in the user's cache folder, `$XDG_CACHE_HOME/featx/speed.json`
(`~/.cache/featx/speed.json`), since they belong to a machine and not to a data set.
"""

from __future__ import annotations

import dataclasses
import json
import os
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featx.backbones import resolve_weights
from featx.doctor.machine import cpu_cores, cpu_model
from featx.engines import ENGINES
from featx.records import BackboneSpec, TapSpec


@dataclass(frozen=True)
class Speed:
    """One reading.

    Attributes
    ----------
    backbone : str
        Spec text.
    image_size : (int, int)
        Height and width.
    engine, precision : str
    images_per_second : float
        Forward passes on ready arrays.
    cpu : str
    cores : int
        The machine that was read.
    """

    backbone: str
    image_size: tuple[int, int]
    engine: str
    precision: str
    images_per_second: float
    cpu: str
    cores: int


def read_speed(spec: BackboneSpec, engine: str, precision: str, seconds: float) -> Speed:
    """Run a backbone on random pixels, with random weights: its speed depends on neither.

    Parameters
    ----------
    spec : BackboneSpec
    engine, precision : str
        As chosen.
    seconds : float
        How long to run; loading comes on top.

    Raises
    ------
    EngineError, BackboneError
        As `Engine.load`.
    """
    spec = dataclasses.replace(spec, weights="random")
    runner = ENGINES.get(engine).load(spec, resolve_weights(spec), [TapSpec()], precision)
    height, width = spec.image.height, spec.image.width
    shape = (runner.batch_size, height, width, 3)
    batch = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    runner.run(batch)  # the first one allocates memory, or compiles

    def batches() -> Iterator[np.ndarray]:
        yield batch
        while time.perf_counter() - started < seconds:
            yield batch

    started = time.perf_counter()
    done = sum(len(batch) for _ in runner.stream(batches()))
    rate = done / (time.perf_counter() - started)
    return Speed(spec.text, (height, width), engine, precision, rate, cpu_model(), cpu_cores())


def readings_path() -> Path:
    """Return the file that readings are kept in."""
    home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "featx" / "speed.json"


def load_readings() -> list[Speed]:
    """Return the readings of this machine, the newest last; none where the file is no such."""
    mine = (cpu_model(), cpu_cores())
    return [s for s in _load() if (s.cpu, s.cores) == mine]


def keep_readings(new: Sequence[Speed]) -> bool:
    """Keep readings in place of older ones of the same thing; return whether that worked."""
    path = readings_path()
    merged = {_subject(s): s for s in [*_load(), *new]}
    text = json.dumps([dataclasses.asdict(s) for s in merged.values()], indent=1) + "\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
            file.write(text)
        os.replace(file.name, path)
    except OSError:
        return False
    return True


def _load() -> list[Speed]:
    try:
        held = json.loads(readings_path().read_text())
        return [Speed(**{**s, "image_size": tuple(s["image_size"])}) for s in held]
    except (OSError, ValueError, TypeError, KeyError):
        return []


def _subject(speed: Speed) -> tuple[object, ...]:
    return dataclasses.astuple(dataclasses.replace(speed, images_per_second=0.0))
