"""What heads and steps take, as data: the kinds of values there are, and how they are checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from featx.errors import SpecError
from featx.specstring import bind_params


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_fraction(value: object) -> bool:
    return _is_number(value) and 0 <= value < 1  # type: ignore[operator]


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "positive": ("a number above 0", lambda v: _is_number(v) and 0 < v < float("inf")),
    "count": ("a whole number of 1 or more", lambda v: _is_whole(v) and v >= 1),
    "components": (
        "a whole number of 1 or more, or a share of the variance between 0 and 1",
        lambda v: (_is_whole(v) and v >= 1) or (_is_number(v) and 0 < v < 1),
    ),
    "flag": ("True or False", lambda v: isinstance(v, bool)),
    "shrinkage": (
        "'auto' or a number from 0 to 1",
        lambda v: v == "auto" or (_is_number(v) and 0 <= v <= 1),
    ),
    "widths": (
        "a whole number or a tuple of them, such as (512, 256)",
        lambda v: (
            (_is_whole(v) and v >= 1)
            or (isinstance(v, (tuple, list)) and all(_is_whole(w) and w >= 1 for w in v))
        ),
    ),
    "dropout": (
        "a number from 0 to below 1, or a tuple with one a hidden layer",
        lambda v: (
            _is_fraction(v) or (isinstance(v, (tuple, list)) and all(_is_fraction(d) for d in v))
        ),
    ),
    "class_weight": ("None or 'balanced'", lambda v: v is None or v == "balanced"),
}
"""What a parameter may be: name to (words, test)."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a head or step.

    Attributes
    ----------
    default : object
        Value where none is given; must be valid itself.
    kind : str or tuple of str
        A name in `KINDS`, or the texts to choose from.
    """

    default: Any
    kind: str | tuple[str, ...]

    @property
    def words(self) -> str:
        """What may be written, in words."""
        if isinstance(self.kind, tuple):
            return " or ".join(repr(choice) for choice in self.kind)
        return KINDS[self.kind][0]

    def accepts(self, value: Any) -> bool:
        """Return whether `value` may be given."""
        if isinstance(self.kind, tuple):
            return isinstance(value, str) and value in self.kind
        return bool(KINDS[self.kind][1](value))


def check_params(
    name: str, params: Mapping[str, Any], parameters: Mapping[str, Parameter]
) -> dict[str, Any]:
    """Return `params` with positional values named, in the order of `parameters`.

    Raises
    ------
    SpecError
        A parameter that is unknown or given twice, or a value that it does not accept.
    """
    names = list(parameters)
    bound = bind_params(name, params, {n: p.default for n, p in parameters.items()})
    given = {names[int(key)] if key.isdigit() else key for key in params}
    for key in given:
        if not parameters[key].accepts(bound[key]):
            raise SpecError(
                f"{name}: {key}={bound[key]!r} cannot be used; write {parameters[key].words}."
            )
    return {n: _frozen(bound[n]) for n in names if n in given}


def _frozen(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value
