"""Parts: immutable files of feature rows, each row named by the digest of its image.

Within a part every row has every tap of the part. Beside the rows lie their *tile sums*: a checksum
for each row and each `TILE_BYTES` of its width, so that a few rows, or a block of columns, are
checked without reading more than what was asked for.
"""

from __future__ import annotations

import datetime
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.columns import DIGEST_BYTES, Digests
from featx.records import FORMAT_VERSION, ExtractionKey, to_json
from featx.store.compressed import CompressedTap, blosc2_filter, chunk_shape
from featx.store.layout import Layout
from featx.store.mirror import fetch
from featx.store.sealed import SealedFile, seal
from featx.store.tap import StoredTap, TapShape, rows_in, tile_sums

TILE_BYTES = 1 << 14


def new_part_name() -> str:
    """Return a file name that no other part has; names sort by time."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%S%f}-{os.urandom(4).hex()}.h5"


def write_part(
    folder: Path,
    key: ExtractionKey,
    shapes: Mapping[str, TapShape],
    digests: Sequence[str],
    rows: Mapping[str, np.ndarray],
    provenance: Mapping[str, Any],
    compression: str = "none",
    name: str = "",
) -> Path:
    """Write one part into `folder` and return its path.

    Parameters
    ----------
    folder : Path
        The entry's `parts` folder.
    key : ExtractionKey
    shapes : mapping of str to TapShape
    digests : sequence of n str
    rows : mapping of str to ndarray of shape (n, width)
        Of the stored dtype, C-contiguous.
    provenance : mapping
        JSON-able: engine, versions, host.
    compression : str
        "none" or "blosc2".
    name : str
        File name; "" gives a new one. A part of this name is replaced.

    Raises
    ------
    CacheWriteError
    """
    filters = blosc2_filter() if compression == "blosc2" else None
    path = folder / (name or new_part_name())
    with Layout() as layout:
        layout.file.attrs.update(
            featx="part",
            format_version=FORMAT_VERSION,
            key=key.canonical(),
            key_digest=key.digest(),
            provenance=json.dumps(to_json(provenance), sort_keys=True),
        )
        names = Digests.of(digests).array
        layout.place("digests", names)
        layout.place("checksums/digests", tile_sums(_as_bytes(names), DIGEST_BYTES))
        taps: dict[str, Any] = {}
        for tap, shape in shapes.items():
            values = rows[tap]
            tile = tile_width(shape)
            attrs = {"shape": shape.shape}
            if filters:
                chunks = chunk_shape(values, tile)
                layout.compress(f"features/{tap}", values, chunks, filters, attrs)
            else:
                layout.place(f"features/{tap}", values, attrs)
                layout.place(f"checksums/{tap}", tile_sums(values, tile), {"tile": tile})
            taps[tap] = {"shape": list(shape.shape), "dtype": shape.dtype, "tile": tile}
        header = {
            "kind": "part",
            "format_version": FORMAT_VERSION,
            "rows": len(digests),
            "compression": compression,
            "key": to_json(key),
            "taps": taps,
            "provenance": to_json(provenance),
        }
        seal(path, layout, header)
    return path


def tile_width(shape: TapShape) -> int:
    """Return how many columns one tile sum covers."""
    return max(1, min(shape.width, TILE_BYTES // shape.stored.itemsize))


def _as_bytes(names: np.ndarray) -> np.ndarray:
    return names.view(np.uint8).reshape(len(names), DIGEST_BYTES)


class Part(SealedFile):
    """A part, open for reading.

    Attributes
    ----------
    key : ExtractionKey
    taps : dict of str to TapShape
    n : int
        Rows.
    compression : str
        "none" or "blosc2".

    Raises
    ------
    CacheMissError, CacheCorruptError
    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        fetch([path])
        super().__init__(path, salvage=salvage)
        if self.header.get("kind") != "part":
            self.close()
            raise self.corrupt("is not a part")
        self.key = ExtractionKey.from_json(self.header["key"])
        self.n: int = self.header["rows"]
        self.taps = {
            tap: TapShape(tuple(t["shape"]), t["dtype"]) for tap, t in self.header["taps"].items()
        }
        self.compression: str = self.header["compression"]
        self._open: dict[str, StoredTap | CompressedTap] = {}

    def digests(self) -> Digests:
        """Return the image digest of each row."""
        return Digests(self.array("digests"))

    def damaged_digests(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        """Return the rows in the damaged byte `ranges` of the file whose digest is not sound."""
        names, sums = self.mapped("digests"), self.mapped("checksums/digests")
        return [
            r
            for r in rows_in(ranges, self.span("digests"), DIGEST_BYTES)
            if (tile_sums(_as_bytes(names[r : r + 1]), DIGEST_BYTES)[0] != sums[r]).any()
        ]

    def tap(self, tap: str) -> StoredTap | CompressedTap:
        """Return the rows of `tap`, ready to be read."""
        if tap not in self._open:
            if "pieces" in self.header["datasets"][f"features/{tap}"]:
                self._open[tap] = CompressedTap(self, tap, self.taps[tap])
            else:
                tile = self.header["taps"][tap]["tile"]
                self._open[tap] = StoredTap(self, tap, self.taps[tap], tile)
        return self._open[tap]
