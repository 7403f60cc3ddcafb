"""Fit and compare heads on the cached features of a data set; no image is opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from featx.errors import CacheMissError

if TYPE_CHECKING:
    from featx.progress import Bars
    from featx.records import Comparison, RunRecord
    from featx.store import ViewInfo


def classify(
    data: str | os.PathLike[str] = "digits",
    *,
    backbones: Sequence[str] = (),
    taps: Sequence[str] = (),
    weights: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    heads: Sequence[str] = ("linear_svc", "logreg"),
    shots: Sequence[int | None] = (None,),
    draws: int = 3,
    folds: int = 5,
    test_fraction: float = 0.3,
    seed: int = 0,
    target: str | None = None,
    cache_dir: str | os.PathLike[str] = "features",
    runs_dir: str | os.PathLike[str] | None = "runs",
    progress: bool = False,
) -> Comparison:
    """Fit every head on every tap cached of `data`, keep the records, and compare them.

    Parameters
    ----------
    data, backbones, taps, weights, image_size, cache_dir
        Which features; see `find_views`.
    heads : sequence of str
        Spec strings: "linear_svc(C=0.1)".
    shots : sequence of int or None
        Training images a class; None is all.
    draws, folds, test_fraction, seed
        See `featx.evaluate.evaluate`.
    target : str, optional
        Label column; default: the first.
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
    from featx.compare import compare
    from featx.evaluate import evaluate
    from featx.heads import parse_head
    from featx.progress import Bars
    from featx.runs import save_run
    from featx.store import load_features

    specs = [parse_head(text) for text in heads]  # a wrong name is told before any work is done
    views = find_views(
        data,
        backbones=backbones,
        taps=taps,
        weights=weights,
        image_size=image_size,
        cache_dir=cache_dir,
    )
    records = []
    with Bars(progress, unit="fit") as bars:
        for view in views:
            for tap in taps or view.taps:
                features = load_features(view.path, tap, target=target)
                label = f"{view.provenance['backbone']} {tap}"
                records += evaluate(
                    features,
                    specs,
                    shots=shots,
                    draws=draws,
                    folds=folds,
                    test_fraction=test_fraction,
                    seed=seed,
                    progress=partial(_show, bars, label),
                )
    if runs_dir is not None:
        for record in records:
            save_run(record, runs_dir)
    return compare(records)


def find_views(
    data: str | os.PathLike[str],
    *,
    backbones: Sequence[str] = (),
    taps: Sequence[str] = (),
    weights: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    cache_dir: str | os.PathLike[str] = "features",
) -> list[ViewInfo]:
    """Find what is cached of a data set.

    Parameters
    ----------
    data : str or path
        What was given to `extract`, the data set's name in the cache, or an entry's folder.
    backbones, taps, weights : sequence of str
        Only these; empty means all there are. `weights` is one for all backbones or one for each.
    image_size : (height, width), optional
        Only entries of this input size.
    cache_dir : path

    Returns
    -------
    list of ViewInfo
        In the order of `backbones`, else by name.

    Raises
    ------
    CacheMissError
        Something asked for is not there; says the command that makes it.
    """
    from featx.extraction import pair_backbones

    where = os.fspath(cache_dir)
    found = _views_of(data, Path(cache_dir))
    if not found:
        raise CacheMissError(
            f"No features of {os.fspath(data)!r} in {where!r}. Run first: "
            f"{_command(data, backbones, taps, weights)}"
        )
    if image_size:
        found = [v for v in found if (v.key.image.height, v.key.image.width) == image_size]
    names = list(backbones) or sorted({_spec_text(v) for v in found})
    result = []
    for spec in pair_backbones(names, weights, image_size, default="any"):
        remedy = _command(data, [spec.text], taps, [w for w in weights if w == spec.weights])
        matching = [v for v in found if _spec_text(v) == spec.text and _has(v, spec.weights)]
        if not matching:
            what = spec.text if spec.weights == "any" else f"{spec.text} ({spec.weights} weights)"
            size = f" at {image_size[0]}x{image_size[1]}" if image_size else ""
            raise CacheMissError(
                f"No features of {os.fspath(data)!r} from {what}{size} in {where!r}. "
                f"Run first: {remedy}"
            )
        for view in matching:
            missing = [t for t in taps if t not in view.taps]
            if missing:
                raise CacheMissError(
                    f"{view.path} has no tap {missing[0]!r}, it has: {', '.join(view.taps)}. "
                    f"Run first: {remedy}"
                )
        trained = [v for v in matching if v.provenance["weights_kind"] == "imagenet"]
        result += trained if spec.weights == "auto" and trained else matching
    return result


def _views_of(data: str | os.PathLike[str], cache_dir: Path) -> list[ViewInfo]:
    from featx.extraction import source_text
    from featx.store import about_view

    folder = Path(data)
    if (folder / "cache.h5").is_file():
        view = about_view(folder)
        return [view] if view else []
    views = [v for path in sorted(cache_dir.glob("*/*/cache.h5")) if (v := about_view(path.parent))]
    source = source_text(data)
    found = [v for v in views if v.provenance.get("source") == source]
    return found or [v for v in views if os.fspath(data) in (v.dataset, v.path.parent.name)]


def _spec_text(view: ViewInfo) -> str:
    from featx.specstring import format_spec

    return format_spec(view.key.backbone, view.key.params)


def _has(view: ViewInfo, weights: str) -> bool:
    """Return whether the features were made with the `weights` asked for."""
    kind = view.provenance["weights_kind"]
    if weights in ("any", "auto"):
        return weights == "any" or kind != "file"
    if weights in ("imagenet", "random"):
        return bool(kind == weights)
    return kind == "file" and view.provenance["weights"] == os.path.abspath(weights)


def _show(bars: Bars, label: str, record: RunRecord, done: int, total: int) -> None:
    bars(label, done, total)


def _command(
    data: str | os.PathLike[str],
    backbones: Sequence[str],
    taps: Sequence[str],
    weights: Sequence[str],
) -> str:
    """Return the extract command that makes what is missing."""
    import shlex

    words = ["featx", "extract", os.fspath(data)]
    for option, values in (("--backbone", backbones), ("--pooling", taps), ("--weights", weights)):
        if values:
            words += [option, ",".join(values)]
    return shlex.join(words)
