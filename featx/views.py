"""What is cached of a data set: the features to compare, or the command that makes them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from featx.errors import CacheMissError, SpecError
from featx.sources import Source, sources_in_file

if TYPE_CHECKING:
    from featx.store import ViewInfo


def find_sources(
    data: str | os.PathLike[str],
    *,
    backbones: Sequence[str] = (),
    taps: Sequence[str] = (),
    weights: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    fuse: Sequence[str] = (),
    fused_only: bool = False,
    cache_dir: str | os.PathLike[str] = "features",
) -> list[Source]:
    """Find the features to compare: single taps, then fusions of them.

    Parameters
    ----------
    data, backbones, taps, image_size, cache_dir
        As `find_views`; `data` may also be a file of embeddings (`featx.embeddings`), of which
        `taps` alone can choose.
    weights : sequence of str
        One for all, or one for each of `backbones`, then of the fused ones that are not among
        them, in their order.
    fuse : sequence of str
        Backbones to put side by side: "vgg16+resnet50", "vgg16:flatten+resnet50:avg". A part
        without a tap is taken at each of `taps` in turn, else at "avg". With no `backbones` the
        single features are the parts.
    fused_only : bool
        Leave the single features out.

    Returns
    -------
    list of Source
        Each once.

    Raises
    ------
    CacheMissError
        Something asked for is not there; says the command that makes it.
    SpecError
        A fusion that cannot be read, of one part, of the same part twice, or of a backbone that
        is cached with several weights or sizes; or one of a file of embeddings.
    DatasetError
        A file of embeddings that cannot be read.
    """
    from featx.backbones import parse_backbone
    from featx.embeddings import is_embeddings
    from featx.extraction.request import pair_backbones
    from featx.fuse import parse_fusion

    data = _entry_of(data)
    if is_embeddings(data):
        given = {
            "--backbone": backbones,
            "--weights": weights,
            "--image-size": image_size,
            "--fuse": fuse,
            "--fused-only": fused_only,
        }
        return sources_in_file(data, taps, [option for option, value in given.items() if value])
    if fused_only and not fuse:
        raise SpecError("Only fused features are asked for, but none are named: add --fuse A+B.")
    if fused_only and backbones:
        raise SpecError(
            f"Only fused features are asked for, and those of {', '.join(backbones)} too: leave "
            "out --fused-only or --backbone."
        )
    fusions = [fusion for text in fuse for fusion in parse_fusion(text, taps or ("avg",))]
    named = [parse_backbone(text).text for text in backbones]
    names = list(dict.fromkeys([*named, *(name for fusion in fusions for name, _ in fusion)]))
    specs = {s.text: s for s in pair_backbones(names, weights, image_size, default="any")}
    if fusions and not _views_of(data, Path(cache_dir)):
        wanted = list(dict.fromkeys(tap for fusion in fusions for _, tap in fusion))
        raise _nothing_cached(data, names, wanted, weights, image_size, cache_dir)

    def views_of(name: str, taps: Sequence[str]) -> list[ViewInfo]:
        given = [specs[name].weights] if weights else []
        return find_views(
            data,
            backbones=[name],
            taps=taps,
            weights=given,
            image_size=image_size,
            cache_dir=cache_dir,
        )

    fused = [
        Source(tuple((_only_one(views_of(name, [tap]), name), tap) for name, tap in fusion))
        for fusion in fusions
    ]
    singles = [Source((part,)) for source in fused for part in source.parts]
    if named:
        singles = [
            Source(((view, tap),))
            for name in named
            for view in views_of(name, taps)
            for tap in taps or view.taps
        ]
    elif not fused:
        views = find_views(
            data, taps=taps, weights=weights, image_size=image_size, cache_dir=cache_dir
        )
        singles = [Source(((view, tap),)) for view in views for tap in taps or view.taps]
    sources = fused if fused_only else [*singles, *fused]
    distinct = {tuple((view.path, tap) for view, tap in s.parts): s for s in sources}
    return list(distinct.values())


def _entry_of(data: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """Return the entry's folder where its cache.h5 is named, else what was given."""
    path = Path(data)
    return path.parent if path.name == "cache.h5" and (path.parent / "parts").is_dir() else data


