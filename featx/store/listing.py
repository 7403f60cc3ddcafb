"""What is in the cache, at a glance."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from featx.errors import CacheCorruptError, CacheMissError
from featx.records import ExtractionKey
from featx.store.claim import living_holder
from featx.store.folders import PARTS, VIEW, entry_folders, read_dataset, read_entry
from featx.store.remote import together
from featx.store.tap import TapShape
from featx.store.view import View


@dataclass(frozen=True)
class EntryInfo:
    """One entry of the cache.

    Attributes
    ----------
    path : Path
        Its folder.
    dataset : str
        Name of the data set.
    key : ExtractionKey or None
        None where it cannot be told.
    images : int
        Rows of the view.
    quarantined : int
        Images that the view leaves out.
    taps : mapping of str to TapShape
        Taps of the view.
    parts : int
        Part files.
    size_bytes : int
        On disk, all files.
    changed : float
        When a file of it last changed, in seconds since 1970.
    state : str
        "ready", "no view" (interrupted: run extract again), "busy" or "damaged".
    detail : str
        Who holds it, or what is damaged; else "".
    """

    path: Path
    dataset: str
    key: ExtractionKey | None
    images: int
    quarantined: int
    taps: Mapping[str, TapShape]
    parts: int
    size_bytes: int
    changed: float
    state: str
    detail: str


def list_entries(cache_dir: str | os.PathLike[str]) -> list[EntryInfo]:
    """Return the entries of a cache (or of one data set's folder in it), sorted by path.

    Only trailers are read: damage elsewhere is for `verify` to find. A folder that is not there
    has no entries.
    """
    return together(_entry_info, entry_folders(Path(cache_dir)))  # a bucket is asked for each


def _entry_info(folder: Path) -> EntryInfo:
    key: ExtractionKey | None = None
    images = quarantined = 0
    taps: Mapping[str, TapShape] = {}
    state, detail = "ready", ""
    dataset = folder.parent.name
    try:
        said = read_entry(folder)
        key = ExtractionKey.from_json(said["key"]) if said else None
        dataset = read_dataset(folder.parent).get("name", dataset)
        with View(folder / VIEW) as view:
            images, quarantined, taps = view.header["rows"], len(view.quarantined), view.taps
            dataset = view.header["dataset"]
            missing = [name for name in view.parts if not (folder / name).exists()]
        if missing:
            state, detail = "damaged", f"{folder / missing[0]} is missing"
    except CacheMissError:
        state = "no view"
    except (CacheCorruptError, KeyError, TypeError, AttributeError) as error:
        state, detail = "damaged", str(error)
    holder = living_holder(folder)
    if holder:
        state, detail = "busy", holder
    files = [entry for entry in _files(folder)]
    return EntryInfo(
        path=folder,
        dataset=dataset,
        key=key,
        images=images,
        quarantined=quarantined,
        taps=taps,
        parts=len(list((folder / PARTS).glob("*.h5"))),
        size_bytes=sum(f.st_size for f in files),
        changed=max((f.st_mtime for f in files), default=0.0),
        state=state,
        detail=detail,
    )


def _files(folder: Path) -> list[os.stat_result]:
    found = []
    for path in folder.rglob("*"):
        try:
            if path.is_file():
                found.append(path.stat())
        except FileNotFoundError:
            continue
    return found
