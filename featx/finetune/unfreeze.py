"""How much of a base is trained: "half", "20", "all", "none", "from:LAYER".

Layers are counted as Keras counts `model.layers` of the bare base: its input layer and layers
without weights among them, the head apart.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from featx.errors import SpecError, UnknownNameError
from featx.registry import near_misses

WORDS = ("none", "half", "all")

_FROM = re.compile(r"from\s*(?::\s*(\S.*)|\(\s*(.*?)\s*\))")


@dataclass(frozen=True)
class UnfreezeSpec:
    """Which layers of a base are trained.

    Attributes
    ----------
    text : str
        "none", "half", "all", the number of last layers ("20"), or "from:LAYER".
    layer : str
        Of "from:LAYER": a layer's name or number; "" otherwise.
    """

    text: str
    layer: str = ""

    def first_layer(self, names: Sequence[str], where: str) -> int:
        """Return the number of the first layer that is trained.

        Parameters
        ----------
        names : sequence of str
            Of all layers, in Keras's order.
        where : str
            Name of the base, for messages.

        Returns
        -------
        int
            ``len(names)`` for none.

        Raises
        ------
        SpecError
            The base has fewer layers.
        UnknownNameError
            It has no such layer.
        """
        count = len(names)
        if self.layer:
            return self._find(names, where)
        if self.text in WORDS:
            return {"none": count, "half": count // 2, "all": 0}[self.text]
        last = int(self.text)
        if last > count:
            raise SpecError(
                f"unfreeze={last}: {where} has {count} layers. Give fewer, or all of them with all."
            )
        return count - last

    def _find(self, names: Sequence[str], where: str) -> int:
        if self.layer.isdigit():
            if int(self.layer) >= len(names):
                raise SpecError(
                    f"unfreeze={self.text!r}: {where} has {len(names)} layers, numbered from 0."
                )
            return int(self.layer)
        if self.layer not in names:
            hint = f"See: featx list layers {where}"
            raise UnknownNameError(
                f"layer of {where}", self.layer, near_misses(self.layer, names), hint
            )
        return list(names).index(self.layer)


def parse_unfreeze(value: int | str) -> UnfreezeSpec:
    """Read what part of a base to train.

    Parameters
    ----------
    value : int or str
        "none", "half" (as ``layers[: len(layers) // 2]`` frozen), "all", the number of last
        layers, or "from:LAYER" with the name or number of the first layer to train.

    Raises
    ------
    SpecError
        It is none of these.

    Examples
    --------
    >>> parse_unfreeze(20).first_layer(["layer"] * 86, "mobilenet")
    66
    >>> parse_unfreeze("from:249").text, parse_unfreeze("from(249)").text
    ('from:249', 'from:249')
    """
    text = str(value).strip()
    if text in WORDS:
        return UnfreezeSpec(text)
    if text.isdecimal() and not isinstance(value, bool):
        return UnfreezeSpec(str(int(text)) if int(text) else "none")
    found = _FROM.fullmatch(text)
    layer = (found[1] or found[2] or "").strip("'\" ") if found else ""
    if not layer:
        near = near_misses(text, WORDS)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(
            f"Cannot read unfreeze={value!r}.{hint} Write none, half, all, a number of last "
            "layers, or from:LAYER with a layer's name or number."
        )
    return UnfreezeSpec(f"from:{layer}", layer)


def parse_unfreezes(values: int | str | Sequence[int | str]) -> list[UnfreezeSpec]:
    """Read one or several, each once.

    Raises
    ------
    SpecError
        None at all, or one that cannot be read.
    """
    listed = [values] if isinstance(values, (int, str)) else list(values)
    specs = list(dict.fromkeys(parse_unfreeze(value) for value in listed))
    if not specs:
        raise SpecError("Nothing to fine-tune: give unfreeze none, half, all, or a number.")
    return specs
