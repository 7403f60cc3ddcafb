"""Optimizers by spec string: "adam(1e-5)", "sgd(1e-4, momentum=0.9)"."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featx.errors import SpecError
from featx.quiet import import_keras
from featx.registry import Registry
from featx.specstring import bind_params, format_spec, parse_spec


@dataclass(frozen=True)
class OptimizerEntry:
    """One optimizer of Keras.

    Attributes
    ----------
    attribute : str
        Its class in keras.optimizers.
    params : mapping
        What it takes, with featx's defaults; the learning rate first.
    summary : str
    """

    attribute: str
    params: Mapping[str, Any]
    summary: str


OPTIMIZERS = Registry[OptimizerEntry]("optimizer", hint="See: featx list optimizers")
"""Every optimizer by name."""

OPTIMIZERS.register(
    "adam",
    OptimizerEntry(
        "Adam",
        {"learning_rate": 1e-3, "beta_1": 0.9, "beta_2": 0.999},
        "adaptive moments; the default",
    ),
)
OPTIMIZERS.register(
    "adamw",
    OptimizerEntry(
        "AdamW", {"learning_rate": 1e-3, "weight_decay": 4e-3}, "Adam with weight decay"
    ),
)
OPTIMIZERS.register(
    "sgd",
    OptimizerEntry(
        "SGD",
        {"learning_rate": 1e-2, "momentum": 0.0, "nesterov": False},
        "gradient descent, with momentum where given",
    ),
)
OPTIMIZERS.register(
    "rmsprop",
    OptimizerEntry("RMSprop", {"learning_rate": 1e-3, "momentum": 0.0}, "scaled gradients"),
)

_KERAS_NAMES = {"learning_rate": "learning_rate", "decay": "weight_decay"}
_BELOW_ONE = ("momentum", "beta_1", "beta_2")


@dataclass(frozen=True)
class OptimizerSpec:
    """An optimizer and all its parameters.

    Attributes
    ----------
    name : str
    params : mapping
        Every parameter, defaults included.
    given : mapping
        As the user gave them, for `text`.
    """

    name: str
    params: Mapping[str, Any]
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The spec string: "adam(1e-05)"."""
        return format_spec(self.name, self.given)


def parse_optimizer(text: str) -> OptimizerSpec:
    """Read an optimizer's spec string.

    Parameters
    ----------
    text : str
        "adam", "adam(1e-5)", "sgd(1e-4, momentum=0.9)". The rate comes first and may be
        named: "adam(learning_rate=1e-5)".

    Returns
    -------
    OptimizerSpec

    Raises
    ------
    UnknownNameError
        No such optimizer; names the nearest.
    SpecError
        An unknown parameter, or a value out of range.

    Examples
    --------
    >>> parse_optimizer("sgd(1e-4, momentum=0.9)").params
    {'learning_rate': 0.0001, 'momentum': 0.9, 'nesterov': False}
    """
    name, given = parse_spec(text)
    entry = OPTIMIZERS.get(name)
    bound = bind_params(name, given, entry.params)
    values = {key: _checked(text, key, bound[key], entry.params[key]) for key in bound}
    return OptimizerSpec(name, values, given)


def build_optimizer(spec: OptimizerSpec) -> Any:
    """Return the Keras optimizer of `spec`."""
    keras = import_keras()
    kind = getattr(keras.optimizers, OPTIMIZERS.get(spec.name).attribute)
    return kind(**spec.params)


def _checked(text: str, key: str, value: Any, default: Any) -> Any:
    if isinstance(default, bool):
        if not isinstance(value, bool):
            raise SpecError(f"{key}={value!r} in {text!r}: write True or False.")
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise SpecError(f"{key}={value!r} in {text!r}: expected a number, such as {default:g}.")
    if key in _BELOW_ONE and not 0 <= value < 1:
        raise SpecError(f"{key}={value!r} in {text!r}: expected a number from 0 to below 1.")
    if key == "learning_rate" and not 0 < value <= 10:
        raise SpecError(f"{key}={value!r} in {text!r}: expected a number above 0, such as 1e-3.")
    if key == "weight_decay" and not 0 <= value <= 1:
        raise SpecError(f"{key}={value!r} in {text!r}: expected a number from 0 to 1.")
    return float(value)
