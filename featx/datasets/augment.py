"""Views: altered copies of an image, the same on every machine and for every engine.

What is drawn for a view depends on the bytes of the image file and on the view's name alone.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from featx.errors import SpecError

if TYPE_CHECKING:
    from PIL.Image import Image

MOST_VIEWS = 32
"""Augmented views of an image at most."""

CROP_AREA = (0.5, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
"""Of an augmented view: part of the image's area, and width over height against the image's."""

COLOUR = (0.8, 1.2)
"""Factors of brightness, contrast and saturation of an augmented view."""

Box = tuple[float, float, float, float]


def parse_views(text: str) -> tuple[str, ...]:
    """Read `--views`: "flip", a number, or several of these; return the views' names.

    Raises
    ------
    SpecError

    Examples
    --------
    >>> parse_views("flip"), parse_views("2"), parse_views("flip,1"), parse_views("")
    (('flip',), ('augment-1', 'augment-2'), ('flip', 'augment-1'), ())
    """
    names: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        if word == "flip":
            names.append(word)
        elif word.isdecimal() and 0 < int(word) <= MOST_VIEWS:
            names += [f"augment-{number}" for number in range(1, int(word) + 1)]
        else:
            raise SpecError(
                f"Cannot read the views {text!r}. Write flip, a number of augmented views from 1 "
                f"to {MOST_VIEWS}, or both: flip,3."
            )
    return tuple(dict.fromkeys(names))


def check_view(name: str) -> None:
    """Raise SpecError unless `name` is "", "flip" or "augment-N"."""
    if name not in ("", "flip") and not re.fullmatch(r"augment-[1-9]\d*", name):
        raise SpecError(f"Unknown view {name!r}: it must be flip or augment-N.")


class Alteration:
    """How one view of one image differs from the image.

    Parameters
    ----------
    data : bytes
        The image file.
    view : str
        "" changes nothing, "flip" mirrors left and right, "augment-N" cuts out a part (random
        resized crop), mirrors half of the images and changes brightness, contrast and saturation.
    """

    def __init__(self, data: bytes, view: str) -> None:
        self._augment = view.startswith("augment-")
        self.mirrored = view == "flip"
        if self._augment:
            draws = _draws(hashlib.sha256(data).hexdigest() + view)
            self.mirrored = next(draws) < 0.5
            self._area, self._aspect = _between(CROP_AREA, draws), _between(CROP_ASPECT, draws)
            self._left, self._top = next(draws), next(draws)
            self._colour = [_between(COLOUR, draws) for _ in range(3)]

    def cut(self, size: tuple[int, int], box: Box | None) -> Box | None:
        """Return what part of an image of `size` (width, height), or of `box` in it, to take."""
        if not self._augment:
            return box
        left, top, right, bottom = box or (0, 0, *size)
        side = self._area**0.5
        wide = min(1.0, side * self._aspect**0.5) * (right - left)
        high = min(1.0, side / self._aspect**0.5) * (bottom - top)
        left += self._left * (right - left - wide)
        top += self._top * (bottom - top - high)
        return (left, top, min(right, left + wide), min(bottom, top + high))

    def finish(self, image: Image) -> Image:
        """Return the resized RGB image, mirrored and coloured."""
        from PIL import ImageEnhance, ImageOps

        if self.mirrored:
            image = ImageOps.mirror(image)
        if self._augment:
            kinds = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
            for kind, factor in zip(kinds, self._colour, strict=True):
                image = kind(image).enhance(factor)
        return image


def _draws(seed: str) -> Iterator[float]:
    """Yield eight numbers from 0 to below 1, of a hash: no generator's version changes them."""
    digest = hashlib.sha256(seed.encode()).digest()
    for start in range(0, 32, 4):
        yield int.from_bytes(digest[start : start + 4], "big") / 2**32


def _between(limits: tuple[float, float], draws: Iterator[float]) -> float:
    low, high = limits
    return low + (high - low) * next(draws)
