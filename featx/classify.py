"""Fit and compare heads on the cached features of a data set; no image is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featx.backbones.parse import Size
    from featx.progress import Bars
    from featx.records import Comparison, RunRecord


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
    fuse: Sequence[str] = (),
    fused_only: bool = False,
    average: Sequence[int] = (),
    cache_dir: str | os.PathLike[str] = "features",
    runs_dir: str | os.PathLike[str] | None = "runs",
    progress: bool = False,
) -> Comparison:
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
        Label column; default: the first.
    average : sequence of int
        For each number, at least 2, a row that averages the probabilities of so many heads: those
        best on held-out training rows, over all features compared (`featx.evaluate.average`).
    runs_dir : path, optional
        Where a record of each run is written; None writes none.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Comparison

    Raises
    ------
    CacheMissError
        Something asked for is not cached; says the command that makes it.
    SpecError, SplitError, HeadError
        As `evaluate`.
    """
    from featx.backbones import list_sizes
    from featx.compare import compare
    from featx.evaluate import TestOutcomes, average_best, check_count, evaluate, list_tested
    from featx.heads import parse_head
    from featx.progress import Bars
    from featx.runs import save_run
    from featx.views import find_sources, with_copies

    specs = [parse_head(text) for text in heads]  # a wrong name is told before any work is done
    sources = [
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
    if use_views:
        sources = with_copies(sources)
    for n in average:
        check_count(n, len(sources) * len({spec.text for spec in specs}))
    outcomes = TestOutcomes(max(average)) if average else None
    records = []
    tested = {}
    with Bars(progress, unit="fit") as bars:
        for source in sources:
            features = source.load(target)
            label = f"{features.provenance['backbone']} {features.tap}"
            made = evaluate(
                features,
                specs,
                shots=shots,
                draws=draws,
                folds=folds,
                test_fraction=test_fraction,
                seed=seed,
                progress=partial(_show, bars, label),
                outcomes=outcomes,
            )
            digest = made[0].split["test_digest"]
            tested[digest] = list_tested(features, made[0].arrays["test_rows"])
            records += made
    if outcomes is not None:
        for n in dict.fromkeys(average):
            records += average_best(outcomes, n)
    if runs_dir is not None:
        for record in records:  # the images tested on are written with the first run on them
            save_run(record, runs_dir, test_set=tested.pop(record.split["test_digest"], None))
    return compare(records)


def _show(bars: Bars, label: str, record: RunRecord, done: int, total: int) -> None:
    bars(label, done, total)
