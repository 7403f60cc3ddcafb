"""The stages of the campaign: what is done to featx, and what must be true afterwards."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults.audit import (
    Outcome,
    Rows,
    count_again,
    look_at_end,
    look_between,
    published,
    rows_in_parts,
)
from faults.child import Log
from faults.damage import Damage, damage_at_random, flip_a_row
from faults.memory import limited_memory
from faults.trap import Trap
from faults.world import ROWS_A_PART, TAPS, Run, World

Rng = np.random.Generator
REPAIR, GC = ("cache", "repair"), ("cache", "gc")
WRITING = ("open", "pwrite", "fsync")


@dataclass(frozen=True)
class Scene:
    """From what cache, on what data set, with what command.

    Attributes
    ----------
    start : str
        Prepared cache; "" for none.
    variant : str
        Of the data set.
    command : tuple of str
        () for extract, else the words after `featx`.
    many_small : int
        Small parts before they are merged.
    """

    start: str = ""
    variant: str = "base"
    command: tuple[str, ...] = ()
    many_small: int = 64

    def arguments(self, world: World, cache: Path) -> list[str]:
        """Return the whole command."""
        if self.command:
            return [*self.command, "--cache-dir", str(cache), "--json"]
        return world.extract_arguments(cache)


def at_random(number: int, scene: Scene = Scene()) -> Callable[[World, Rng], Outcome | None]:
    """Send a signal at a random moment of the run, from outside."""

    def stage(world: World, rng: Rng) -> Outcome | None:
        def uninterrupted() -> Run:
            return world.run(scene.arguments(world, world.fresh(scene.start)))

        world.show(scene.variant)
        seconds = world.seconds(repr(scene), uninterrupted)

        def strike(cache: Path) -> Run | None:
            pid, started = world.start(scene.arguments(world, cache)), time.monotonic()

            def poke() -> None:
                time.sleep(rng.uniform(0, 1.05 * seconds))
                os.kill(pid, number)

            run = world.wait(pid, started, poke=poke)
            return None if run.status == 0 else run

        return play(world, scene, strike, polite=number != signal.SIGKILL)

    return stage


def at_call(
    scene: Scene = Scene(),
    pattern: str = "",
    calls: Sequence[str] = (),
    moments: Sequence[str] = ("before", "half", "after"),
) -> Callable[[World, Rng], Outcome | None]:
    """Kill at a random one of the calls that change the files whose path holds `pattern`."""

    def stage(world: World, rng: Rng) -> Outcome | None:
        def trap(at: int, moment: str = "before") -> Trap:
            return Trap(at, tuple(calls) or Trap(0).calls, pattern, moment)

        def count() -> Run:
            cache = world.fresh(scene.start)
            if scene.command == REPAIR:
                flip_a_row(cache, rng)
            arguments = scene.arguments(world, cache)
            return world.run(arguments, trap=trap(0), many_small=scene.many_small)

        world.show(scene.variant)
        total = world.calls(f"{scene} {pattern} {calls}", count)
        assert total, f"nothing to strike at: {scene} {pattern}"
        chosen = trap(int(rng.integers(1, total + 1)), str(rng.choice(moments)))

        def strike(cache: Path) -> Run | None:
            arguments = scene.arguments(world, cache)
            run = world.run(arguments, trap=chosen, many_small=scene.many_small)
            return run if run.log.sprung else None

        return play(world, scene, strike, rng=rng)

    return stage


def on_disk(action: str, scene: Scene = Scene()) -> Callable[[World, Rng], Outcome | None]:
    """Fill the disk, or turn it read-only, at a random change of it."""

    def stage(world: World, rng: Rng) -> Outcome | None:
        world.show(scene.variant)
        disk = str(world.disk)

        def count() -> Run:
            cache = world.fresh(scene.start, Path(disk) / "cache")
            return world.run(world.extract_arguments(cache), trap=Trap(0, pattern=disk))

        world.clean_disk()
        total = world.calls(f"disk {scene}", count)
        slack = int(rng.choice([0, int(rng.integers(0, 600_000))]))
        at = int(rng.integers(1, total + 1))
        trap = Trap(at, pattern=disk, action=action, disk=disk, slack=slack)

        def strike(cache: Path) -> Run | None:
            run = world.run(world.extract_arguments(cache), trap=trap)
            world.clean_disk()
            return run if run.log.sprung else None

        return play(world, scene, strike, cache=Path(disk) / "cache", stops=True)

    return stage


def memory(world: World, rng: Rng) -> Outcome | None:
    """Let the kernel kill the process for want of memory, at a random moment."""
    scene = Scene()

    def strike(cache: Path) -> Run | None:
        with limited_memory(int(rng.integers(20, 160)) << 20) as group:
            run = world.run(world.extract_arguments(cache), join=group)
        return None if run.status == 0 else run

    world.show("base")
    return play(world, scene, strike)


def command_line(world: World, rng: Rng) -> Outcome | None:
    """Kill the command line proper, which has Keras and all to load."""

    def strike(cache: Path) -> Run | None:
        started = time.monotonic()
        options: dict[str, object] = {"part_bytes": world.small.part_bytes}
        with world.command(options, world.extract_arguments(cache)) as process:
            if rng.random() < 0.75:  # most moments are before the first row
                while not list(cache.glob("*/*/parts/*.h5")) and process.poll() is None:
                    time.sleep(0.002)
                time.sleep(rng.uniform(0, 0.4))
            else:
                time.sleep(rng.uniform(0, 8))
            process.send_signal(signal.SIGKILL)
            status = process.wait()
        run = Run(status, time.monotonic() - started, Log(), "")
        return None if status == 0 else run

    world.show("base")
    return play(world, Scene(), strike)


def two_writers(world: World, rng: Rng) -> Outcome | None:
    """Start two extractions of one entry and kill one of them: the other finishes."""
    wanted = world.show("base")
    arguments = world.extract_arguments(world.cache)
    world.fresh()
    alone = world.seconds("one of two", lambda: world.run(arguments))
    cache = world.fresh()
    started = time.monotonic()
    pids = [world.start(arguments, tag=f"child{i}") for i in (0, 1)]
    time.sleep(rng.uniform(0, 2 * alone))
    victim = int(rng.integers(2))
    os.kill(pids[victim], signal.SIGKILL)
    runs = [world.wait(pid, started, tag=f"child{i}") for i, pid in enumerate(pids)]
    if runs[victim].status == 0:
        return None
    outcome = Outcome()
    if runs[1 - victim].status:
        outcome.fail(f"the other writer failed: {runs[1 - victim].errors[-300:]}")
    look_between(cache, world.reference, outcome, damaged=False)
    found = rows_in_parts(cache)
    outcome.recomputed += len(found) - len(set(found))  # published twice
    return finish(world, cache, wanted, outcome, published(cache))


def damage(kind: str) -> Callable[[World, Rng], Outcome | None]:
    """Flip, cut or remove bytes of a file; verify and reading tell; repair; extract."""

    def stage(world: World, rng: Rng) -> Outcome | None:
        wanted = world.show("base")
        cache = world.fresh("whole")
        done: Damage = damage_at_random(cache, kind, rng)
        outcome = Outcome()
        if done.unreported:
            outcome.undetected += 1
            outcome.fail(f"{done.what}: nobody reports {', '.join(done.unreported)[:200]}")
        repaired = world.run(["cache", "repair", "--cache-dir", str(cache), "--json"])
        if repaired.status:
            outcome.fail(f"{done.what}: repair failed: {repaired.errors[-300:]}")
        had = {tap: set(wanted.values()) - done.harmed for tap in TAPS}
        finish(world, cache, wanted, outcome, had, what=done.what)
        if done.trailers:
            outcome.notes.append(
                "one sector hit both copies of a part's trailer, which says where its rows lie: "
                f"{outcome.forwarded} rows were computed again"
            )
        return outcome

    return stage


def play(
    world: World,
    scene: Scene,
    strike: Callable[[Path], Run | None],
    *,
    rng: Rng | None = None,
    cache: Path | None = None,
    polite: bool = False,
    stops: bool = False,
) -> Outcome | None:
    """Start from the scene, strike, look, run again, look; None where the strike missed.

    With `polite`, the run had the chance to keep what was computed; with `stops`, it had to stop
    with an error that says why.
    """
    wanted = world.show(scene.variant)
    cache = world.fresh(scene.start, cache)
    harmed: set[str] = set()
    if scene.command == REPAIR:
        assert rng is not None
        harmed = {flip_a_row(cache, rng)}
    had: Rows
    before = {t: set(world.variants["base"].values()) for t in TAPS} if harmed else published(cache)
    run = strike(cache)
    if run is None:
        return None
    outcome = Outcome()
    if not (stops or polite) and run.status != -signal.SIGKILL:
        outcome.fail(f"it ended with {run.status} and not by the kill: {run.errors[-300:]}")
    if stops and run.status != 0 and not run.said_why():
        outcome.fail(f"it did not stop with a readable error: {run.errors[-300:]}")
    if polite and run.status not in (130, 143, -signal.SIGINT, -signal.SIGTERM):
        outcome.fail(f"it ended with {run.status}: {run.errors[-300:]}")
    had = look_between(cache, world.reference, outcome, damaged=bool(harmed))
    if scene.command:
        live = set(wanted.values()) - harmed
        had = {tap: rows & live for tap, rows in before.items()}
        again = world.run(scene.arguments(world, cache))
        if again.status:
            outcome.fail(f"{' '.join(scene.command)} again failed: {again.errors[-300:]}")
    else:
        # One part is written while the next is gathered; a batch may be on its way into them.
        at_stake = 2 * ROWS_A_PART + (0 if polite and run.status > 0 else world.batch)
        excess = run.log.appended - _gained(before, had) - at_stake
        if excess > 0:
            outcome.missing += excess
            outcome.fail(f"{excess} computed rows more than may be at stake are in no part")
    return finish(world, cache, wanted, outcome, had, many_small=scene.many_small, first=run)


def _gained(before: Mapping[str, set[str]], after: Mapping[str, set[str]]) -> int:
    """Return how many images have rows that they had not before."""
    return len({d for tap, rows in after.items() for d in rows - before.get(tap, set())})


def finish(
    world: World,
    cache: Path,
    wanted: Mapping[str, str],
    outcome: Outcome,
    had: Rows,
    *,
    what: str = "",
    many_small: int = 64,
    first: Run | None = None,
) -> Outcome:
    """Run the next plain extract and compare all with the uninterrupted run."""
    for draft in cache.glob(".sources/stat/.*"):
        os.utime(draft, (0, 0))  # the next run may only take away what is old
    run = world.run(world.extract_arguments(cache), many_small=many_small)
    if run.status:
        outcome.fail(f"{what} the next run failed ({run.status}): {run.errors[-400:]}")
    outcome.forwarded = len(run.log.forward)
    again = count_again(run.log.forward, run.log.derive, had, TAPS)
    if again:
        outcome.recomputed += again
        outcome.notes.append(f"{what} {again} published rows were computed again")
    derived = dict(first.log.derive) if first else {}
    for tap, digests in run.log.derive.items():
        derived[tap] = derived.get(tap, set()) | digests
    look_at_end(cache, world.reference, wanted, TAPS, derived, outcome)
    return outcome


SCENES = {
    "grow": Scene("whole", "later"),
    "join": Scene("avg"),
    "derive": Scene("flatten"),
    "merge": Scene("whole", "later", many_small=4),
    "repair": Scene("whole", command=REPAIR),
    "gc": Scene("later", "later", command=GC),
}


@dataclass(frozen=True)
class Stage:
    """A row of the table.

    Attributes
    ----------
    name : str
    weight : int
        Its share of the faults.
    run : callable
        Does one fault; None where it missed.
    engine : str
    needs : str
        "mount" or "cgroup", where it can only run with that.
    """

    name: str
    weight: int
    run: Callable[[World, Rng], Outcome | None]
    engine: str = "openvino"
    needs: str = ""


STAGES = (
    Stage("SIGKILL, any moment", 90, at_random(signal.SIGKILL)),
    Stage("SIGKILL, any moment, data set edited", 30, at_random(signal.SIGKILL, SCENES["grow"])),
    Stage("SIGKILL, writing a part", 40, at_call(pattern=r"/parts/\..*\.tmp$", calls=WRITING)),
    Stage("SIGKILL, renaming a part", 30, at_call(pattern=r"/parts/2.*\.h5$", calls=("replace",))),
    Stage("SIGKILL, building the view", 30, at_call(pattern=r"/\.?cache\.h5")),
    Stage("SIGKILL, writing the stat cache", 20, at_call(pattern=r"\.digests")),
    Stage("SIGKILL, a tap joins", 25, at_random(signal.SIGKILL, SCENES["join"])),
    Stage("SIGKILL, deriving a tap", 30, at_call(SCENES["derive"])),
    Stage("SIGKILL, merging small parts", 25, at_call(SCENES["merge"])),
    Stage("SIGKILL, repair", 35, at_call(SCENES["repair"])),
    Stage("SIGKILL, gc", 35, at_call(SCENES["gc"])),
    Stage("SIGKILL, one of two writers", 20, two_writers),
    Stage("SIGKILL, the command line proper", 20, command_line),
    Stage("SIGTERM", 15, at_random(signal.SIGTERM)),
    Stage("SIGINT (Ctrl-C)", 15, at_random(signal.SIGINT)),
    Stage("out of memory, killed by the kernel", 15, memory, needs="cgroup"),
    Stage("disk full", 30, on_disk("fill"), needs="mount"),
    Stage("disk full, data set edited", 10, on_disk("fill", SCENES["grow"]), needs="mount"),
    Stage("disk turned read-only", 20, on_disk("readonly"), needs="mount"),
    Stage("bytes flipped", 80, damage("flip")),
    Stage("file truncated", 30, damage("truncate")),
    Stage("file missing", 20, damage("remove")),
    Stage("stand-in engine: SIGKILL, any change", 60, at_call(), "projection"),
    Stage("stand-in engine: bytes flipped", 60, damage("flip"), "projection"),
)
