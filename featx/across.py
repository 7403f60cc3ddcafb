"""Train on one data set, test on another that has the same classes."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from featx.errors import CacheMissError, SplitError
from featx.records import FeatureSet, StrataRecord
from featx.sources import Source
from featx.targets import plain_name


def match_sources(
    sources: Sequence[Source], others: Sequence[Source], data: str | os.PathLike[str]
) -> list[Source]:
    """Return for each source the one of another data set that was made in the same way.

    Parameters
    ----------
    sources, others : sequence of Source
        Of the data set to train on, and of that to test on.
    data : str or path
        What the latter was given as, for messages.

    Raises
    ------
    CacheMissError
        There is none with the same extraction keys and taps; says the command that makes it.
    """
    by_identity = {source.identity: source for source in others}
    found = []
    for source in sources:
        other = by_identity.get(source.identity)
        if other is None:
            raise _missing(source, data)
        found.append(other)
    return found


def join_datasets(train: Sequence[FeatureSet], test: Sequence[FeatureSet]) -> list[FeatureSet]:
    """Put two data sets below each other: all rows of the one to train on, of the other to test on.

    Classes are matched by name, whatever the case and whether words are parted by spaces, hyphens
    or underscores. Rows to test on whose class cannot be learnt are left out; classes that are not
    tested stay among those to choose from. Validation rows of the first data set stay that.

    Parameters
    ----------
    train, test : sequence of FeatureSet
        A label column each, in the same order, of the same rows.

    Returns
    -------
    list of FeatureSet
        A column each; X is lazy. What was matched is in the provenance's "split", as "test_on"
        (the name of the data set tested on) and "test_on_classes".

    Raises
    ------
    SplitError
        Fewer than two classes are in both.
    """
    columns = [_match_classes(a, b) for a, b in zip(train, test, strict=True)]
    kept = np.flatnonzero(np.all([numbers >= 0 for numbers in columns], axis=0))
    first, other = train[0], test[0]
    n, m = len(first.y), len(kept)
    matrix = StackedRows([(first.X, np.arange(n)), (other.X, kept)])
    views = tuple(
        StackedRows([(a, np.arange(n)), (b, kept)])
        for a, b in zip(first.views, other.views, strict=True)
    )
    strata = first.strata or StrataRecord(first.target, first.y, first.classes)
    strata = replace(strata, y=np.concatenate([strata.y, np.full(m, -1, strata.y.dtype)]))
    splits = np.where(np.asarray(first.splits) == "val", "val", "train").astype("<U5")
    joined = []
    for a, b, numbers in zip(train, test, columns, strict=True):
        joined.append(
            replace(
                a,
                X=matrix,
                y=np.concatenate([a.y, numbers[kept]]).astype(np.int32),
                paths=(*a.paths, *(b.paths[i] for i in kept.tolist())),
                splits=np.concatenate([splits, np.full(m, "test")]),
                digests=(*a.digests, *(b.digests[i] for i in kept.tolist())),
                groups=(*a.groups, *("" for _ in kept)) if a.groups else (),
                provenance={
                    **a.provenance,
                    "split": {**a.provenance.get("split", {}), **_about(a, b, m)},
                },
                views=views,
                strata=strata,
            )
        )
    return joined


def part_tested(test: FeatureSet, joined: FeatureSet) -> FeatureSet:
    """Return the joined rows that belong to the data set tested on, named as in that data set."""
    m = int((joined.splits == "test").sum())
    return replace(
        joined,
        y=joined.y[-m:],
        paths=joined.paths[-m:],
        splits=joined.splits[-m:],
        digests=joined.digests[-m:],
        groups=joined.groups[-m:],
        dataset=test.dataset,
        provenance=test.provenance,
    )


class StackedRows:
    """Rows of matrices below each other, as one lazy matrix.

    Parameters
    ----------
    parts : sequence of (matrix, rows)
        An ndarray or lazy matrix each, and which of its rows.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, parts: Sequence[tuple[Any, np.ndarray]]) -> None:
        self._parts = tuple(parts)
        self._ends = np.cumsum([len(rows) for _, rows in parts])
        self.shape = (int(self._ends[-1]), parts[0][0].shape[1])
        self.dtype = np.result_type(*[X.dtype for X, _ in parts])
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return rows, in the order asked for."""
        indices = np.asarray(indices)
        part = np.searchsorted(self._ends, indices, side="right")
        out = np.empty((len(indices), self.shape[1]), self.dtype)
        for number, (X, rows) in enumerate(self._parts):
            mine = np.flatnonzero(part == number)
            start = self._ends[number] - len(rows)
            wanted = rows[indices[mine] - start]
            out[mine] = X.rows(wanted) if hasattr(X, "rows") else X[wanted]
        return out

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Return the columns from `start` to before `stop`."""
        blocks = [
            (X.columns(start, stop) if hasattr(X, "columns") else X[:, start:stop])[rows]
            for X, rows in self._parts
        ]
        return np.concatenate(blocks)


def _match_classes(train: FeatureSet, test: FeatureSet) -> np.ndarray:
    """Return the class number, among those of `train`, of each row of `test`; -1 for none."""
    exact = {name: i for i, name in enumerate(train.classes)}
    loose: dict[str, int] = {}
    for i, name in enumerate(train.classes):
        loose.setdefault(plain_name(name), i)
    found = [exact.get(name, loose.get(plain_name(name), -1)) for name in test.classes]
    numbers = np.array(found, np.int64)[test.y]
    shared = len(np.unique(numbers[numbers >= 0]))
    if shared < 2:
        raise SplitError(
            f"{train.dataset} and {test.dataset} have {shared} {train.target!r} classes in common, "
            f"of two or more needed. {train.dataset} has: {_listed(train.classes)}; "
            f"{test.dataset} has: {_listed(test.classes)}."
        )
    return numbers


def _about(train: FeatureSet, test: FeatureSet, kept: int) -> dict[str, Any]:
    known = {plain_name(name) for name in train.classes}
    tested = {plain_name(name) for name in test.classes}
    return {
        "test_on": test.dataset,
        "test_on_classes": {
            "only_in_training": [name for name in train.classes if plain_name(name) not in tested],
            "only_in_test": [name for name in test.classes if plain_name(name) not in known],
            "rows_left_out": len(test.y) - kept,
        },
    }


def _missing(source: Source, data: str | os.PathLike[str]) -> CacheMissError:
    from featx.specstring import format_spec

    if not source.parts:  # a file of embeddings
        return CacheMissError(
            f"{os.fspath(data)!r} has no features like those to train on. Name a file of "
            "embeddings there too, with a set of the same name and width."
        )
    view, tap = source.parts[0]
    key = view.key
    backbone = format_spec(key.backbone, key.params)
    weights = view.provenance["weights"] or view.provenance["weights_kind"]
    size = f"{key.image.height}x{key.image.width}"
    words = ["featx", "extract", os.fspath(data), "--backbone", backbone, "--pooling", tap]
    words += ["--weights", weights, "--image-size", size]
    for option, value in (("--precision", key.precision), ("--stored", key.stored)):
        words += [option, value] if value != "float32" else []
    copies = sorted(copy.key.image.view for copy in source.copies)
    several = " with copies of the images" if copies else ""
    return CacheMissError(
        f"{os.fspath(data)!r} has no features made like those to train on: {backbone} {tap} at "
        f"{size}, {key.precision}, the same weights{several}. Name what both have with --backbone "
        f"and --pooling, or run first: {shlex.join(words)}"
    )


def _listed(names: Sequence[str], most: int = 6) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
