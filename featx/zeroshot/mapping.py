"""Which ImageNet classes each class of a data set is: proposed by name, or read from a file."""

from __future__ import annotations

import csv
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featx.errors import DatasetError, RunError, SpecError
from featx.registry import near_misses
from featx.zeroshot.synsets import (
    Synset,
    classes_below,
    classes_with_word,
    find_meanings,
    imagenet_classes,
    load_synsets,
    short_name,
)

HEADER = ("class", "imagenet", "suggestions")

MOST_LISTED = 20
"""ImageNet classes that a mapping file lists for a class; of more it names what they all are."""


@dataclass(frozen=True)
class OverlapSpec:
    """Classes of a data set, and the ImageNet classes that each of them is.

    Attributes
    ----------
    outputs : mapping of str to tuple of int
        Class to numbers of ImageNet classes, ascending; empty where it overlaps with none.
    source : str
        "names", or the path of the mapping file.
    """

    outputs: Mapping[str, tuple[int, ...]]
    source: str

    @property
    def overlapping(self) -> list[str]:
        """Classes with at least one ImageNet class."""
        return [name for name, numbers in self.outputs.items() if numbers]

    @property
    def others(self) -> list[str]:
        """Classes with none."""
        return [name for name, numbers in self.outputs.items() if not numbers]

    def names(self, name: str) -> list[str]:
        """Return the first names of the ImageNet classes that class `name` is."""
        known = imagenet_classes()
        return [known[number].names[0] for number in self.outputs[name]]

    def describe(self, most: int = 4) -> str:
        """Say which classes overlap ImageNet, and with what."""
        total, found = len(self.outputs), self.overlapping
        parts = []
        for name in found:
            names = self.names(name)
            rest = f" and {len(names) - most} more" if len(names) > most else ""
            parts.append(f"{name} ({', '.join(names[:most])}{rest})")
        text = f"{len(found)} of {total} classes overlap ImageNet"
        text += f": {', '.join(parts)}" if parts else ""
        return text + (f"; not {', '.join(self.others)}" if found and self.others else "")


def propose_overlap(classes: Sequence[str]) -> OverlapSpec:
    """Map classes by their names.

    A class is every ImageNet class at or below the first meaning of its name in WordNet that has
    some. Where two classes claim one (a shirt and a T-shirt, the jersey), the nearer gets it; both
    do at equal distance.

    Parameters
    ----------
    classes : sequence of str

    Returns
    -------
    OverlapSpec
    """
    claims = {name: _claim(name) for name in classes}
    nearest: dict[int, int] = {}
    for claim in claims.values():
        for number, steps in claim.items():
            nearest[number] = min(steps, nearest.get(number, steps))
    outputs = {
        name: tuple(sorted(n for n, steps in claim.items() if steps == nearest[n]))
        for name, claim in claims.items()
    }
    return OverlapSpec(outputs, "names")


