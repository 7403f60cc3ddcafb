"""Photos of the test rows: found where they lie, made small, put into the page."""

from __future__ import annotations

import base64
import hashlib
import io
import os
from collections.abc import Sequence
from pathlib import Path

from featx.datasets.decode import decode_image
from featx.datasets.exif import read_orientation
from featx.errors import ImageError
from featx.records import ImageSpec

QUALITY = 62
"""Of the WebP thumbnails."""

MAX_BYTES = 8_000_000
"""Thumbnails of a report take at most so many characters together."""


class Photos:
    """Reads the photos of a data set, as long as they are what they were when tested on.

    Parameters
    ----------
    paths, digests : sequence of str
        Of the test rows. Without digests no photo is shown: it could be another by now.
    roots : sequence of str
        Folders that paths may start from, tried in turn.

    Attributes
    ----------
    asked, shown : int
        Photos asked for and found so far.
    """

    def __init__(self, paths: Sequence[str], digests: Sequence[str], roots: Sequence[str]) -> None:
        self._paths, self._digests = paths, digests
        self._roots = [Path(root) for root in dict.fromkeys(roots) if root]
        self._made: dict[tuple[int, int], str] = {}
        self._bytes = 0
        self.asked = self.shown = 0

    def path(self, row: int) -> str:
        """Return the path of a test row below its root, fit to be shown; "" if not known."""
        if row >= len(self._paths):
            return ""
        return self._paths[row].encode("utf-8", "replace").decode()

    def thumbnail(self, row: int, size: int) -> str:
        """Return the photo of a test row as a data address; "" where it cannot be shown.

        Parameters
        ----------
        row : int
            Number of the test row.
        size : int
            Longer side in pixels.
        """
        if (row, size) not in self._made:
            self.asked += 1
            image = self._make(row, size) if self._bytes < MAX_BYTES else ""
            self.shown += bool(image)
            self._bytes += len(image)
            self._made[row, size] = image
        return self._made[row, size]

    def find(self, path: str) -> Path | None:
        """Return the file at a path below one of the roots; None where there is none."""
        for root in self._roots:
            try:
                if (root / path).is_file():
                    return root / path
            except (OSError, ValueError):
                continue
        return None

    def read(self, row: int) -> bytes | None:
        """Return the file of a test row; None where it is gone or has other bytes now."""
        if row >= min(len(self._paths), len(self._digests)):
            return None
        for root in self._roots:
            try:
                data = (root / self._paths[row]).read_bytes()
            except (OSError, ValueError):
                continue
            if hashlib.sha256(data).hexdigest() == self._digests[row]:
                return data
        return None

    def _make(self, row: int, size: int) -> str:
        data = self.read(row)
        if data is None:
            return ""
        try:
            width, height = measure_image(io.BytesIO(data))
            scale = size / max(width, height)
            spec = ImageSpec(max(1, round(height * scale)), max(1, round(width * scale)))
            pixels = decode_image(data, spec)
        except ImageError:
            return ""
        from PIL import Image

        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "WEBP", quality=QUALITY, method=4)
        return f"data:image/webp;base64,{base64.b64encode(file.getvalue()).decode()}"


def measure_image(file: str | os.PathLike[str] | io.BytesIO) -> tuple[int, int]:
    """Return width and height of an image file's upright image, without decoding its pixels.

    Raises
    ------
    ImageError
        It is no image.
    """
    import warnings

    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of large images and damaged headers
            with Image.open(file) as image:
                width, height = image.size
                exif = image.info.get("exif", b"")
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ImageError(f"not an image that can be shown: {error}") from error
    return (height, width) if read_orientation(exif) > 4 else (width, height)


def list_roots(named: str | os.PathLike[str] | None, source: str, root: str) -> list[str]:
    """Return the folders that photos may lie in: the one named, then those noted when testing."""
    given = [os.path.abspath(named)] if named is not None and os.path.isdir(named) else []
    return [*given, root, *([source] if os.path.isdir(source) else [])]
