"""From a file's bytes to the pixels a backbone is fed, the same for every engine.

Pillow decodes and resizes. It was chosen by measurement (benchmarks/bench_decode.py): its JPEG
decoder is the same libjpeg-turbo as the others', it lets other threads run meanwhile, and the
antialiased resize, where most of the time goes, is its own.

What comes out, whatever comes in:

- The **whole image squashed** to height × width, as Keras's loaders do by default; nothing is cut
  off. Bilinear with antialiasing: `RESIZE`.
- **JPEG in scale**: where a JPEG is at least 4 times as large as asked for (2 times after halving),
  it is decoded at 1/2, 1/4 or 1/8 scale, always leaving at least `SCALED_MARGIN` times the size
  asked for. This differs from full decoding by at most `SCALED_TOLERANCE`.
- **Turned upright** by the EXIF orientation.
- **Transparency over white**, in every format.
- Grey, palette, one-bit and CMYK images become RGB; colour profiles are not applied.
- **16 bits** are scaled to 8 over their full range (65,535 becomes 255). Float images hold 0..1 or
  0..255; 32-bit integers 0..255 or 0..65,535; others are turned down.
- Of several frames or pages, the first.
- **Views** (`ImageSpec.view`) are cut out, mirrored and coloured as `featx.datasets.augment` says.
"""

from __future__ import annotations

import importlib
import io
import os
import struct
import threading
import warnings
import zlib
from typing import TYPE_CHECKING

import numpy as np

from featx.datasets.augment import Alteration, Box, check_view
from featx.datasets.exif import HEADER, find_jpeg_exif, read_orientation
from featx.errors import ImageError, SpecError, UnknownNameError
from featx.records import ImageSpec
from featx.registry import near_misses

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

RESIZE = {
    "bilinear-antialias": (
        "The whole image to height × width, aspect ratio not kept, by a triangle filter whose "
        "width is the reduction factor (1 when enlarging): Pillow's BILINEAR."
    ),
}
"""Resize rules by name (`ImageSpec.resize`), each with what it does."""

MAX_PIXELS = 178_956_970
"""Images larger than this are turned down (Pillow's own limit against decompression bombs)."""

SCALED_MARGIN = 2
"""A JPEG decoded in scale is at least this many times as large as asked for, in both directions."""

SCALED_TOLERANCE = (2.0, 20)
"""Mean and largest absolute difference, of 255, between scaled and full JPEG decoding of an image.

On real photos the mean is 0.4 on average over images, 1.8 in the worst, the largest 16.
"""

_MAGIC = (
    (b"\xff\xd8\xff", "Jpeg"),
    (b"\x89PNG\r\n\x1a\n", "Png"),
    (b"GIF8", "Gif"),
    (b"BM", "Bmp"),
    (b"II*\0", "Tiff"),
    (b"MM\0*", "Tiff"),
    (b"II+\0", "Tiff"),
    (b"MM\0+", "Tiff"),
)
# What Pillow raises over damaged files, found by flipping bytes (see the tests).
_DAMAGE = (
    SyntaxError,
    OSError,
    EOFError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    NotImplementedError,
    RuntimeError,
    struct.error,
    zlib.error,
)
# Warning filters belong to the process: only one thread at a time may change them.
_QUIET = threading.Lock()


def decode_image(data: bytes, spec: ImageSpec) -> np.ndarray:
    """Decode an image and fit it to a backbone's input.

    Safe to call from many threads; decoding and resizing run outside Python's lock.

    Parameters
    ----------
    data : bytes
        A JPEG, PNG, WebP, BMP, GIF or TIFF file.
    spec : ImageSpec
        Size and resize rule.

    Returns
    -------
    ndarray of uint8, shape (spec.height, spec.width, 3)
        RGB.

    Raises
    ------
    ImageError
        The data is not an image, is truncated or damaged, or is larger than `MAX_PIXELS`;
        `.reason` says which.
    SpecError
        The resize rule or colour is not known.
    """
    if spec.resize not in RESIZE:
        raise UnknownNameError("resize rule", spec.resize, near_misses(spec.resize, RESIZE))
    if spec.colour != "rgb":
        raise SpecError(f"Unknown colour {spec.colour!r}: it must be 'rgb'.")
    check_view(spec.view)
    name = _sniff(data)
    try:
        if name == "Tiff" or (name == "Png" and b"acTL" in data[:1024]):
            # Pillow warns about damaged headers of these two.
            with _QUIET, warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return _decode(name, data, spec)
        return _decode(name, data, spec)
    except _DAMAGE as error:
        text = str(error)
        if _is_cut_off(name, data) or "truncated" in text.lower():
            raise ImageError(f"truncated {_label(name)}, {len(data)} bytes") from error
        raise ImageError(f"damaged {_label(name)}: {text or type(error).__name__}") from error


