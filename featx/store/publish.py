"""Building the view, cache.h5, from an index and the parts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash
from h5py import h5d, h5p, h5s, h5t

from featx.columns import Finder, Texts
from featx.errors import CacheCorruptError, CacheMissError
from featx.records import FORMAT_VERSION, DatasetIndex, ExtractionKey, Samples, to_json
from featx.store.folders import PARTS
from featx.store.layout import Layout
from featx.store.plan import NO_ROWS, EntryState
from featx.store.sealed import SealedFile, seal
from featx.store.tap import TapShape
from featx.store.texts import write_texts
from featx.store.view import runs


def publish_view(
    path: Path,
    key: ExtractionKey,
    state: EntryState,
    index: DatasetIndex,
    *,
    taps: Sequence[str] | None,
    quarantined: Sequence[tuple[str, str]],
    provenance: Mapping[str, Any],
    keep_lost: bool = False,
) -> Path:
    """Write the view at `path`; see `CacheEntry.publish_view`.

    With `keep_lost`, samples whose row is not there stay in the view, as lost (`LOST`).
    """
    samples = _kept(index, quarantined)
    rows = _places(state, samples, taps, path, keep_lost)
    shown = {tap: state.shapes[tap] for tap in rows}
    labels, groups = _labels(index, samples), Texts.of(samples.groups)
    used = np.unique(np.concatenate([r[:, 0] for r in rows.values()]))
    used = used[used >= 0]
    for places in rows.values():
        there = places[:, 0] >= 0
        places[there, 0] = np.searchsorted(used, places[there, 0])
    names, seals = ([values[i] for i in used] for values in (state.parts, state.seals))
    left_out = sorted({*quarantined, *index.unreadable})
    source = str(provenance.get("source", ""))
    fingerprint = _fingerprint(
        key, index, source, samples, groups, labels, left_out, rows, names, seals
    )
    if _is_current(path, fingerprint):
        return path

    with Layout() as layout:
        file = layout.file
        file.attrs.update(
            featx="view",
            format_version=FORMAT_VERSION,
            dataset=index.name,
            key=key.canonical(),
            key_digest=key.digest(),
            provenance=json.dumps(to_json(provenance), sort_keys=True),
        )
        layout.place("labels", labels)
        layout.place("digests", samples.digests.array)
        layout.place("splits", _splits(samples))
        for name, texts in {
            "paths": samples.relpaths,
            "groups": groups,
            "targets": index.targets,
            "quarantined/paths": [p for p, _ in left_out],
            "quarantined/reasons": [r for _, r in left_out],
            "parts": [f"{PARTS}/{name}" for name in names],
            "seals": seals,
        }.items():
            write_texts(file, name, texts)
        if len(index.targets) == 1:
            write_texts(file, "classes", index.classes[0])
        else:
            for target, classes in zip(index.targets, index.classes, strict=True):
                write_texts(file, f"classes/{target}", classes)
        heights = [state.part_rows[i] for i in used]
        for tap, places in rows.items():
            layout.place(f"rows/{tap}", places)
            _place_virtual(file, tap, state.shapes[tap], places, names, heights)
        header = {
            "kind": "view",
            "format_version": FORMAT_VERSION,
            "dataset": index.name,
            "fingerprint": fingerprint,
            "key": to_json(key),
            "rows": len(samples),
            "targets": list(index.targets),
            "taps": {t: {"shape": list(s.shape), "dtype": s.dtype} for t, s in shown.items()},
            "parts": [f"{PARTS}/{name}" for name in names],
            "seals": seals,
            "quarantined": [list(pair) for pair in left_out],
            "known_parts": list(state.parts),
            "provenance": to_json(provenance),
        }
        seal(path, layout, header)
    return path


def _kept(index: DatasetIndex, quarantined: Sequence[tuple[str, str]]) -> Samples:
    """Return the samples that have a digest and are not in quarantine, nor copies of those."""
    samples = index.samples
    keep = samples.digests.array != b""
    if quarantined:
        named = {path for path, _ in quarantined}
        bad = np.fromiter((path in named for path in samples.relpaths), bool, len(samples))
        keep &= Finder(samples.digests.take(bad)).find(samples.digests) < 0
    return samples if keep.all() else samples.take(keep)


def _places(
    state: EntryState,
    samples: Samples,
    taps: Sequence[str] | None,
    path: Path,
    keep_lost: bool,
) -> dict[str, np.ndarray]:
    """Return the taps that the view shows and where their rows lie, (n, 2) int32 each."""
    found: dict[int, np.ndarray] = {}  # taps that lie in the same parts share their rows
    places: dict[str, np.ndarray] = {}
    for tap in sorted(state.shapes) if taps is None else taps:
        rows = state.rows.get(tap, NO_ROWS)
        if id(rows) not in found:
            found[id(rows)] = rows.places(samples.digests)
        missing = found[id(rows)][:, 0] < 0
        if missing.any() and taps is None:
            continue
        if missing.any() and not keep_lost:
            count = len(samples.digests.take(missing).distinct())
            raise CacheMissError(
                f"{count} of {len(samples.digests.distinct())} images have no {tap!r} row in "
                f"{path.parent}. Run featx extract."
            )
        if tap in state.shapes:
            places[tap] = found[id(rows)].copy()
    if not samples or not places:
        raise CacheMissError(f"{path.parent} has no rows of these images. Run featx extract.")
    return dict(sorted(places.items()))


def _labels(index: DatasetIndex, samples: Samples) -> np.ndarray:
    """Return the class indices, (n,) for one target, (n, targets) for more."""
    columns = [c.numbers(names) for c, names in zip(samples.labels, index.classes, strict=True)]
    labels = np.array(columns, "<i4").T
    return np.ascontiguousarray(labels[:, 0] if len(columns) == 1 else labels)


def _splits(samples: Samples) -> np.ndarray:
    return np.array([name.encode() for name in samples.splits.names], "S5")[samples.splits.codes]


def _fingerprint(
    key: ExtractionKey,
    index: DatasetIndex,
    source: str,
    samples: Samples,
    groups: Texts,
    labels: np.ndarray,
    left_out: Sequence[tuple[str, str]],
    rows: Mapping[str, np.ndarray],
    names: Sequence[str],
    seals: Sequence[str],
) -> str:
    """Return a digest of everything that a view says; of its provenance the source only.

    By the source a view is found again, so the same images under another name make another view.
    """
    state = xxhash.xxh3_128()
    head = [index.name, source, index.classes, index.targets, left_out, names, seals, list(rows)]
    state.update(json.dumps([FORMAT_VERSION, key.canonical(), head]).encode())
    for texts in (samples.relpaths, groups):
        state.update(np.diff(texts.offsets).data)
        state.update(texts.blob[texts.offsets[0] : texts.offsets[-1]].data)
    for values in (labels, samples.digests.array, _splits(samples), *rows.values()):
        state.update(np.ascontiguousarray(values).data.cast("B"))
    return state.hexdigest()


def _is_current(path: Path, fingerprint: str) -> bool:
    try:
        with SealedFile(path) as view:
            same = view.header.get("fingerprint") == fingerprint
            return bool(same and view.copies_agree)
    except (CacheMissError, CacheCorruptError):
        return False


def _place_virtual(
    file: h5py.File,
    tap: str,
    shape: TapShape,
    places: np.ndarray,
    names: Sequence[str],
    heights: Sequence[int],
) -> None:
    """Add the virtual data set features/<tap>; a row that is lost reads as NaN."""
    width, dtype = shape.width, np.dtype(shape.dtype).newbyteorder("<")
    create = h5p.create(h5p.DATASET_CREATE)
    create.set_fill_value(np.array(np.nan, dtype))
    links = h5p.create(h5p.LINK_CREATE)
    links.set_create_intermediate_group(True)
    target = h5s.create_simple((len(places), width))
    source_name = f"features/{tap}".replace("%", "%%").encode()
    for first, count, part, row in runs(places):
        if part < 0:
            continue
        target.select_hyperslab((first, 0), (count, width))
        source = h5s.create_simple((heights[part], width))
        source.select_hyperslab((row, 0), (count, width))
        create.set_virtual(target, f"{PARTS}/{names[part]}".encode(), source_name, source)
    target.select_all()
    kind = h5t.py_create(dtype, logical=True)
    h5d.create(file.id, f"features/{tap}".encode(), kind, target, create, links)
    file[f"features/{tap}"].attrs["shape"] = shape.shape
