"""Altered copies of images: what they are, and that they are always the same."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featx.datasets.augment import COLOUR, CROP_AREA, CROP_ASPECT, Alteration, parse_views
from featx.datasets.decode import decode_image
from featx.errors import SpecError
from featx.records import ImageSpec

PLAIN = ImageSpec(48, 64)
BOX = (3.9104658395558913, 0.03352612239224697, 98.9834921473096, 49.97481567741744)
MIRRORED = False
PIXELS = "ac3168fb5bfea45b"


def picture(seed: int = 0, format: str = "PNG", size: tuple[int, int] = (96, 80)) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    out = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(out, format)
    return out.getvalue()


def view(data: bytes, name: str) -> np.ndarray:
    return decode_image(data, replace(PLAIN, view=name))


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP"])
def test_flip_is_the_mirror_image(format: str) -> None:
    data = picture(format=format, size=(640, 480))
    np.testing.assert_array_equal(view(data, "flip"), view(data, "")[:, ::-1])


def test_augmented_views_differ_from_the_image_and_from_each_other() -> None:
    data = picture()
    found = [view(data, name) for name in ("", "flip", *parse_views("4"))]
    for i, one in enumerate(found):
        assert one.shape == (48, 64, 3)
        assert one.dtype == np.uint8
        for other in found[:i]:
            assert np.abs(one.astype(int) - other).mean() > 2


def test_views_are_the_same_in_every_process_and_version() -> None:
    # Frozen: other pixels under the same key would be stale features.
    data = bytes(range(256)) * 3  # only its digest counts
    alteration = Alteration(data, "augment-2")
    box = alteration.cut((100, 50), None)
    assert box is not None
    np.testing.assert_allclose(box, BOX, atol=1e-9)
    assert alteration.mirrored is MIRRORED
    pixels = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3) * 7919 % 251
    out = alteration.finish(Image.fromarray(pixels.astype(np.uint8)))
    assert hashlib.sha256(np.asarray(out).tobytes()).hexdigest()[:16] == PIXELS


def test_crops_stay_inside_and_keep_to_their_limits() -> None:
    mirrored = 0
    for seed in range(200):
        alteration = Alteration(str(seed).encode(), "augment-1")
        left, top, right, bottom = alteration.cut((300, 200), (10.0, 20.0, 210.0, 120.0)) or ()
        assert 10 <= left < right <= 210
        assert 20 <= top < bottom <= 120
        wide, high = (right - left) / 200, (bottom - top) / 100
        assert CROP_AREA[0] * 0.86 < wide * high <= 1  # wider than the image is cut off
        assert CROP_ASPECT[0] - 0.01 < wide / high < CROP_ASPECT[1] + 0.01
        mirrored += alteration.mirrored
    assert 70 < mirrored < 130


def test_colour_changes_are_mild() -> None:
    grey = Image.new("RGB", (20, 20), (120, 120, 120))
    out = io.BytesIO()
    grey.save(out, "PNG")
    for number in range(1, 20):
        values = view(out.getvalue(), f"augment-{number}").astype(float)
        assert COLOUR[0] * 120 - 2 < values.mean() < COLOUR[1] * 120 + 2


def test_wrong_views_are_told() -> None:
    for text in ("flop", "0", "33", "1.5", "-1"):
        with pytest.raises(SpecError, match="views"):
            parse_views(text)
    for name in ("augment-0", "augment-", "mirror"):
        with pytest.raises(SpecError, match="augment-N"):
            view(picture(), name)
