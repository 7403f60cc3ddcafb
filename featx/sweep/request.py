"""What a sweep makes of one source of features; small, so that it can be sent to any process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from featx.across import join_datasets, part_tested
from featx.evaluate import HeadRuns, JointRuns, Run, list_tested
from featx.evaluate.sealed import ReadWhole
from featx.progress import Bars
from featx.records import FeatureSet, HeadSpec, TestSetRecord
from featx.sources import Source
from featx.targets import Attributes, load_targets

Group = HeadRuns | JointRuns
"""Runs of one label column, or of networks that learn all of them."""


@dataclass(frozen=True)
class Swept:
    """The runs of one request.

    Attributes
    ----------
    targets : tuple of str
        Label columns.
    runs : iterable of Run
        By group, then by place.
    tested : mapping of str to TestSetRecord
        The images tested on, by the test digest of their records.
    """

    targets: tuple[str, ...]
    runs: Iterable[Run]
    tested: Mapping[str, TestSetRecord]


@dataclass(frozen=True)
class Request:
    """Heads to be fitted on one source.

    Attributes
    ----------
    source : Source
    other : Source or None
        Of the data set to test on, where that is another.
    targets, attributes
        As `featx.targets.load_targets`.
    heads : sequence of HeadSpec
    options : mapping
        "shots", "draws", "seed" and "test_fraction" of `featx.evaluate.evaluate`.
    folds : int
    scored : bool
        Score every head on held-out training rows, for averages.
    """

    source: Source
    other: Source | None
    targets: tuple[str, ...]
    attributes: Attributes | None
    heads: tuple[HeadSpec, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    folds: int = 5
    scored: bool = False

    def open(self, *, lazy: bool = False) -> Opened:
        """Read the labels, and the features unless they are to be left on the disk.

        Raises
        ------
        CacheMissError, CacheCorruptError, DatasetError, SpecError
            As `load_targets`.
        """
        columns = load_targets(self.source, self.targets, self.attributes, lazy=lazy)
        tested = columns
        if self.other is not None:
            test = load_targets(self.other, self.targets, self.attributes, lazy=lazy)
            columns = join_datasets(columns, test)
            tested = [part_tested(t, j) for t, j in zip(test, columns, strict=True)]
        elif lazy and len(self.source.parts) == 1:  # without `lazy` it would be in memory
            whole = ReadWhole(columns[0].X)
            columns = [replace(features, X=whole) for features in columns]
        return Opened(self, columns, tested)


class Opened:
    """A request whose labels are read.

    Parameters
    ----------
    request : Request
    columns : sequence of FeatureSet
        A label column each.
    tested : sequence of FeatureSet
        What the test rows are named by: the columns, or the part of another data set.

    Attributes
    ----------
    groups : list of callable
        Each makes a `Group` anew, none of whose runs are made; one at a time is to be kept, since
        it holds rows.
    """

    def __init__(
        self, request: Request, columns: Sequence[FeatureSet], tested: Sequence[FeatureSet]
    ) -> None:
        self._columns, self._tested, self._other = columns, tested, request.other is not None
        single, joint = _divide(request.heads, len(columns))
        more: dict[str, Any] = {"folds": request.folds, "scored": request.scored}
        self.groups: list[Callable[[], Group]] = [
            partial(HeadRuns, features, single, **request.options, **more)
            for features in columns
            if single
        ]
        if joint:
            self.groups.append(partial(JointRuns, columns, joint, **request.options))

    @property
    def targets(self) -> tuple[str, ...]:
        """Label columns."""
        return tuple(features.target for features in self._columns)

    @property
    def label(self) -> str:
        """Backbone and tap."""
        first = self._columns[0]
        return f"{first.provenance['backbone']} {first.tap}"

    def list_tested(self, group: Group) -> dict[str, TestSetRecord]:
        """Return the images that the runs of a group are tested on, by test digest."""
        rows = np.arange(len(group.test_rows)) if self._other else group.test_rows
        named = [
            f for f in self._tested if isinstance(group, JointRuns) or f.target == group.target
        ]
        return {
            digest: list_tested(features, rows)
            for digest, features in zip(group.test_digests, named, strict=True)
        }

    def swept(self, bars: Bars) -> Swept:
        """Return all runs, to be made in this process as they are taken."""
        tested: dict[str, TestSetRecord] = {}
        return Swept(self.targets, self._make(bars, tested), tested)

    def _make(self, bars: Bars, tested: dict[str, TestSetRecord]) -> Iterator[Run]:
        for make in self.groups:
            group = make()
            done = 0
            for piece in group.draws():
                for run in group.run(piece):
                    yield run
                    done += 1
                    bars(self.label, done, group.total)
            tested.update(self.list_tested(group))


def _divide(specs: Sequence[HeadSpec], n_columns: int) -> tuple[list[HeadSpec], list[HeadSpec]]:
    """Return the heads that learn one column, and the networks that learn all at once.

    With several columns each plain `mlp` has a joint one beside it.
    """
    if n_columns == 1:
        return list(specs), []  # a joint one is refused with the remedy
    single = [s for s in specs if not s.params.get("joint")]
    joint = [replace(s, params={**s.params, "joint": True}) for s in specs if s.name == "mlp"]
    return single, joint
