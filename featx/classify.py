"""Fit and compare heads on the cached features of a data set; no image is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featx.backbones.parse import Size
    from featx.compare import ShownComparison
    from featx.evaluate import TestOutcomes
    from featx.records import RunRecord, TestSetRecord
    from featx.sources import Source
    from featx.sweep import Swept


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
    cluster: str | None = None,
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
    cluster : str, optional
        Make the runs on workers: "local" is processes on this machine, one a processor; "auto",
        "ray://HOST:PORT" or "HOST:PORT" is a Ray cluster. Records are the same, but for times and
        memory. None is this process, with all threads in one run.
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
    ClusterError
        No cluster answers, or its workers do not see the cache.
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
        cluster=cluster,
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
    cluster: str | None = None,
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
    CacheMissError, DatasetError, SpecError, SplitError, HeadError, ClusterError
        As `classify`.
    """
    from featx.across import match_sources
    from featx.backbones import list_sizes
    from featx.cluster import require_known
    from featx.compare import compare
    from featx.evaluate import check_count
    from featx.heads import parse_head
    from featx.progress import Bars
    from featx.runs import save_run
    from featx.store import local_cache
    from featx.sweep import Request, sweep
    from featx.targets import read_attributes
    from featx.views import find_sources, with_copies

    cache_dir = local_cache(cache_dir)
    if cluster is not None:
        require_known(cluster)
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
    made = _Made(tuple(average))
    requests = [
        Request(
            source,
            others[i] if others else None,
            tuple(targets),
            table,
            tuple(specs),
            options={
                "shots": tuple(shots),
                "draws": draws,
                "test_fraction": test_fraction,
                "seed": seed,
            },
            folds=folds,
            scored=bool(average),
        )
        for i, source in enumerate(sources)
    ]
    with Bars(progress, unit="fit") as bars:
        for swept in sweep(requests, cluster, bars):
            made.add(swept)
    comparisons = {}
    for target, records in made.finish().items():
        if runs_dir is not None:
            for record in records:  # the images tested on are written with the first run on them
                digest = record.split["test_digest"]
                save_run(record, runs_dir, test_set=made.tested.pop(digest, None))
        comparisons[target] = compare(records)
    return comparisons


class _Made:
    """The runs of all sources, a list a label column."""

    def __init__(self, average: Sequence[int]) -> None:
        self._average = average
        self._records: dict[str, list[RunRecord]] = {}
        self._outcomes: dict[str, TestOutcomes] = {}
        self.tested: dict[str, TestSetRecord] = {}

    def add(self, swept: Swept) -> None:
        """Take in the runs of one source."""
        from featx.evaluate import TestOutcomes

        for target in swept.targets:
            self._records.setdefault(target, [])
            if self._average:
                self._outcomes.setdefault(target, TestOutcomes(max(self._average)))
        for run in swept.runs:
            target = run.record.split["target"]
            self._records[target].append(run.record)
            if run.probabilities is not None:
                self._outcomes[target].add(run.record, run.probabilities)
        self.tested |= swept.tested

    def finish(self) -> dict[str, list[RunRecord]]:
        """Add the averages, and return the records by label column."""
        from featx.evaluate import average_best

        for target, outcomes in self._outcomes.items():
            for n in dict.fromkeys(self._average):
                self._records[target] += average_best(outcomes, n)
        return self._records
