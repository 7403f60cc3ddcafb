"""What an entry's view says of itself, without reading a feature."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.errors import CacheCorruptError, CacheMissError
from featx.records import ExtractionKey
from featx.store.folders import VIEW
from featx.store.view import View


@dataclass(frozen=True)
class ViewInfo:
    """What a view holds.

    Attributes
    ----------
    path : Path
        The entry's folder.
    dataset : str
        Name of the data set.
    key : ExtractionKey
    rows : int
        Images shown.
    taps : mapping of str to (tuple of int, str)
        Tap to the feature shape of one image and the stored dtype.
    targets : tuple of str
        Label columns.
    quarantined : tuple of (path, reason)
        Images left out.
    provenance : mapping
        As given to `CacheEntry.publish_view`.
    """

    path: Path
    dataset: str
    key: ExtractionKey
    rows: int
    taps: Mapping[str, tuple[tuple[int, ...], str]]
    targets: tuple[str, ...]
    quarantined: tuple[tuple[str, str], ...]
    provenance: Mapping[str, Any]


def about_view(folder: str | os.PathLike[str]) -> ViewInfo | None:
    """Return what the view in the entry `folder` says; None where there is no sound view."""
    path = Path(folder)
    try:
        with View(path / VIEW) as view:
            return ViewInfo(
                path=path,
                dataset=view.header["dataset"],
                key=view.key,
                rows=view.header["rows"],
                taps={tap: (shape.shape, shape.dtype) for tap, shape in view.taps.items()},
                targets=view.targets,
                quarantined=view.quarantined,
                provenance=view.header["provenance"],
            )
    except (CacheMissError, CacheCorruptError):
        return None
