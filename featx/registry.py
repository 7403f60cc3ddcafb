"""A named collection of things of one kind, with helpful errors for wrong names."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Generic, TypeVar

from featx.errors import UnknownNameError

T = TypeVar("T")


class Registry(Generic[T]):
    """Names to things of one kind, in the order of registration.

    Parameters
    ----------
    kind : str
        What it holds, in singular; used in messages.
    hint : str, optional
        Where the user can see the valid names.

    Examples
    --------
    >>> heads = Registry[type]("head", hint="See: featx list heads")
    >>> heads.register("ridge", dict)
    >>> heads.get("rigde")
    Traceback (most recent call last):
    ...
    featx.errors.UnknownNameError: Unknown head 'rigde'. Did you mean 'ridge'? See: featx list heads
    """

    def __init__(self, kind: str, hint: str = "") -> None:
        self.kind, self.hint = kind, hint
        self._items: dict[str, T] = {}

    def register(self, name: str, item: T) -> None:
        """Add `item` under `name`; a name is given once."""
        if name in self._items:
            raise ValueError(f"{self.kind} {name!r} is registered already")
        self._items[name] = item

    def unregister(self, name: str) -> None:
        """Take `name` out again (tests and plug-ins)."""
        del self._items[name]

    def get(self, name: str) -> T:
        """Return the thing called `name`, or raise UnknownNameError with the near misses."""
        try:
            return self._items[name]
        except KeyError:
            raise UnknownNameError(
                self.kind, name, near_misses(name, self._items), self.hint
            ) from None

    def names(self) -> list[str]:
        """Return the names in the order of registration."""
        return list(self._items)

    def __contains__(self, name: object) -> bool:
        return name in self._items

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)


def near_misses(name: str, valid: object) -> list[str]:
    """Return up to two of the `valid` names (an iterable of str) that look like `name`.

    >>> near_misses("resnet5", ["vgg16", "resnet50", "resnet50_v2"])
    ['resnet50']
    >>> near_misses("ResNet50", ["resnet50"])
    ['resnet50']
    """
    names = [str(n) for n in valid]  # type: ignore[attr-defined]

    def plain(text: str) -> str:
        return text.lower().replace("_", "").replace("-", "")

    exact = [n for n in names if plain(n) == plain(name)]
    if exact:
        return exact[:1]
    found = difflib.get_close_matches(name.lower(), names, n=2, cutoff=0.6)
    if len(found) == 2:
        scores = [difflib.SequenceMatcher(None, name.lower(), n).ratio() for n in found]
        if scores[0] - scores[1] > 0.05:
            found = found[:1]
    return found
