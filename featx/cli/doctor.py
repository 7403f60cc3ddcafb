"""`featx doctor`: what this installation can do, how fast, and what to install for more."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from featx.cli import options
from featx.cli.text import columns, file_size

if TYPE_CHECKING:
    from featx.doctor import Diagnosis, EngineState

_STATES = {
    "here": "ImageNet weights here",
    "download": "ImageNet weights will be downloaded",
    "unreachable": "no ImageNet weights here, and the network does not answer",
    "none": "no ImageNet weights",
}


@click.command()
@options.backbones("Backbone to look at and time. [default: mobilenet]")
@options.image_size
@click.option(
    "--seconds",
    type=click.FloatRange(0),
    default=5.0,
    show_default=True,
    help="How long to time each backbone; 0 times none.",
)
@options.cache_dir
@options.output
def doctor(
    backbones: tuple[str, ...],
    image_size: tuple[int, int] | None,
    seconds: float,
    cache_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Show what this machine and installation can do, and what to install for more.

    Needs no network, no GPU and no engine, and writes nothing but its speed readings, which
    `featx list backbones` shows from then on.
    """
    from featx.backbones import parse_backbone
    from featx.doctor import diagnose
    from featx.progress import Bars

    specs = [parse_backbone(b, image_size=image_size) for b in backbones or ("mobilenet",)]
    with Bars(not quiet) as bars:
        found = diagnose(
            specs,
            cache_dir=cache_dir,
            seconds=seconds,
            progress=lambda text: bars(text, 0, 0),
        )
    if as_json:
        options.echo_json(found.to_json())
        return
    click.echo(columns([("featx", f"{found.featx}, Python {found.python}"), *_lines(found)]))
    for problem in found.problems:
        click.echo(f"\nProblem: {problem}")
    if found.advice:
        click.echo("\nTo gain:\n" + "\n".join(f"  {g}: {c}" for g, c in found.advice))


def _lines(found: Diagnosis) -> list[tuple[str, str]]:
    machine, cache = found.machine, found.cache
    features = " ".join(machine.features) or "no vector instructions known"
    lines = [
        ("system", f"{machine.system}, {file_size(machine.memory_bytes)} memory"),
        ("CPU", f"{machine.cpu}, {machine.cores} cores to use: {features}"),
        ("GPU", ", ".join(machine.gpus) or "none found"),
    ]
    lines += [("engine", _engine(e, found)) for e in found.engines]
    native = ", ".join(found.native) or "none"
    lines.append(
        ("precision", f"native: {native}; auto: {found.precision} ({found.precision_reason})")
    )
    lines += [("weights", f"{w.backbone}: {_STATES[w.state]}") for w in found.weights]
    written = "can be written" if cache.writable else "cannot be written"
    lines.append(("cache", f"{cache.path}: {written}, {file_size(cache.free_bytes)} free"))
    lines.append(("cluster", f"ray {found.ray}" if found.ray else "ray is not installed"))
    for s in found.speeds:
        size = "x".join(map(str, s.image_size))
        lines.append(
            ("speed", f"{s.backbone} {size}: {s.images_per_second:.0f} images/s in {s.precision}")
        )
    if found.speeds and not found.speeds_kept:
        lines.append(("", "these readings could not be written down for featx list backbones"))
    return lines


def _engine(engine: EngineState, found: Diagnosis) -> str:
    if engine.install:
        return f"{engine.name}: {engine.install}"
    taken = f", taken by auto: {found.engine_reason}" if engine.name == found.engine else ""
    return f"{engine.name} {engine.version}".rstrip() + taken
