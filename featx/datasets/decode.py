"""From a file's bytes to the pixels a backbone is fed (simple version)."""

from __future__ import annotations

import io
import os

import numpy as np

from featx.errors import ImageError
from featx.records import ImageSpec

RESIZE = {
    "bilinear-antialias": "the whole image to height × width, by a triangle filter as wide as the "
    "reduction"
}


def decode_image(data: bytes, spec: ImageSpec) -> np.ndarray:
    """Return the image in `data` as uint8 RGB of shape (spec.height, spec.width, 3)."""
    from PIL import Image, ImageOps

    if not data:
        raise ImageError("0 bytes")
    try:
        with Image.open(io.BytesIO(data)) as image:
            image = ImageOps.exif_transpose(image).convert("RGB")
            return np.array(image.resize((spec.width, spec.height), Image.Resampling.BILINEAR))
    except (OSError, SyntaxError, ValueError) as error:
        raise ImageError(str(error)) from error


def read_image(path: str | os.PathLike[str], spec: ImageSpec) -> np.ndarray:
    """Read and decode the image file `path`; see `decode_image`."""
    try:
        with open(path, "rb") as file:
            return decode_image(file.read(), spec)
    except OSError as error:
        raise ImageError(error.strerror or str(error), os.fspath(path)) from error
