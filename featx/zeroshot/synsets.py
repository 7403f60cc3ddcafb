"""The 1,000 classes of ImageNet: their WordNet synsets, their names, and what is above them.

A class name means a synset of WordNet 3.0, and every ImageNet class below it: "bottle" is a beer
bottle, a water bottle and five more. The names and their order come with the package
(`synsets.tsv`), so that nothing is downloaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

CLASSES = 1000
"""Classes of ImageNet-1k: the first lines of the table, in the order of Keras's outputs."""


@dataclass(frozen=True)
class Synset:
    """A meaning in WordNet, with its names.

    Attributes
    ----------
    id : str
        "n02823428".
    names : tuple of str
        The most usual first.
    senses : tuple of int
        Of each name, the how manieth of its meanings this is; 1 where it has no other here.
    above : tuple of str
        Synsets one step more general.
    index : int
        Number of the ImageNet class; -1 where it is none.
    """

    id: str
    names: tuple[str, ...]
    senses: tuple[int, ...]
    above: tuple[str, ...]
    index: int


@cache
def load_synsets() -> dict[str, Synset]:
    """Return all synsets by id, the ImageNet classes first and in their order."""
    text = resources.files("featx.zeroshot").joinpath("synsets.tsv").read_text("utf-8")
    found = {}
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    for number, line in enumerate(lines):
        identity, above, names = line.split("\t")
        pairs = [name.partition("#") for name in names.split("|")]
        found[identity] = Synset(
            identity,
            tuple(name for name, _, _ in pairs),
            tuple(int(sense or 1) for _, _, sense in pairs),
            tuple(above.split()),
            number if number < CLASSES else -1,
        )
    return found


def imagenet_classes() -> list[Synset]:
    """Return the 1,000 ImageNet classes, in the order of a Keras classifier's outputs."""
    return list(load_synsets().values())[:CLASSES]


def find_meanings(name: str) -> list[Synset]:
    """Return the synsets of a name, the most usual meaning first.

    Case, hyphens, underscores and spaces do not count. A name that means nothing is tried as a
    plural.

    >>> [s.id for s in find_meanings("T_shirts")], find_meanings("longsleeve")
    (['n03595614'], [])
    """
    for text in _forms(name):
        found = _by_name().get(_squeezed(text))
        if found:
            return [load_synsets()[identity] for _, identity in sorted(found)]
    return []


def classes_below(synset: Synset) -> dict[int, int]:
    """Return the ImageNet classes that are a `synset`: number to how many steps below."""
    return dict(_below()[synset.id])


def short_name(synset: Synset) -> str:
    """Return the first name; where another ImageNet class has it too, the id."""
    name = synset.names[0]
    others = _by_name()[_squeezed(name)]
    shared = [i for _, i in others if i != synset.id and load_synsets()[i].index >= 0]
    return synset.id if shared else name


def classes_with_word(name: str) -> list[Synset]:
    """Return the ImageNet classes with a word of `name` in a name of theirs."""
    words = {word for text in _forms(name) for word in _words(text)}
    return [
        synset
        for synset in imagenet_classes()
        if words & {word for own in synset.names for word in _words(own)}
    ]


@cache
def _by_name() -> dict[str, list[tuple[int, str]]]:
    """Squeezed name to (sense, id)."""
    found: dict[str, list[tuple[int, str]]] = {}
    for synset in load_synsets().values():
        for name, sense in zip(synset.names, synset.senses, strict=True):
            pairs = found.setdefault(_squeezed(name), [])
            if all(identity != synset.id for _, identity in pairs):
                pairs.append((sense, synset.id))
    return found


@cache
def _below() -> dict[str, dict[int, int]]:
    synsets = load_synsets()
    found: dict[str, dict[int, int]] = {identity: {} for identity in synsets}
    for synset in imagenet_classes():
        steps = {synset.id: 0}
        todo = [synset.id]
        for identity in todo:  # grows while it is walked: the nearest come first
            found[identity][synset.index] = steps[identity]
            for above in synsets[identity].above:
                if above not in steps:
                    steps[above] = steps[identity] + 1
                    todo.append(above)
    return found


def _forms(name: str) -> Iterator[str]:
    """Yield the name, then what it would be the plural of."""
    yield name
    plain = name.casefold().rstrip()
    for ending, instead in (("ies", "y"), ("ves", "f"), ("es", ""), ("s", "")):
        if plain.endswith(ending) and not plain.endswith("ss"):
            yield plain.removesuffix(ending) + instead


def _squeezed(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())


def _words(name: str) -> list[str]:
    return [word for word in re.split(r"[^a-z0-9]+", name.casefold()) if len(word) > 2]
