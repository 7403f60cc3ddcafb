"""Features of some images in the order asked for: from the cache, else computed."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from featx.backbones import resolve_weights
from featx.datasets.decode import resize_pixels
from featx.datasets.digest import digest_file
from featx.engines import choose_engine, choose_precision
from featx.errors import CacheBusyError, ImageError
from featx.extraction.loaded import keep_runner
from featx.extraction.pipeline import Job, decode_threads, run_jobs
from featx.extraction.request import make_key
from featx.extraction.steps import Extraction
from featx.progress import Bars
from featx.records import (
    BackboneSpec,
    DatasetIndex,
    ExtractionKey,
    Sample,
    Samples,
    TapSpec,
    WeightsRecord,
)
from featx.store import (
    CacheEntry,
    dataset_dir,
    entry_name,
    gc,
    load_rows,
    local_cache,
    prepare_cache_dir,
)

DATASET = "extractor"
"""Name in the cache of what holds the rows of images that belong to no data set."""

MANY_PARTS = 64
"""Parts an entry may have before small ones are merged: a call for a single image makes one."""

# A graph uses all processors by itself, and serves one caller at a time.
_COMPUTING = threading.Lock()

Rows = dict[str, np.ndarray]
"""Tap name to float32 (n, width)."""


@dataclass(frozen=True)
class Wanted:
    """Which features: of a backbone, at some taps; `engine` and `precision` may be "auto"."""

    spec: BackboneSpec
    taps: tuple[TapSpec, ...]
    engine: str = "auto"
    precision: str = "float32"

    def chosen(self) -> tuple[str, str]:
        """Return the engine and the precision to take here."""
        engine, _ = choose_engine(self.engine)
        return engine, choose_precision(self.precision, engine)[0]


def compute_pixels(images: Sequence[np.ndarray], wanted: Wanted) -> Rows:
    """Return the features of RGB pixels, uint8 (height, width, 3) each, of any sizes.

    Raises
    ------
    BackboneError, EngineError
    """
    engine, precision = wanted.chosen()
    weights = resolve_weights(wanted.spec)
    with _COMPUTING:
        runner = keep_runner(engine, wanted.spec, weights, wanted.taps, precision)

        def batches() -> Iterator[np.ndarray]:
            size = runner.batch_size  # which becomes smaller where memory runs out
            for start in range(0, len(images), size):
                batch = images[start : start + size]
                yield np.stack([resize_pixels(pixels, wanted.spec.image) for pixels in batch])

        return _joined(list(runner.stream(batches())))


def compute_files(
    paths: Sequence[str], wanted: Wanted, cache_dir: str | os.PathLike[str] | None = None
) -> Rows:
    """Return the features of image files.

    Parameters
    ----------
    paths : sequence of str
    wanted : Wanted
    cache_dir : path or URL, optional
        Rows of these very bytes are taken from there, whichever data set they were extracted for;
        what is computed is kept there.

    Raises
    ------
    ImageError
        The first file that cannot be read or decoded, with its path.
    BackboneError, EngineError, CacheError
    """
    digests = _digest_files(paths)
    files = dict(zip(reversed(digests), reversed(paths), strict=True))
    files = dict(reversed(files.items()))  # copies count once, in the order first seen
    weights = resolve_weights(wanted.spec)
    if cache_dir is None:
        rows = _compute(wanted, weights, files)
    else:
        rows = _look_up(wanted, weights, files, local_cache(cache_dir))
    if len(files) == len(paths):
        return rows
    places = {digest: i for i, digest in enumerate(files)}
    order = np.array([places[digest] for digest in digests])
    return {tap: values[order] for tap, values in rows.items()}


def _digest_files(paths: Sequence[str]) -> list[str]:
    def digest(path: str) -> str:
        try:
            return digest_file(path)[0]
        except (OSError, ValueError) as error:  # ValueError: a null byte in the name
            reason = getattr(error, "strerror", None) or str(error)
            raise ImageError(f"cannot be read: {reason.lower()}", path) from error

    with ThreadPoolExecutor(decode_threads()) as pool:
        return list(pool.map(digest, paths))


def _compute(wanted: Wanted, weights: WeightsRecord, files: Mapping[str, str]) -> Rows:
    """Return the rows of `files` (digest to path) in their order."""
    engine, precision = wanted.chosen()
    found: list[Mapping[str, np.ndarray]] = []
    with _COMPUTING:
        runner = keep_runner(engine, wanted.spec, weights, wanted.taps, precision)
        job = Job(wanted.spec.image, runner, set(files), lambda _, rows: found.append(rows))
        run_jobs([job], files, strict=True)
    return _joined(found)


def _look_up(wanted: Wanted, weights: WeightsRecord, files: Mapping[str, str], root: Path) -> Rows:
    """Return the rows of `files` in their order, from the cache; put there first what it lacks."""
    precision = wanted.precision
    engine = ""  # at float32 engines agree, so that none has to be there to read
    if precision != "float32":
        engine, precision = wanted.chosen()
    key = make_key(wanted.spec, weights, precision, "float32")
    taps = [tap.name for tap in wanted.taps]
    held = _find(root, key, taps, files, engine)
    missing = [digest for digest in files if digest not in held]
    if missing:
        entry = _fill(wanted, key, {digest: files[digest] for digest in missing}, root)
        held.update(dict.fromkeys(missing, entry))
    digests = list(files)
    rows: Rows = {}
    for entry in {e.path: e for e in held.values()}.values():
        numbers = [i for i, digest in enumerate(digests) if held[digest].path == entry.path]
        for tap in taps:
            values = load_rows(entry, tap, [digests[i] for i in numbers])
            full = rows.setdefault(tap, np.empty((len(digests), values.shape[1]), np.float32))
            full[numbers] = values
    return rows


def _find(
    root: Path, key: ExtractionKey, taps: Sequence[str], files: Mapping[str, str], engine: str
) -> dict[str, CacheEntry]:
    """Return an entry that has all taps, for each digest that has one."""
    found: dict[str, CacheEntry] = {}
    for parts in sorted(root.glob(f"*/{entry_name(key)}/parts")):  # made last, with the key there
        entry = CacheEntry.at(parts.parent)
        made_by = {str(p.get("engine", "")) for p in entry.provenances()} if engine else set()
        if entry.key != key or made_by - {"", engine}:
            continue
        rows = entry.state().rows
        if all(tap in rows for tap in taps):
            whole = set.intersection(*(set(rows[tap]) for tap in taps))
            found.update({d: entry for d in files if d in whole and d not in found})
    return found


def _fill(wanted: Wanted, key: ExtractionKey, files: Mapping[str, str], root: Path) -> CacheEntry:
    """Compute the rows of `files` into an entry of their own, and return it."""
    prepare_cache_dir(root)
    samples = Samples.of(Sample(path, (), digest=digest) for digest, path in files.items())
    run = Extraction(
        index=DatasetIndex(DATASET, "", (), samples),
        source=DATASET,
        taps=wanted.taps,
        cache_dir=root,
        engine=wanted.engine,
        precision=key.precision,
        stored=key.stored,
        compression=None,
        bars=Bars(False),
        load=keep_runner,
    )
    run.add(wanted.spec, create=True)
    with _COMPUTING:
        run.compute(strict=True)
    entry = CacheEntry.open(root, dataset_dir(root, DATASET, ""), key)
    if len(entry.part_paths()) > MANY_PARTS:
        with suppress(CacheBusyError):  # whoever is at work there will do it
            gc(entry.path)
    return entry


def _joined(batches: Sequence[Mapping[str, np.ndarray]]) -> Rows:
    return {tap: np.concatenate([rows[tap] for rows in batches]) for tap in batches[0]}