def write_mapping(overlap: OverlapSpec, path: str | os.PathLike[str]) -> None:
    """Write a mapping as CSV, to be edited: ``class,imagenet,suggestions``.

    "imagenet" has names (synsets where a name is not unique) with commas between them. In
    "suggestions", which is not read, are ImageNet classes with a word of the class in their names.

    Raises
    ------
    RunError
        The file is there already, or cannot be written.
    """
    try:
        with open(path, "x", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(HEADER)
            known = imagenet_classes()
            for name in overlap.outputs:
                own = [short_name(known[number]) for number in overlap.outputs[name]]
                words = [short_name(s) for s in classes_with_word(name)]
                suggested = [word for word in words if word not in own]
                if len(own) > MOST_LISTED and (whole := _whole(overlap.outputs[name], name)):
                    own = [whole]
                writer.writerow([name, ", ".join(own), ", ".join(suggested[:8])])
    except FileExistsError as error:
        raise RunError(
            f"{os.fspath(path)!r} is there already: name another file, or give it with --mapping."
        ) from error
    except OSError as error:
        raise RunError(f"Cannot write {os.fspath(path)!r}: {error.strerror}.") from error


def read_mapping(path: str | os.PathLike[str], classes: Sequence[str]) -> OverlapSpec:
    """Read a mapping file, a line for each of `classes`.

    Parameters
    ----------
    path : path
        CSV with the columns "class" and "imagenet", and perhaps "suggestions", which is not read.
        "imagenet" holds names or synsets with commas between them, or nothing. A name or synset
        above ImageNet's classes is all of them below it: ``bottle``, ``n02876657``.
    classes : sequence of str
        Of the data set.

    Raises
    ------
    DatasetError
        Not a readable CSV file of these columns, a class that the data set does not have or that
        the file lacks, or a name that ImageNet does not have or has twice.
    """
    text = os.fspath(path)
    outputs: dict[str, tuple[int, ...]] = {}
    for number, line in _read_lines(text):
        name = (line["class"] or "").strip()
        if name not in classes:
            near = near_misses(name, classes)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(classes)}."
            raise DatasetError(
                f"{text!r} line {number}: the data set has no class {name!r}. {hint}"
            )
        if name in outputs:
            raise DatasetError(f"{text!r} line {number} gives the class {name!r} again.")
        words = [word.strip() for word in (line["imagenet"] or "").split(",")]
        found: set[int] = set()
        for word in filter(None, words):
            try:
                found |= classes_below(_one_meaning(word)).keys()
            except SpecError as error:
                raise DatasetError(f"{text!r} line {number}: {error}") from error
        outputs[name] = tuple(sorted(found))
    missing = [name for name in classes if name not in outputs]
    if missing:
        raise DatasetError(
            f"{text!r} says nothing of the class {missing[0]!r}: add the line '{missing[0]},' "
            "where no ImageNet class is one."
        )
    return OverlapSpec({name: outputs[name] for name in classes}, text)


def _claim(name: str) -> dict[int, int]:
    for synset in find_meanings(name):
        below = classes_below(synset)
        if below:
            return below
    return {}


def _whole(numbers: Sequence[int], name: str) -> str:
    """Return the id of the meaning of `name` that has just these ImageNet classes below it."""
    for synset in find_meanings(name):
        if sorted(classes_below(synset)) == list(numbers):
            return synset.id
    return ""


def _one_meaning(word: str) -> Synset:
    """Return the synset that a word of a mapping file names.

    Raises
    ------
    SpecError
        None, or several, of which one must be named by its id.
    """
    known = load_synsets()
    if word in known:
        return known[word]
    found = find_meanings(word)
    if len(found) > 1:  # a class of ImageNet goes before what is above some, then one spelt so
        found = [s for s in found if s.index >= 0] or found
        found = [s for s in found if word in s.names] or found
    if len(found) == 1:
        return found[0]
    if found:
        told = "; ".join(f"{s.id}: {', '.join(s.names)}" for s in found)
        raise SpecError(f"{word!r} means several things in ImageNet: write one of {told}.")
    near = near_misses(word, [name for s in imagenet_classes() for name in s.names])
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise SpecError(f"ImageNet has no {word!r}.{hint}")


def _read_lines(path: str) -> list[tuple[int, dict[str, str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True, restkey="", restval="")
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            unknown = [name for name in columns if name not in HEADER]
            if unknown or not {"class", "imagenet"} <= set(columns):
                raise DatasetError(
                    f"{path!r} has the columns {', '.join(columns)}: its first line must be "
                    "class,imagenet, perhaps with suggestions after it."
                )
            lines = [(reader.line_num, line) for line in reader]
    except OSError as error:
        raise DatasetError(f"Cannot read the mapping {path!r}: {error.strerror}.") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path!r} is not sound CSV in UTF-8: {error}.") from error
    for number, line in lines:
        if "" in line:
            raise DatasetError(
                f"{path!r} line {number} has more fields than columns: put quotes around several "
                'ImageNet classes, such as "beer bottle, wine bottle".'
            )
    return lines
