"""Plan and run an extraction: index the images, see what the cache lacks, compute just that."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featx.errors import CacheWriteError, ImageError, SpecError

if TYPE_CHECKING:
    from featx.engines.base import Engine
    from featx.records import BackboneSpec, DatasetIndex, TapSpec, WeightsRecord
    from featx.store import CacheEntry

# This module is imported with the package, so that `featx.extract` is the function below and not
# the module: whatever is heavier than the standard library is imported where it is used.

Texts = str | Sequence[str]


@dataclass(frozen=True)
class ExtractReport:
    """What an extraction did, or with `dry_run` would do.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    images : int
        Images found: extracted + reused + duplicates + set aside.
    extracted, reused, duplicates : int
        Images that a forward pass was made for, that were in the cache already, and whose bytes
        equal those of an image before them.
    quarantined : tuple of (path, reason)
        Images set aside.
    caches : tuple of mapping
        "backbone", "digest", "path" and "taps" an entry.
    seconds : mapping
        "total" on the clock; "decode" summed over threads, "forward" and "write" over backbones.
    engine, precision : str
        What ran the graphs; "" where nothing had to run.
    needs : mapping
        For a plan: "rows" to compute and "bytes" on disk.
    """

    dataset: str
    images: int
    extracted: int
    reused: int
    duplicates: int
    quarantined: tuple[tuple[str, str], ...]
    caches: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float]
    engine: str
    precision: str
    needs: Mapping[str, int] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the document of `featx extract --json`."""
        from featx.records import to_json

        document: dict[str, Any] = to_json(self)
        document["quarantined"] = [{"path": p, "reason": r} for p, r in self.quarantined]
        total = self.seconds["total"]
        document["images_per_second"] = self.extracted / total if total else 0.0
        if not self.needs:
            del document["needs"]
        return document

    def summary(self) -> str:
        """Return a few readable lines."""
        counts = [f"{self.images} images"]
        verb = "to extract" if self.needs else "extracted"
        counts += [f"{self.extracted} {verb}", f"{self.reused} reused"]
        if self.duplicates:
            counts.append(f"{self.duplicates} duplicates")
        if self.quarantined:
            counts.append(f"{len(self.quarantined)} set aside")
        lines = [f"{self.dataset}: {', '.join(counts)}"]
        if self.needs:
            size = self.needs["bytes"] / 1e6
            lines.append(f"plan: {self.needs['rows']} rows to compute, {size:.1f} MB to write")
        elif self.extracted:
            total = self.seconds["total"]
            lines.append(
                f"{total:.1f} s, {self.extracted / total:.0f} images/s "
                f"({self.engine}, {self.precision})"
            )
        else:
            lines.append(f"nothing to compute ({self.seconds['total']:.1f} s)")
        for cache in self.caches:
            taps = ", ".join(f"{t} {v['shape'][1]}" for t, v in cache["taps"].items())
            lines.append(f"  {cache['backbone']}: {taps or 'new'} -> {cache['path']}")
        return "\n".join(lines)


def extract(
    data: str | os.PathLike[str] = "digits",
    *,
    backbone: Texts = "mobilenet",
    pooling: Texts = "avg",
    weights: Texts | None = None,
    image_size: int | tuple[int, int] | None = None,
    engine: str = "auto",
    precision: str = "float32",
    stored: str = "float32",
    strict: bool = False,
    dry_run: bool = False,
    cache_dir: str | os.PathLike[str] = "features",
    name: str | None = None,
    progress: bool = False,
) -> ExtractReport:
    """Run frozen backbones over the images of `data` once and cache their features.

    Parameters
    ----------
    data : str or path
        A folder of class folders, a CSV manifest, an .npz, a .zip or .tar of these, or the name of
        a data set ("digits", "cifar10", "cifar100").
    backbone : str or sequence of str
        Spec strings: "mobilenet(alpha=0.25)".
    pooling : str or sequence of str
        Taps: "avg", "max", "flatten", "block4_pool:avg".
    weights : str or sequence of str, optional
        "imagenet", "random", "auto" or a path; one for all backbones or one for each. Default:
        "auto" for the embedded sample, else "imagenet".
    image_size : int or (height, width), optional
        Input size in pixels; default: each backbone's own.
    engine : str
        "auto", "openvino", "tensorflow" or "jax".
    precision, stored : str
        Numeric precision of the forward pass and of the rows on disk.
    strict : bool
        Stop at the first image that cannot be decoded, instead of setting it aside.
    dry_run : bool
        Only plan.
    cache_dir : path
        Where the cache is.
    name : str, optional
        Name of the data set in the cache; default: the folder's or file's.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    ExtractReport

    Raises
    ------
    DatasetError, BackboneError, EngineError, CacheError, SpecError
        With a message that names the remedy.

    Examples
    --------
    >>> report = featx.extract("photos", backbone="mobilenet", pooling="avg")  # doctest: +SKIP
    >>> features = featx.load_features(report.caches[0]["path"], tap="avg")  # doctest: +SKIP
    """
    started = time.perf_counter()
    from featx.datasets import index_dataset
    from featx.records import TapSpec

    specs = _parse_backbones(backbone, weights, image_size, default_weights(data))
    taps = tuple(dict.fromkeys(TapSpec.parse(t) for t in _listed(pooling)))
    if not taps:
        raise SpecError("No tap is asked for. Give --pooling avg, max, flatten or a layer.")
    root = Path(cache_dir)
    with _progress("index", progress) as bar:
        index = index_dataset(data, work_dir=root / ".sources", name=name, progress=bar)

    run = _Extraction(index, taps, root, source_text(data), engine, precision, stored, progress)
    for spec in specs:
        run.add(spec)
    if dry_run:
        return run.report(started, planned=True)
    run.compute(strict)
    run.publish()
    return run.report(started)


def default_weights(data: str | os.PathLike[str]) -> str:
    """Return what weights default to: the embedded sample must work without a network."""
    return "auto" if os.fspath(data) == "digits" else "imagenet"


def source_text(data: str | os.PathLike[str]) -> str:
    """Return how the cache remembers where a data set came from: an absolute path, or a name."""
    text = os.fspath(data)
    return os.path.abspath(text) if os.path.exists(text) else text


def _listed(value: Texts) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def _parse_backbones(
    backbone: Texts, weights: Texts | None, image_size: int | tuple[int, int] | None, default: str
) -> list[BackboneSpec]:
    from featx.backbones import parse_backbone

    names = list(dict.fromkeys(_listed(backbone)))
    sources = _listed(weights) if weights else [default]
    if len(sources) == 1:
        sources *= len(names)
    if len(sources) != len(names):
        raise SpecError(
            f"{len(names)} backbones but {len(sources)} weights. Give one for all, or one for "
            "each in the order of the backbones."
        )
    pairs = zip(names, sources, strict=True)
    return [parse_backbone(n, weights=w, image_size=image_size) for n, w in pairs]
