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
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import CacheCorruptError
from featx.records import FORMAT_VERSION, ExtractionKey, to_json
from featx.store.layout import Layout
from featx.store.sealed import SealedFile, checksum, seal

TILE_BYTES = 1 << 14
DIGEST_BYTES = 64


@dataclass(frozen=True)
class TapShape:
    """What a tap's rows are.

    Attributes
    ----------
    shape : tuple of int
        Of one image's features: (channels,), or (height, width, channels) where flattened.
    dtype : str
        "float32" or "float16", as stored.
    """

    shape: tuple[int, ...]
    dtype: str

    @property
    def width(self) -> int:
        """Values a row."""
        return int(np.prod(self.shape))


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

    Raises
    ------
    CacheWriteError
    """
    path = folder / new_part_name()
    layout = Layout()
    layout.file.attrs.update(
        featx="part",
        format_version=FORMAT_VERSION,
        key=key.canonical(),
        key_digest=key.digest(),
        provenance=json.dumps(to_json(provenance), sort_keys=True),
    )
    layout.place("digests", np.array([d.encode() for d in digests], f"S{DIGEST_BYTES}"))
    taps: dict[str, Any] = {}
    for tap, shape in shapes.items():
        values = rows[tap]
        tile = tile_width(shape)
        layout.place(f"features/{tap}", values, {"shape": shape.shape})
        layout.place(f"checksums/{tap}", tile_sums(values, tile), {"tile": tile})
        taps[tap] = {"shape": list(shape.shape), "dtype": shape.dtype, "tile": tile}
    header = {
        "kind": "part",
        "format_version": FORMAT_VERSION,
        "rows": len(digests),
        "key": to_json(key),
        "taps": taps,
        "provenance": to_json(provenance),
    }
    seal(path, layout, header)
    return path


def tile_width(shape: TapShape) -> int:
    """Return how many columns one tile sum covers."""
    return max(1, min(shape.width, TILE_BYTES // np.dtype(shape.dtype).itemsize))


def tile_sums(values: np.ndarray, tile: int) -> np.ndarray:
    """Return the checksums of `values` (n, width), one a row and `tile` columns: (n, tiles)."""
    n, width = values.shape
    view = values.data.cast("B")
    size, row = values.itemsize * tile, values.itemsize * width
    sums = [
        checksum(view[start : min(start + size, end)])
        for begin, end in ((i * row, (i + 1) * row) for i in range(n))
        for start in range(begin, end, size)
    ]
    return np.array(sums, "<u8").reshape(n, -(-width // tile))


class Part(SealedFile):
    """A part, open for reading.

    Attributes
    ----------
    key : ExtractionKey
    taps : dict of str to TapShape
    n : int
        Rows.

    Raises
    ------
    CacheMissError, CacheCorruptError
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        if self.header.get("kind") != "part":
            self.close()
            raise self.corrupt("is not a part")
        self.key = ExtractionKey.from_json(self.header["key"])
        self.n: int = self.header["rows"]
        self.taps = {
            tap: TapShape(tuple(t["shape"]), t["dtype"]) for tap, t in self.header["taps"].items()
        }

    def __enter__(self) -> Part:
        return self

    def digests(self) -> list[str]:
        """Return the image digest of each row."""
        return [d.decode() for d in self.array("digests").tolist()]

    def read_into(self, tap: str, start: int, out: np.ndarray) -> None:
        """Fill `out` (m, width), C-contiguous and of the stored dtype, with rows from `start` on.

        Raises
        ------
        CacheCorruptError
            Naming the rows that are not as written.
        """
        if not out.size:
            return
        spec = self.header["datasets"][f"features/{tap}"]
        row = out.itemsize * out.shape[1]
        low = spec["offset"] + start * row
        bad = self.check(low, low + out.nbytes)
        if bad:
            first = max(0, (bad[0] - spec["offset"]) // row)
            last = min(self.n, -(-(bad[1] - spec["offset"]) // row))
            raise self.damaged(tap, range(first, last))
        self._read(out.data.cast("B"), low)

    def damaged(self, tap: str, rows: Sequence[int]) -> CacheCorruptError:
        """Return the error for `rows` of `tap` that are not as written."""
        shown = f"{rows[0]} to {rows[-1]}" if len(rows) > 1 else f"{rows[0]}"
        return self.corrupt(f"has damaged {tap!r} rows ({shown})", tap, tuple(rows))
