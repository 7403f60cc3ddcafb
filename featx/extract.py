"""Plan and run an extraction: index the images, see what the cache lacks, compute just that."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from featx.errors import SpecError

if TYPE_CHECKING:
    from featx.backbones.parse import Size
    from featx.extraction.report import ExtractReport

# This module is imported with the package, so that `featx.extract` is the function below and not
# the module: whatever is heavier than the standard library is imported where it is used.

Texts = str | Sequence[str]


def extract(
    data: str | os.PathLike[str] = "digits",
    *,
    backbone: Texts = "mobilenet",
    pooling: Texts = "avg",
    weights: Texts | None = None,
    image_size: Size | list[Size] | None = None,
    views: str = "",
    engine: str = "auto",
    precision: str = "float32",
    stored: str = "float32",
    compression: str | None = None,
    strict: bool = False,
    dry_run: bool = False,
    images: int | None = None,
    deadline: float | None = None,
    cache_dir: str | os.PathLike[str] = "features",
    name: str | None = None,
    cluster: str | None = None,
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
    image_size : int or (height, width), or a list of these, optional
        Input size in pixels; default: each backbone's own. Each size is an entry of its own.
    views : str
        Altered copies of each image to extract beside it: "flip", a number of augmented copies
        ("3"), or both ("flip,3").
    engine : str
        "auto", "openvino", "tensorflow" or "jax".
    precision, stored : str
        Numeric precision of the forward pass and of the rows on disk. `precision` may be "auto":
        bfloat16 where the machine multiplies it natively and the engine has it, else float32.
    compression : str, optional
        "none" or "blosc2", of the rows written now; default: as the entry has it, a new one "none".
        Changes no value, so it is not in the key.
    strict : bool
        Stop at the first image that cannot be decoded, instead of setting it aside.
    dry_run : bool
        Only plan; a few images are run to estimate the time, and nothing is written.
    images : int, optional
        With `dry_run`: plan for so many images like these, none of them cached.
    deadline : float, optional
        With `dry_run`: seconds to be done in; the plan says how many workers that takes.
    cache_dir : path or URL
        Where the cache is: a folder, or s3://BUCKET/PREFIX and the like.
    name : str, optional
        Name of the data set in the cache; default: the folder's or file's.
    cluster : str, optional
        Compute on the workers of a Ray cluster: "auto" (the one that this machine is part of),
        "local" (one started for this call) or "ray://HOST:PORT". They need the images and the cache
        at the same paths as here.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    ExtractReport

    Raises
    ------
    DatasetError, BackboneError, EngineError, CacheError, ClusterError, SpecError
        With a message that names the remedy.

    Examples
    --------
    >>> report = featx.extract("photos", backbone="mobilenet", pooling="avg")  # doctest: +SKIP
    >>> features = featx.load_features(report.caches[0]["path"], tap="avg")  # doctest: +SKIP
    """
    started = time.perf_counter()
    from featx.backbones import list_sizes
    from featx.cluster import require_known
    from featx.datasets import index_dataset
    from featx.datasets.augment import parse_views
    from featx.engines import choose_engine, choose_precision
    from featx.extraction.request import pair_backbones, source_text
    from featx.extraction.steps import Extraction
    from featx.progress import Bars
    from featx.records import TapSpec
    from featx.store import local_cache, prepare_cache_dir

    if (images is not None or deadline is not None) and not dry_run:
        raise SpecError("images and deadline are of a plan: give dry_run=True too.")
    # The embedded sample must work without a network; photos deserve real weights.
    default = "auto" if os.fspath(data) == "digits" else "imagenet"
    names, sources = _listed(backbone), _listed(weights or ())
    specs = [s for n in list_sizes(image_size) for s in pair_backbones(names, sources, n, default)]
    specs = [spec for i, spec in enumerate(specs) if spec not in specs[:i]]
    specs += [
        replace(spec, image=replace(spec.image, view=view))
        for view in parse_views(views)
        for spec in list(specs)
    ]
    taps = tuple(dict.fromkeys(TapSpec.parse(t) for t in _listed(pooling)))
    if cluster:
        require_known(cluster)
    if not taps:
        raise SpecError("No tap is asked for. Give --pooling avg, max, flatten or a layer.")
    if engine != "auto" or precision == "auto":
        engine, _ = choose_engine(engine)  # sets Keras's backend: before it fetches weights
    precision, reason = choose_precision(precision, engine)
    logging.getLogger("featx").info("precision %s: %s", precision, reason)
    root = local_cache(cache_dir)
    if not dry_run:
        prepare_cache_dir(root)
    with Bars(progress) as bars:
        index = index_dataset(data, work_dir=root / ".sources", name=name, progress=bars)
        run = Extraction(
            index=index,
            source=source_text(data),
            taps=taps,
            cache_dir=root,
            engine=engine,
            precision=precision,
            stored=stored,
            compression=compression,
            bars=bars,
            cluster=cluster,
        )
        for spec in specs:
            run.add(spec, create=not dry_run)
        if dry_run:
            spent = time.perf_counter() - started
            return run.plan_report(spent, images=images, deadline=deadline)
        run.compute(strict)
        run.publish()
    return run.report(time.perf_counter() - started)


def _listed(value: Texts) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
