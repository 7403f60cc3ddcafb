"""`featx list`: what names there are."""

from __future__ import annotations

from typing import Any

import click

from featx.cli import options
from featx.cli.text import columns, file_size

_as_json = click.option(
    "--json", "as_json", is_flag=True, help="Write one JSON document to stdout."
)


@click.group(name="list")
def list_command() -> None:
    """Show the backbones, layers, heads, engines, kinds of data set and recipes there are."""


@list_command.command()
@_as_json
def backbones(as_json: bool) -> None:
    """Show the backbones: input size, feature width, parameters, ImageNet accuracy, speed."""
    from featx.backbones import BACKBONES
    from featx.doctor import load_readings

    rows = [BACKBONES.get(name) for name in BACKBONES]
    speeds: dict[str, dict[str, float]] = {row.name: {} for row in rows}
    for reading in load_readings():
        if reading.backbone in BACKBONES:
            size = BACKBONES.get(reading.backbone).size
            if reading.image_size == (size, size):
                speeds[reading.backbone][reading.precision] = reading.images_per_second
    if as_json:
        keys = ("name", "size", "min_size", "width", "parameters", "top1", "params")
        options.echo_json(
            [
                {k: _plain(getattr(row, k)) for k in keys} | {"images_per_second": speeds[row.name]}
                for row in rows
            ]
        )
        return
    header = (
        "name", "input", "minimum", "width", "parameters", "weights", "top-1 %", "images/s", "takes"
    )  # fmt: skip
    table = [header]
    table += [
        (
            row.name,
            str(row.size),
            str(row.min_size),
            str(row.width),
            f"{row.parameters / 1e6:.1f}M",
            file_size(4 * row.parameters),
            f"{row.top1:.1f}",
            ", ".join(f"{v:.0f}" for _, v in sorted(speeds[row.name].items(), reverse=True)),
            ", ".join(f"{k}={v!r}" for k, v in row.params.items()),
        )
        for row in rows
    ]
    click.echo(columns(table, right=(1, 2, 3, 4, 5, 6, 7)))
    click.echo(
        "\nInput and minimum in pixels; width of avg and max; parameters and weights without the\n"
        "classifier; top-1 on ImageNet as published at keras.io/api/applications."
    )
    click.echo(
        "images/s on this machine, float32 then bfloat16: featx doctor --backbone NAME reads them."
    )


@list_command.command()
@click.argument("backbone")
@options.image_size
@_as_json
def layers(backbone: str, image_size: tuple[int, int] | None, as_json: bool) -> None:
    """Show the layers of BACKBONE, each of which can be a tap: --pooling LAYER:avg."""
    from featx.backbones import list_layers, parse_backbone

    found = list_layers(parse_backbone(backbone, weights="random", image_size=image_size))
    if as_json:
        options.echo_json([{"name": name, "shape": list(shape)} for name, shape in found])
        return
    table = [("layer", "shape")]
    table += [(name, "x".join(map(str, shape))) for name, shape in found]
    click.echo(columns(table))


@list_command.command()
@_as_json
def heads(as_json: bool) -> None:
    """Show the heads, what they take, what is chosen for them, and the steps before them."""
    from featx.heads import HEADS, STEPS, HeadEntry
    from featx.heads.steps import StepEntry

    rows: list[tuple[str, str, HeadEntry | StepEntry, str]] = [
        *(("head", name, HEADS.get(name), HEADS.get(name).searched) for name in HEADS),
        *(("step", name, STEPS.get(name), "") for name in STEPS),
    ]
    if as_json:
        options.echo_json(
            [
                {
                    "kind": kind,
                    "name": name,
                    "summary": row.summary,
                    "params": {k: _plain(p.default) for k, p in row.parameters.items()},
                    "searched": searched,
                }
                for kind, name, row, searched in rows
            ]
        )
        return
    before = "head"
    for kind, name, row, searched in rows:
        if kind != before:
            click.echo("\nSteps before a head, joined by '+': power+l2+linear_svc, pca(n=128)+knn")
        before = kind
        click.echo(f"{name}: {row.summary}")
        for key, parameter in row.parameters.items():
            chosen = "; chosen for you where not given" if key == searched else ""
            click.echo(f"    {key}={parameter.default!r}  {parameter.words}{chosen}")


@list_command.command()
@_as_json
def nets(as_json: bool) -> None:
    """Show the networks that `featx baseline` trains from scratch, and what they take."""
    from featx.baseline.nets import NETS

    _show_entries({name: NETS.get(name) for name in NETS}, as_json)


@list_command.command()
@_as_json
def augmentations(as_json: bool) -> None:
    """Show the random changes that training images can go through, and the presets."""
    from featx.training.augment import AUGMENTS, PRESETS

    _show_entries({name: AUGMENTS.get(name) for name in AUGMENTS}, as_json)
    if not as_json:
        click.echo("\nJoined by '+'. Presets:")
        click.echo(columns([(name, chain or "nothing") for name, chain in PRESETS.items()]))


@list_command.command()
@_as_json
def optimizers(as_json: bool) -> None:
    """Show the optimizers that networks are trained with, and what they take."""
    from featx.training.optimizers import OPTIMIZERS

    _show_entries({name: OPTIMIZERS.get(name) for name in OPTIMIZERS}, as_json)


@list_command.command()
@_as_json
def engines(as_json: bool) -> None:
    """Show the engines, and how to install those that are missing."""
    from featx.engines import ENGINES

    rows = [(name, ENGINES.get(name)) for name in ENGINES]
    state = {name: engine.missing() or "" for name, engine in rows}
    if as_json:
        options.echo_json([{"name": n, "summary": e.summary, "install": state[n]} for n, e in rows])
        return
    table = [("engine", "", "what it is")]
    table += [(n, state[n] or "installed", e.summary) for n, e in rows]
    click.echo(columns(table))


@list_command.command()
@_as_json
def recipes(as_json: bool) -> None:
    """Show the recipes that `featx run` knows by name."""
    from featx.recipe import list_recipes

    rows = [(r.name, f"{len(r.stages)} stages", r.title, str(r.path)) for r in list_recipes()]
    if as_json:
        keys = ("name", "stages", "title", "path")
        options.echo_json([dict(zip(keys, row, strict=True)) for row in rows])
        return
    click.echo(columns([row[:3] for row in rows]))


@list_command.command()
@_as_json
def datasets(as_json: bool) -> None:
    """Show the kinds of data set."""
    from featx.datasets import KINDS

    rows = [(name, KINDS.get(name).summary) for name in KINDS]
    if as_json:
        options.echo_json([{"name": name, "summary": summary} for name, summary in rows])
        return
    click.echo(columns(rows))


def _show_entries(entries: dict[str, Any], as_json: bool) -> None:
    """Show entries that have a summary and parameters with defaults."""
    if as_json:
        options.echo_json(
            [
                {"name": name, "summary": entry.summary, "params": _plain(entry.params)}
                for name, entry in entries.items()
            ]
        )
        return
    table = [("name", "takes", "what it is")]
    table += [
        (name, ", ".join(f"{k}={v!r}" for k, v in entry.params.items()), entry.summary)
        for name, entry in entries.items()
    ]
    click.echo(columns(table))


def _plain(value: Any) -> Any:
    from featx.records import to_json

    return to_json(value)
