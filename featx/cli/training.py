"""Options of the commands that train networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from featx.cli import options

F = TypeVar("F", bound=Callable[..., Any])


def protocol(command: F) -> F:
    """Add --shots, --draws, --test-fraction, --seed and --target, with classify's meaning."""
    for option in (
        click.option("--target", help="Label column. [default: the first]"),
        click.option(
            "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws."
        ),
        click.option(
            "--test-fraction",
            type=click.FloatRange(0, 1, min_open=True, max_open=True),
            default=0.3,
            show_default=True,
            help="Part of the images to test on, where the data set has no test split.",
        ),
        click.option(
            "--draws",
            type=click.IntRange(1),
            default=1,
            show_default=True,
            help="Draws of training images at each number of shots, a network each.",
        ),
        click.option(
            "--shots",
            "-s",
            multiple=True,
            default=("all",),
            callback=options.whole_numbers,
            metavar="N|all",
            help="Training images a class. [default: all]",
        ),
    ):
        command = option(command)
    return command


def fitting(*, optimizer: str, epochs: int, patience: int) -> Callable[[F], F]:
    """Add --epochs, --patience, --optimizer, --augment, --batch-size, --precision, --no-resume."""

    def decorate(command: F) -> F:
        for option in (
            click.option(
                "--no-resume",
                "resume",
                is_flag=True,
                flag_value=False,
                default=True,
                help="Start anew, not where an interrupted run stopped.",
            ),
            click.option(
                "--precision",
                type=click.Choice(["float32", "mixed"]),
                default="float32",
                show_default=True,
                help="mixed multiplies in 16 bits and keeps the weights in 32.",
            ),
            click.option(
                "--batch-size",
                type=click.IntRange(1),
                default=32,
                show_default=True,
                help="Images a step.",
            ),
            click.option(
                "--augment",
                default="none",
                show_default=True,
                metavar="SPEC",
                help="Random changes of training images: light, heavy, or a chain such as "
                "'flip+rotation(0.1)+zoom(0.2)'. See: featx list augmentations",
            ),
            click.option(
                "--optimizer",
                default=optimizer,
                show_default=True,
                metavar="SPEC",
                help="With learning rate: 'adam(1e-5)', 'sgd(1e-4, momentum=0.9)'. "
                "See: featx list optimizers",
            ),
            click.option(
                "--patience",
                type=click.IntRange(1),
                default=patience,
                show_default=True,
                help="Epochs without a lower validation loss after which to stop.",
            ),
            click.option(
                "--epochs",
                type=click.IntRange(1),
                default=epochs,
                show_default=True,
                help="At most so many passes over the training images.",
            ),
        ):
            command = option(command)
        return command

    return decorate
