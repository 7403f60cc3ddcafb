"""Convolutions put between a base and its head: "conv(300)+conv(300, batch_norm=True)"."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featx.baseline.nets import MOMENTUM
from featx.errors import SpecError, UnknownNameError
from featx.quiet import import_keras
from featx.records import StepSpec
from featx.registry import near_misses
from featx.specstring import bind_params, parse_spec, split_outside

DEFAULTS = {"filters": 256, "kernel": 3, "strides": 1, "batch_norm": False}
"""What `conv` takes."""

MOST = {"filters": 4096, "kernel": 11, "strides": 4}


def parse_blocks(text: str) -> tuple[StepSpec, ...]:
    """Read the convolutions to add.

    Parameters
    ----------
    text : str
        "conv" with parameters or without, several joined by "+"; "" is none.

    Returns
    -------
    tuple of StepSpec
        With all parameters.

    Raises
    ------
    UnknownNameError
        Something other than conv.
    SpecError
        A parameter or value that cannot be used.

    Examples
    --------
    >>> parse_blocks("conv(300)+conv(64, kernel=1)")[1].params["kernel"]
    1
    """
    steps = []
    for part in split_outside(text, "+") if text.strip() else ():
        name, given = parse_spec(part)
        if name != "conv":
            raise UnknownNameError("block", name, near_misses(name, ["conv"]), "There is: conv.")
        bound = bind_params(name, given, DEFAULTS)
        for key, value in bound.items():
            _check(part, key, value)
        steps.append(StepSpec(name, bound))
    return tuple(steps)


def format_blocks(steps: Sequence[StepSpec]) -> str:
    """Return the spec string of blocks: "conv(300)+conv(64, kernel=1)"."""
    texts = []
    for step in steps:
        changed = {k: v for k, v in step.params.items() if k != "filters" and v != DEFAULTS[k]}
        words = [str(step.params["filters"]), *(f"{k}={v!r}" for k, v in changed.items())]
        texts.append(f"{step.name}({', '.join(words)})")
    return "+".join(texts)


def build_blocks(steps: Sequence[StepSpec], seed: int) -> list[Any]:
    """Return the blocks as Keras layers, to be called one after the other.

    Their batch normalisation is new and learns its statistics, unlike that of the base.
    """
    layers = import_keras().layers
    found: list[Any] = []
    for number, step in enumerate(steps):
        p = step.params
        start = import_keras().initializers.HeUniform(seed=seed + 17 * number + 5)
        found.append(
            layers.Conv2D(
                p["filters"],
                p["kernel"],
                p["strides"],
                padding="same",
                use_bias=not p["batch_norm"],
                kernel_initializer=start,
                name=f"added{number}_conv",
            )
        )
        if p["batch_norm"]:
            norm = layers.BatchNormalization(momentum=MOMENTUM, name=f"added{number}_norm")
            found.append(norm)
        found.append(layers.ReLU(name=f"added{number}_relu"))
    return found


def _check(part: str, key: str, value: Any) -> None:
    if key == "batch_norm":
        if not isinstance(value, bool):
            raise SpecError(f"batch_norm={value!r} in {part!r}: write True or False.")
    elif type(value) is not int or not 1 <= value <= MOST[key]:
        raise SpecError(f"{key}={value!r} in {part!r}: a whole number from 1 to {MOST[key]}.")
