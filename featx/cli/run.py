"""`featx run`: run a recipe, an experiment written as a TOML file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from featx.cli import options


@click.command()
@click.argument("recipe")
@click.option(
    "--data",
    "-d",
    multiple=True,
    metavar="[NAME=]PATH",
    help="Where the recipe's data set is, or the one called NAME. Any folder of labelled photos "
    "may stand in.",
)
@click.option(
    "--weights",
    "-w",
    multiple=True,
    metavar="[BACKBONE=]W",
    help="imagenet, random, auto or a file, for all backbones or the one named; "
    "STAGE:BACKBONE=W for one stage.",
)
@click.option(
    "--limit-per-class",
    type=int,
    metavar="K",
    help="Take at most K images of each class, drawn, to try the recipe.",
)
@click.option("--epochs", type=int, metavar="E", help="Most epochs of every network.")
@click.option("--image-size", type=int, metavar="N", help="Input size in pixels of every stage.")
@click.option(
    "--plan",
    "only_plan",
    is_flag=True,
    help="Only show the stages, what is cached, and about how long they take.",
)
@options.cluster(
    "Extract and fit heads on a Ray cluster: auto is the one that this machine is part of; local "
    "is this machine. Networks are trained here."
)
@options.cache_dir
@options.runs_dir
@options.output
def run(
    recipe: str,
    data: tuple[str, ...],
    weights: tuple[str, ...],
    limit_per_class: int | None,
    epochs: int | None,
    image_size: int | None,
    only_plan: bool,
    cluster: str | None,
    cache_dir: Path,
    runs_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run RECIPE, a .toml file or a name of `featx list recipes`, stage by stage.

    What is finished is not run again: after an interruption the same command goes on. Results come
    out beside what the study published, and as Markdown in the run's folder.
    """
    from featx.recipe import (
        estimate_steps,
        outcome_json,
        outcome_text,
        plan_json,
        plan_recipe,
        plan_text,
        run_recipe,
    )

    asked: dict[str, Any] = {
        "data": data,
        "weights": weights,
        "limit_per_class": limit_per_class,
        "epochs": epochs,
        "image_size": image_size,
        "cache_dir": cache_dir,
        "runs_dir": runs_dir,
        "progress": not quiet,
    }
    if only_plan:
        plan = plan_recipe(recipe, **asked)
        estimates = estimate_steps(plan, progress=not quiet)
        if as_json:
            options.echo_json(plan_json(plan, estimates))
        else:
            click.echo(plan_text(plan, estimates))
        return
    outcome = run_recipe(recipe, **asked, cluster=cluster, tell=None if quiet else _tell)
    if as_json:
        options.echo_json(outcome_json(outcome))
    else:
        click.echo(outcome_text(outcome))


def _tell(line: str) -> None:
    click.echo(line, err=True)
