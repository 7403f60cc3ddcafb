"""Fit and compare heads on the cached features of a data set; no image is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from featx.backbones.parse import Size
    from featx.compare import ShownComparison
    from featx.evaluate import TestOutcomes
    from featx.progress import Bars
    from featx.records import FeatureSet, HeadSpec, RunRecord, TestSetRecord
    from featx.sources import Source
    from featx.targets import Attributes


def classify(
    data: str | os.PathLike[str] = "digits",
    *,
    backbones: Sequence[str] = (),
    taps: Sequence[str] = (),
    weights: Sequence[str] = (),
    image_size: Size | list[Size] | None = None,
    use_views: bool = False,
    heads: Sequence[str] = ("linear_svc", "logreg"),
    shots: Sequence[int | None] = (None,),
    draws: int = 3,
    folds: int = 5,
    test_fraction: float = 0.3,
    seed: int = 0,
    target: str | None = None,
    attributes: str | os.PathLike[str] | None = None,
    test_on: str | os.PathLike[str] | None = None,
    fuse: Sequence[str] = (),
    fused_only: bool = False,
    average: Sequence[int] = (),
    cache_dir: str | os.PathLike[str] = "features",
    runs_dir: str | os.PathLike[str] | None = "runs",
    progress: bool = False,
) -> ShownComparison:
    """Fit every head on every tap cached of `data`, keep the records, and compare them.

    Parameters
    ----------
    data, backbones, taps, weights, image_size, fuse, fused_only, cache_dir
        Which features; see `featx.views.find_sources`.
    use_views : bool
        Beside each single source, show it with the altered copies of its images that `extract`
        cached: rows to learn from, and averaged with the image's own scores when testing.
    heads : sequence of str
        Spec strings: "linear_svc(C=0.1)".
    shots : sequence of int or None
        Training images a class; None is all.
    draws, folds, test_fraction, seed
        See `featx.evaluate.evaluate`.
    target : str, optional
        Label column; default: the first. For several see `classify_targets`.
    attributes : path, optional
        A class → attribute table, whose attributes are label columns too
        (`featx.targets.read_attributes`). What is learnt of one is split and drawn by the classes.
    test_on : str or path, optional
        Another data set with the same classes, cached in the same way: train on all images of
        `data`, test on all of this (`featx.across.join_datasets`).
    average : sequence of int
        For each number, at least 2, a row that averages the probabilities of so many heads: those
        best on held-out training rows, over all features compared (`featx.evaluate.average`).
    runs_dir : path, optional
        Where a record of each run is written; None writes none.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    ShownComparison
        A `Comparison` that prints as a table, and shows as one in a notebook.

    Raises
    ------
    CacheMissError
        Something asked for is not cached; says the command that makes it.
    DatasetError
        The table of attributes cannot be read, or lacks a class.
    SpecError, SplitError, HeadError
        As `evaluate`.
    """
    found = classify_targets(
        data,
        targets=[target or ""],  # not none: that would be all attributes too
        attributes=attributes,
        test_on=test_on,
        backbones=backbones,
        taps=taps,
        weights=weights,
        image_size=image_size,
        use_views=use_views,
        heads=heads,
        shots=shots,
        draws=draws,
        folds=folds,
        test_fraction=test_fraction,
        seed=seed,
        fuse=fuse,
        fused_only=fused_only,
        average=average,
        cache_dir=cache_dir,
        runs_dir=runs_dir,
        progress=progress,
    )
    (comparison,) = found.values()
    return comparison


def classify_targets(
    data: str | os.PathLike[str] = "digits",
    *,
    targets: Sequence[str] = (),
    attributes: str | os.PathLike[str] | None = None,
    test_on: str | os.PathLike[str] | None = None,
    backbones: Sequence[str] = (),
    taps: Sequence[str] = (),
    weights: Sequence[str] = (),
    image_size: Size | list[Size] | None = None,
    use_views: bool = False,
    heads: Sequence[str] = ("linear_svc", "logreg"),
    shots: Sequence[int | None] = (None,),
    draws: int = 3,
    folds: int = 5,
    test_fraction: float = 0.3,
    seed: int = 0,
    fuse: Sequence[str] = (),
    fused_only: bool = False,
    average: Sequence[int] = (),
    cache_dir: str | os.PathLike[str] = "features",
    runs_dir: str | os.PathLike[str] | None = "runs",
    progress: bool = False,
) -> dict[str, ShownComparison]:
    """Fit every head for each of several label columns, on the same images.

    A head a column, and beside each `mlp` one network with an output a column, `mlp(joint=True)`.
    Splits and draws are made by the first column, or by the classes that it is an attribute of, so
    that no image is trained on for one column and tested on for another.

    Parameters
    ----------
    targets : sequence of str
        Label columns of the data set and of the table; "" is the first. None of them named: the
        first, and all attributes.
    data, attributes, test_on, backbones, taps, ...
        As `classify`.

    Returns
    -------
    dict of str to ShownComparison
        A column each, in the order of `targets`: runs of different columns are never held against
        each other.

    Raises
    ------
    CacheMissError, DatasetError, SpecError, SplitError, HeadError
        As `classify`.
    """
    from featx.across import match_sources
    from featx.backbones import list_sizes
    from featx.compare import compare
    from featx.evaluate import check_count
    from featx.heads import parse_head
    from featx.progress import Bars
    from featx.runs import save_run
    from featx.store import local_cache
    from featx.targets import read_attributes
    from featx.views import find_sources, with_copies

    cache_dir = local_cache(cache_dir)
    specs = [parse_head(text) for text in heads]  # a wrong name is told before any work is done
    table = None if attributes is None else read_attributes(attributes)

    def sources_of(data: str | os.PathLike[str]) -> list[Source]:
        found = [
            source
            for size in list_sizes(image_size)
            for source in find_sources(
                data,
                backbones=backbones,
                taps=taps,
                weights=weights,
                image_size=(size, size) if isinstance(size, int) else size,
                fuse=fuse,
                fused_only=fused_only,
                cache_dir=cache_dir,
            )
        ]
        return with_copies(found) if use_views else found

    sources = sources_of(data)
    others = None if test_on is None else match_sources(sources, sources_of(test_on), test_on)
    for n in average:
        averaged = {spec.text for spec in specs if not spec.params.get("joint")}
        check_count(n, len(sources) * len(averaged))
    with Bars(progress, unit="fit") as bars:
        run = _Runs(specs, tuple(average), bars)
        for i, source in enumerate(sources):
            columns, tested = _load(source, others[i] if others else None, targets, table)
            run.evaluate(
                columns,
                tested,
                shots=shots,
                draws=draws,
                folds=folds,
                test_fraction=test_fraction,
                seed=seed,
            )
    comparisons = {}
    for target, records in run.finish().items():
        if runs_dir is not None:
            for record in records:  # the images tested on are written with the first run on them
                digest = record.split["test_digest"]
                save_run(record, runs_dir, test_set=run.tested.pop(digest, None))
        comparisons[target] = compare(records)
    return comparisons


class _Runs:
    """The runs of all sources, a list a label column."""

    def __init__(self, specs: Sequence[HeadSpec], average: Sequence[int], bars: Bars) -> None:
        self._specs, self._average, self._bars = specs, average, bars
        self._records: dict[str, list[RunRecord]] = {}
        self._outcomes: dict[str, TestOutcomes] = {}
        self.tested: dict[str, TestSetRecord] = {}

    def evaluate(
        self,
        columns: Sequence[FeatureSet],
        tested: Sequence[FeatureSet] | None,
        *,
        folds: int,
        **options: Any,
    ) -> None:
        """Fit all heads on one source, once a label column, then those of several columns."""
        from featx.evaluate import TestOutcomes, evaluate, evaluate_joint, list_tested

        first = columns[0]
        show = partial(_show, self._bars, f"{first.provenance['backbone']} {first.tap}")
        single, joint = _divide(self._specs, len(columns))
        for features in columns:
            records = self._records.setdefault(features.target, [])
            outcomes = None
            if self._average:
                made = TestOutcomes(max(self._average))
                outcomes = self._outcomes.setdefault(features.target, made)
            if single:
                records += evaluate(
                    features, single, folds=folds, progress=show, outcomes=outcomes, **options
                )
        if joint:
            for record in evaluate_joint(columns, joint, progress=show, **options):
                self._records[record.split["target"]].append(record)
        for i, features in enumerate(columns):
            last = self._records[features.target][-1]
            rows = last.arrays["test_rows"]
            shown = list_tested(features, rows)
            if tested is not None:
                shown = list_tested(tested[i], np.arange(len(rows)))
            self.tested[last.split["test_digest"]] = shown

    def finish(self) -> dict[str, list[RunRecord]]:
        """Add the averages, and return the records by label column."""
        from featx.evaluate import average_best

        for target, outcomes in self._outcomes.items():
            for n in dict.fromkeys(self._average):
                self._records[target] += average_best(outcomes, n)
        return self._records


def _divide(specs: Sequence[HeadSpec], n_columns: int) -> tuple[list[HeadSpec], list[HeadSpec]]:
    """Return the heads that learn one column, and the networks that learn all at once.

    With several columns each plain `mlp` has a joint one beside it.
    """
    if n_columns == 1:
        return list(specs), []  # a joint one is refused with the remedy
    single = [s for s in specs if not s.params.get("joint")]
    joint = [replace(s, params={**s.params, "joint": True}) for s in specs if s.name == "mlp"]
    return single, joint


def _load(
    source: Source,
    other: Source | None,
    targets: Sequence[str],
    attributes: Attributes | None,
) -> tuple[list[FeatureSet], list[FeatureSet] | None]:
    """Return the features, a label column each, and of joined data sets the part tested on."""
    from featx.across import join_datasets, part_tested
    from featx.targets import load_targets

    columns = load_targets(source, targets, attributes)
    if other is None:
        return columns, None
    test = load_targets(other, targets, attributes)
    joined = join_datasets(columns, test)
    return joined, [part_tested(t, j) for t, j in zip(test, joined, strict=True)]


def _show(bars: Bars, label: str, record: RunRecord, done: int, total: int) -> None:
    bars(label, done, total)