def read_image(path: str | os.PathLike[str], spec: ImageSpec) -> np.ndarray:
    """Read and decode the image file `path`; see `decode_image`.

    Raises
    ------
    ImageError
        Also where the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            data = file.read()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ImageError(reason, os.fsdecode(path)) from error
    try:
        return decode_image(data, spec)
    except ImageError as error:
        raise ImageError(error.reason, os.fsdecode(path)) from error


def resize_pixels(pixels: np.ndarray, spec: ImageSpec) -> np.ndarray:
    """Fit pixels that are decoded already to a backbone's input, as `decode_image` would.

    Parameters
    ----------
    pixels : ndarray of uint8, shape (height, width, 3)
        RGB, of any size.
    spec : ImageSpec
        Without a view: an altered copy is made of a file's bytes.

    Returns
    -------
    ndarray of uint8, shape (spec.height, spec.width, 3)
    """
    from PIL import Image

    size = (spec.width, spec.height)
    plain = Image.fromarray(np.ascontiguousarray(pixels))
    return np.array(plain.resize(size, Image.Resampling.BILINEAR))


def _sniff(data: bytes) -> str:
    """Name the format by the first bytes, never by the file's name."""
    if not data:
        raise ImageError("0 bytes")
    for magic, name in _MAGIC:
        if data.startswith(magic):
            return name
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WebP"
    if not data.strip(b"\0"):
        raise ImageError(f"not an image: {len(data)} zero bytes")
    if data[4:8] == b"ftyp":
        raise ImageError("not a format that featx reads: HEIC or AVIF; convert it to JPEG or PNG")
    raise ImageError("not an image (JPEG, PNG, WebP, BMP, GIF or TIFF)")


def _label(name: str) -> str:
    return name if name == "WebP" else name.upper()


def _decode(name: str, data: bytes, spec: ImageSpec) -> np.ndarray:
    from PIL import Image

    exif = b""
    if name == "Jpeg":
        exif = find_jpeg_exif(data)
        if exif:
            # Pillow must not parse it: it would warn where the block is broken.
            data = data.replace(HEADER, b"-xif\0\0", 1)
    # The format's own class: `Image.open` would try every other parser too, and warn of large
    # images by way of the process's warning filters.
    opener = getattr(importlib.import_module(f"PIL.{name}ImagePlugin"), f"{name}ImageFile")
    image: ImageFile = opener(io.BytesIO(data))
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} × {height} pixels, more than {MAX_PIXELS:,}")
    box: Box | None = (
        None  # the part of the image that is picture; in scale it may end inside a pixel
    )
    if name == "Jpeg":
        wide, high = spec.width * SCALED_MARGIN, spec.height * SCALED_MARGIN
        if read_orientation(exif) >= 5:
            wide, high = high, wide
        drafted = image.draft(None, (wide, high))
        box = drafted[1] if drafted else None
    try:
        image.load()
    except Image.DecompressionBombError as error:
        raise ImageError(f"more than {MAX_PIXELS:,} pixels") from error
    if name in ("Png", "WebP"):
        exif = image.info.get("exif") or b""
    turned = read_orientation(exif)  # Pillow itself turns TIFF images
    alteration = Alteration(data, spec.view)
    box = alteration.cut(image.size, box)
    size = (spec.height, spec.width) if turned >= 5 else (spec.width, spec.height)
    plain = _to_grey_or_rgb(image).resize(size, Image.Resampling.BILINEAR, box)
    if turned > 1:
        flip = Image.Transpose
        plain = plain.transpose(
            {
                2: flip.FLIP_LEFT_RIGHT,
                3: flip.ROTATE_180,
                4: flip.FLIP_TOP_BOTTOM,
                5: flip.TRANSPOSE,
                6: flip.ROTATE_270,
                7: flip.TRANSVERSE,
                8: flip.ROTATE_90,
            }[turned]
        )
    return np.array(alteration.finish(plain.convert("RGB")))


def _to_grey_or_rgb(image: Image) -> Image:
    from PIL import Image as images

    if image.mode in ("RGB", "L") and "transparency" not in image.info:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode.startswith("I") or image.mode == "F":
        return images.fromarray(_to_8_bits(np.asarray(image)))
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = images.new("RGBA", layer.size, "white")
        return images.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(values: np.ndarray) -> np.ndarray:
    low, high = values.min(), values.max()
    if values.dtype == np.uint16:
        return ((values.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    if not (low >= 0 and high <= 65535):  # not-a-number fails this too
        raise ImageError(f"pixel values from {low:g} to {high:g}; 0 to 255 or 65535 are read")
    factor = 1.0 if high <= 255 else 255 / 65535
    if values.dtype.kind == "f" and high <= 1:
        factor = 255.0
    return np.rint(values * factor).astype(np.uint8)


def _is_cut_off(name: str, data: bytes) -> bool:
    """Tell whether the end of the file is missing, by the format's own mark or length."""
    if name == "Jpeg":
        return b"\xff\xd9" not in data[-64:]
    if name == "Png":
        return b"IEND" not in data[-64:]
    if name == "Gif":
        return not data.rstrip(b"\0").endswith(b";")
    if name == "WebP":
        return len(data) < 8 + int.from_bytes(data[4:8], "little")
    if name == "Bmp":
        return len(data) < int.from_bytes(data[2:6], "little")
    return False
