"""The campaign: how many faults each stage gets, one after the other."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import openvino  # noqa: F401 - what the children need is imported before they are forked
import PIL.Image  # noqa: F401
import tqdm

import featx.datasets
import featx.store  # noqa: F401
from faults.audit import Outcome
from faults.memory import memory_group
from faults.report import machine, summarise
from faults.stages import STAGES, Stage
from faults.world import BACKBONE, ROWS_A_PART, TAPS, World

MISSES = 8
"""Runs that may end before their kill, a fault wanted."""

SECONDS_A_FAULT = 2.0


def run_campaign(
    shared: Path,
    faults: int,
    seed: int,
    *,
    each: int = 16,
    only: Sequence[str] = ("",),
    where: Path | None = None,
) -> dict[str, Any]:
    """Run about `faults` faults and return the JSON document of the results.

    Parameters
    ----------
    shared : Path
        Real photos and weights.
    faults, seed : int
    each : int
        Photos a class.
    only : sequence of str
        Stages whose name has one of these texts.
    where : Path, optional
        Folder to work in.
    """
    begun = time.monotonic()
    stages = [s for s in STAGES if any(text.lower() in s.name.lower() for text in only)]
    folder = Path(tempfile.mkdtemp(prefix="featx-faults-", dir=where))
    worlds: dict[str, World] = {}
    outcomes: dict[str, list[Outcome]] = {}
    missed: dict[str, int] = {}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # the small disk is to be unmounted
    try:
        for engine in dict.fromkeys(stage.engine for stage in stages):
            (folder / engine).mkdir()
            rng = np.random.default_rng([seed, 0])
            worlds[engine] = World(folder / engine, shared, engine, each, rng)
            worlds[engine].prepare()
        skipped = {s.name: why for s in stages if (why := why_not(s, worlds[s.engine]))}
        given = shares([s for s in stages if s.name not in skipped], faults)
        total = sum(given.values())
        about = total * SECONDS_A_FAULT / 60
        print(f"{total} faults, about {about:.0f} minutes", file=sys.stderr)
        tqdm.tqdm.monitor_interval = 0  # no thread beside the forks
        with tqdm.tqdm(total=total, unit="fault", smoothing=0.05) as bar:
            for stage in stages:
                if stage.name not in skipped:
                    bar.set_description(stage.name)
                    rng = np.random.default_rng([seed, 1 + STAGES.index(stage)])
                    done, misses = run_stage(stage, worlds[stage.engine], given, rng, bar)
                    outcomes[stage.name], missed[stage.name] = done, misses
    finally:
        for world in worlds.values():
            world.close()
        shutil.rmtree(folder, ignore_errors=True)
    setting = {
        "asked": faults,
        "seed": seed,
        "images": len(worlds[stages[0].engine].variants["base"]),
        "backbone": BACKBONE,
        "taps": TAPS,
        "rows_a_part": ROWS_A_PART,
        "seconds": round(time.monotonic() - begun, 1),
        "machine": machine(folder.parent.resolve()),
        "ended_before_the_fault": missed,
    }
    return summarise(outcomes, skipped, setting)


def run_stage(
    stage: Stage, world: World, given: dict[str, int], rng: np.random.Generator, bar: tqdm.tqdm
) -> tuple[list[Outcome], int]:
    """Return the outcomes of a stage, and how many runs ended before their fault."""
    done: list[Outcome] = []
    misses = 0
    while len(done) < given[stage.name] and misses <= MISSES * given[stage.name]:
        outcome = stage.run(world, rng)
        if outcome is None:
            misses += 1
            continue
        done.append(outcome)
        for note in outcome.notes:
            bar.write(f"{stage.name}, fault {len(done)}: {note}", file=sys.stderr)
        bar.update()
    return done, misses


def shares(stages: Sequence[Stage], faults: int) -> dict[str, int]:
    """Return how many faults each stage gets: by weight, one at least, about `faults` in all."""
    whole = sum(stage.weight for stage in stages)
    exact = {s.name: s.weight * faults / whole for s in stages}
    given = {name: max(1, int(share)) for name, share in exact.items()}
    for name in sorted(exact, key=lambda n: given[n] - exact[n]):
        if sum(given.values()) < faults:
            given[name] += 1
    return given


def why_not(stage: Stage, world: World) -> str:
    """Return why a stage cannot run here; "" where it can."""
    if stage.needs == "mount" and world.disk is None:
        return "no small file system can be mounted (needs root)"
    if stage.needs == "cgroup" and memory_group() is None:
        return "no control group can be made (needs root); the kernel would send SIGKILL"
    return ""
