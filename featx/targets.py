"""Several label columns of the same images: those of the data set, and those a table makes.

A class → attribute table ("bottle" is recyclable) makes a column out of the labels that are cached
already, so that nothing is extracted again. All columns of one comparison stand on the same
training and test images: the split and the draws are made by the first.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featx.errors import DatasetError, SpecError
from featx.records import FeatureSet, StrataRecord
from featx.registry import near_misses
from featx.sources import Source


@dataclass(frozen=True)
class Attributes:
    """A class → attribute table.

    Attributes
    ----------
    path : str
        The file it was read from.
    column : str
        Name of its class column.
    values : mapping of str to mapping
        A column: class to value.
    """

    path: str
    column: str
    values: Mapping[str, Mapping[str, str]]


def read_attributes(path: str | os.PathLike[str]) -> Attributes:
    """Read a CSV file: a line a class, the class first, then one or more attributes.

    Parameters
    ----------
    path : path
        Its first line names the columns: ``class,recyclable``. Separated by commas, or by
        semicolons or tabs where the first line has these instead.

    Raises
    ------
    DatasetError
        Not readable as UTF-8 CSV, no attribute column, an empty field, or a class given twice.
    """
    text = os.fspath(path)
    lines = _read_lines(text)
    header = [name.strip() for name in lines[0][1]]
    if len(header) < 2 or not all(header) or len(set(header)) < len(header):
        raise DatasetError(
            f"{text!r} names the columns {', '.join(header)}: the first line must name the class "
            "column and one or more attributes, each once, such as: class,recyclable."
        )
    values: dict[str, dict[str, str]] = {name: {} for name in header[1:]}
    for number, line in lines[1:]:
        fields = [field.strip() for field in line]
        if len(fields) != len(header) or not all(fields):
            raise DatasetError(
                f"{text!r} line {number} has {sum(map(bool, fields))} values for "
                f"{len(header)} columns: give every class one of each."
            )
        if fields[0] in values[header[1]]:
            raise DatasetError(f"{text!r} gives {fields[0]!r} twice, again on line {number}.")
        for name, value in zip(header[1:], fields[1:], strict=True):
            values[name][fields[0]] = value
    return Attributes(text, header[0], values)


def add_column(features: FeatureSet, attributes: Attributes, name: str) -> FeatureSet:
    """Return `features` with the labels of an attribute; its strata are the classes.

    A class that the table does not have is looked for in other spelling (`plain_name`).

    Parameters
    ----------
    features : FeatureSet
        With the classes that the table's are.
    attributes : Attributes
    name : str
        The attribute.

    Raises
    ------
    DatasetError
        A class is not in the table.
    SpecError
        All classes have the same value.
    """
    table = attributes.values[name]
    loose = {plain_name(c): c for c in table}
    lines = {c: c if c in table else loose.get(plain_name(c), "") for c in features.classes}
    missing = [c for c, line in lines.items() if not line]
    if missing:
        near = near_misses(missing[0], table)
        hint = f" It has {near[0]!r}." if near else ""
        others = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        raise DatasetError(
            f"{attributes.path!r} says nothing of class {missing[0]!r}{others}: add a line for "
            f"it.{hint}"
        )
    own = {c: table[line] for c, line in lines.items()}
    names = tuple(sorted(set(own.values())))
    if len(names) < 2:
        raise SpecError(
            f"All {len(own)} classes have {name!r} = {names[0]!r} in {attributes.path!r}: there is "
            "nothing to learn."
        )
    number_of = np.array([names.index(own[c]) for c in features.classes], np.int32)
    made_of = {"attributes": {"of": features.target, "values": own}}
    return replace(
        features,
        y=number_of[features.y],
        classes=names,
        target=name,
        strata=features.strata or strata_of(features),
        provenance=_with_split(features.provenance, made_of),
    )


def plain_name(name: str) -> str:
    """Return a class name without case, its words parted by spaces.

    >>> plain_name("Glass_bottle"), plain_name(" glass-bottle")
    ('glass bottle', 'glass bottle')
    """
    return " ".join(re.split(r"[\s_-]+", name.casefold())).strip()


def strata_of(features: FeatureSet) -> StrataRecord:
    """Return the labels of `features`, to split and draw others by."""
    return StrataRecord(features.target, features.y, features.classes)


def list_targets(
    targets: Sequence[str], columns: Sequence[str], attributes: Attributes | None
) -> list[str]:
    """Return the columns to learn, each once.

    Parameters
    ----------
    targets : sequence of str
        As asked for, "" being the first column; empty is the first column, and with a table all of
        its attributes too.
    columns : sequence of str
        Label columns of the data set.
    attributes : Attributes, optional

    Raises
    ------
    SpecError
        No such column, or one that is in the data set and in the table.
    """
    made = list(attributes.values) if attributes else []
    for name in made:
        if name in columns:
            raise SpecError(
                f"The column {name!r} is in the data set and in the table of attributes: rename "
                "that of the table."
            )
    known = [*columns, *made]
    targets = [target or columns[0] for target in targets]
    for target in targets:
        if target not in known:
            near = near_misses(target, known)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(known)}."
            raise SpecError(f"No label column {target!r}. {hint}")
    return list(dict.fromkeys(targets)) or [columns[0], *made]


def load_targets(
    source: Source,
    targets: Sequence[str],
    attributes: Attributes | None,
    *,
    lazy: bool = False,
) -> list[FeatureSet]:
    """Read features once, and give them the labels of each target.

    Parameters
    ----------
    source : Source
    targets : sequence of str
        As `list_targets`.
    attributes : Attributes, optional
    lazy : bool
        As `Source.load`.

    Returns
    -------
    list of FeatureSet
        A target each, with one X for all. All are split and drawn by the first, or by the classes
        that it is an attribute of.

    Raises
    ------
    CacheMissError, CacheCorruptError
        As `Source.load`.
    DatasetError, SpecError
        As `list_targets` and `add_column`.
    """
    columns = source.columns
    wanted = list_targets(targets, columns, attributes)
    named = [target for target in wanted if target in columns]
    base = named[0] if named else columns[0]
    if attributes is not None and len(named) < len(wanted):
        base = attributes.column if attributes.column in columns else columns[0]
    whole = source.load(base, lazy=lazy)
    found = []
    for target in wanted:
        if target == base:
            found.append(whole)
        elif target in columns:
            own = source.labels(target)
            found.append(replace(whole, y=own.y, classes=own.classes, target=target))
        else:
            assert attributes is not None
            found.append(add_column(whole, attributes, target))
    if len(found) > 1:
        leading = found[0].strata or strata_of(found[0])
        found = [replace(features, strata=leading) for features in found]
    return found


def _with_split(provenance: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return provenance with `more` for the record's account of the split."""
    return {**provenance, "split": {**provenance.get("split", {}), **more}}


def _read_lines(path: str) -> list[tuple[int, list[str]]]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            first = file.readline()
            file.seek(0)
            separator = next((s for s in (",", ";", "\t") if s in first), ",")
            reader = csv.reader(file, delimiter=separator, strict=True)
            lines = [(reader.line_num, line) for line in reader if any(f.strip() for f in line)]
    except OSError as error:
        raise DatasetError(
            f"Cannot read the table of attributes {path!r}: {error.strerror}."
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path!r} is not sound CSV in UTF-8: {error}.") from error
    if len(lines) < 2:
        raise DatasetError(
            f"{path!r} has no classes: give a first line of names, then a line each."
        )
    return lines
