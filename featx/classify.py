"""Fit and compare heads on the cached features of a data set; no image is opened."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.errors import CacheMissError

if TYPE_CHECKING:
    from featx.records import Comparison, RunRecord


@dataclass(frozen=True)
class CachedTap:
    """One tap of one cache entry, ready to be loaded."""

    path: str
    backbone: str
    tap: str


def find_taps(
    data: str | os.PathLike[str],
    *,
    backbones: Sequence[str] = (),
    taps: Sequence[str] = (),
    weights: Sequence[str] = (),
    image_size: tuple[int, int] | None = None,
    cache_dir: str | os.PathLike[str] = "features",
) -> list[CachedTap]:
    """Find what is cached of a data set.

    Parameters
    ----------
    data : str or path
        What was given to `extract`, or the data set's name in the cache.
    backbones, taps, weights : sequence of str
        Only these; empty means all there are. `weights` is one for all backbones or one for each.
    image_size : (height, width), optional
        Only entries of this input size.
    cache_dir : path

    Returns
    -------
    list of CachedTap
        In the order of `backbones` and `taps`, else by name.

    Raises
    ------
    CacheMissError
        Something asked for is not there; says the command that makes it.
    """
    from featx.backbones import parse_backbone
    from featx.extract import default_weights, source_text

    found = [e for e in _entries(cache_dir) if e.matches(data, source_text(data))]
    if not found:
        raise CacheMissError(
            f"No features of {os.fspath(data)!r} in {os.fspath(cache_dir)!r}. "
            f"Run first: {_command(data, backbones, taps, weights)}"
        )
    if image_size:
        found = [e for e in found if e.image_size == image_size]
    wanted = [parse_backbone(text, weights="random").text for text in backbones]
    wanted = list(dict.fromkeys(wanted)) or sorted({e.backbone for e in found})
    sources = list(weights) or [""]
    sources = sources * len(wanted) if len(sources) == 1 else sources
    result = []
    for name, source in zip(wanted, sources, strict=True):
        entries = [e for e in found if e.backbone == name and e.has_weights(source)]
        if not entries:
            raise CacheMissError(
                f"No features of {os.fspath(data)!r} from {name}"
                f"{f' with weights {source}' if source else ''} in {os.fspath(cache_dir)!r}. "
                f"Run first: {_command(data, [name], taps, [source] if source else [])}"
            )
        for entry in entries:
            missing = [t for t in taps if t not in entry.taps]
            if missing:
                raise CacheMissError(
                    f"{entry.path} has no tap {missing[0]!r}, it has: {', '.join(entry.taps)}. "
                    f"Run first: {_command(data, [name], taps, [source] if source else [])}"
                )
            result += [CachedTap(entry.path, name, tap) for tap in taps or entry.taps]
    return result