def with_copies(sources: Sequence[Source]) -> list[Source]:
    """Add to each single source one that also uses the altered copies cached of its images.

    Raises
    ------
    CacheMissError
        There are none of any source.
    """
    from featx.store import about_view

    added = []
    for source in sources:
        if len(source.parts) != 1:
            continue
        ((own, tap),) = source.parts
        entries = [about_view(p.parent) for p in sorted(own.path.parent.glob("*/cache.h5"))]
        found = [v for v in entries if v and v.key.image.view and tap in v.taps]
        copies = sorted(
            (v for v in found if replace(v.key, image=replace(v.key.image, view="")) == own.key),
            key=lambda v: v.key.image.view,
        )
        if copies:
            added.append(Source(source.parts, tuple(copies)))
    if not added:
        raise CacheMissError(
            "No altered copies of the images are cached. Add --views flip (or a number) to the "
            "featx extract command that made the features."
        )
    return [*sources, *added]


def _only_one(views: Sequence[ViewInfo], name: str) -> ViewInfo:
    """Return the view; a part of a fusion must be one and no other."""
    if len(views) > 1:
        found = "; ".join(
            f"{v.provenance['weights'] or v.provenance['weights_kind']} at "
            f"{v.key.image.height}x{v.key.image.width}"
            for v in views
        )
        raise SpecError(
            f"{name} is cached {len(views)} times ({found}): say which to fuse with --weights or "
            "--image-size, or remove one with featx cache rm."
        )
    return views[0]


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
    from featx.extraction.request import pair_backbones

    where = os.fspath(cache_dir)
    found = _views_of(data, Path(cache_dir))
    if not found:
        raise _nothing_cached(data, backbones, taps, weights, image_size, cache_dir)
    found = [v for v in found if not v.key.image.view] or found
    if image_size:
        cached = sorted({_spec_text(v) for v in found})
        found = [v for v in found if (v.key.image.height, v.key.image.width) == image_size]
        if not found:
            raise _nothing_cached(data, backbones or cached, taps, weights, image_size, cache_dir)
    names = list(backbones) or sorted({_spec_text(v) for v in found})
    result = []
    for spec in pair_backbones(names, weights, image_size, default="any"):
        given = [w for w in weights if w == spec.weights]
        remedy = _command(data, [spec.text], taps, given, image_size)
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
                made_with = view.provenance["weights"] or view.provenance["weights_kind"]
                remedy = _command(data, [spec.text], taps, [made_with], image_size)
                raise CacheMissError(
                    f"{view.path} has no tap {missing[0]!r}, it has: {', '.join(view.taps)}. "
                    f"Run first: {remedy}"
                )
        trained = [v for v in matching if v.provenance["weights_kind"] == "imagenet"]
        result += trained if spec.weights == "auto" and trained else matching
    return result


def _views_of(data: str | os.PathLike[str], cache_dir: Path) -> list[ViewInfo]:
    from featx.extraction.request import source_text
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


def _nothing_cached(
    data: str | os.PathLike[str],
    backbones: Sequence[str],
    taps: Sequence[str],
    weights: Sequence[str],
    image_size: tuple[int, int] | None,
    cache_dir: str | os.PathLike[str],
) -> CacheMissError:
    size = f" at {image_size[0]}x{image_size[1]}" if image_size else ""
    return CacheMissError(
        f"No features of {os.fspath(data)!r}{size} in {os.fspath(cache_dir)!r}. Run first: "
        f"{_command(data, backbones, taps, weights, image_size)}"
    )


def _command(
    data: str | os.PathLike[str],
    backbones: Sequence[str],
    taps: Sequence[str],
    weights: Sequence[str],
    image_size: tuple[int, int] | None,
) -> str:
    """Return the extract command that makes what is missing."""
    import shlex

    words = ["featx", "extract", os.fspath(data)]
    for option, values in (("--backbone", backbones), ("--pooling", taps), ("--weights", weights)):
        if values:
            words += [option, ",".join(values)]
    if image_size:
        words += ["--image-size", "x".join(map(str, image_size))]
    return shlex.join(words)
