"""Decoding: the right RGB out of every format, plain reasons for what cannot be decoded."""

from __future__ import annotations

import contextlib
import io
import struct
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from featx.datasets import decode
from featx.datasets.decode import SCALED_TOLERANCE, decode_image, read_image
from featx.datasets.exif import read_orientation
from featx.errors import ImageError, SpecError, UnknownNameError
from featx.records import ImageSpec

SPEC = ImageSpec(24, 32)
Y, X = np.mgrid[0:48, 0:64]
SCENE = np.stack([X * 4, Y * 5, (X + Y) * 2], axis=-1).astype(np.uint8)
"""Smooth, so that lossy formats stay close; all corners differ, so that turning shows."""


def encode(image: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def reference(image: Image.Image, spec: ImageSpec = SPEC) -> np.ndarray:
    return np.asarray(image.convert("RGB").resize((spec.width, spec.height), Image.BILINEAR))


def scene() -> Image.Image:
    return Image.fromarray(SCENE)


def assert_close(got: np.ndarray, wanted: np.ndarray, largest: float) -> None:
    assert got.dtype == np.uint8
    assert got.shape == wanted.shape
    assert np.abs(got.astype(int) - wanted).max() <= largest


@pytest.mark.parametrize(
    ("kind", "options", "largest"),
    [
        ("PNG", {}, 0),
        ("BMP", {}, 0),
        ("TIFF", {}, 0),
        ("TIFF", {"compression": "tiff_lzw"}, 0),
        ("TIFF", {"compression": "jpeg"}, 12),
        ("WEBP", {"lossless": True}, 0),
        ("WEBP", {"quality": 95}, 12),
        ("JPEG", {"quality": 95}, 8),
        ("JPEG", {"quality": 95, "progressive": True}, 8),
        ("JPEG", {"quality": 95, "subsampling": 0}, 8),
        ("GIF", {}, 40),
    ],
)
def test_formats(kind: str, options: dict, largest: float) -> None:
    got = decode_image(encode(scene(), kind, **options), SPEC)
    assert got.shape == (24, 32, 3)
    assert got.flags.c_contiguous
    assert got.flags.writeable
    assert_close(got, reference(scene()), largest)


def test_squashes_the_whole_image() -> None:
    spec = ImageSpec(100, 10)
    assert_close(decode_image(encode(scene(), "PNG"), spec), reference(scene(), spec), 0)


def test_antialiased() -> None:
    checks = Image.fromarray(((np.indices((512, 512)).sum(axis=0) % 2) * 255).astype(np.uint8))
    small = decode_image(encode(checks, "PNG"), ImageSpec(64, 64)).astype(int)
    assert np.abs(small - 127.5).max() < 4  # without antialiasing: all black or all white


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF", "BMP"])
def test_grey(kind: str) -> None:
    grey = scene().convert("L")
    got = decode_image(encode(grey, kind), SPEC)
    assert_close(got, reference(grey), 6 if kind == "JPEG" else 0)
    assert (got[..., 0] == got[..., 1]).all()


def test_palette_and_one_bit() -> None:
    palette = scene().quantize(64)
    assert_close(decode_image(encode(palette, "PNG"), SPEC), reference(palette), 0)
    bits = scene().convert("1")
    wanted = reference(bits.convert("L"))
    for kind in ("PNG", "TIFF", "BMP", "GIF"):
        assert_close(decode_image(encode(bits, kind), SPEC), wanted, 0)


@pytest.mark.parametrize("kind", ["PNG", "WEBP", "TIFF"])
def test_transparency_is_white(kind: str) -> None:
    rgba = np.dstack([SCENE, np.zeros((48, 64), np.uint8)])
    rgba[:, 32:, 3] = 255
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    got = decode_image(encode(Image.fromarray(rgba), kind, **options), ImageSpec(48, 64))
    assert (got[:, :32] == 255).all()
    np.testing.assert_array_equal(got[:, 32:], SCENE[:, 32:])


def test_half_transparent() -> None:
    rgba = Image.new("RGBA", (8, 8), (0, 100, 200, 51))
    got = decode_image(encode(rgba, "PNG"), ImageSpec(8, 8))
    np.testing.assert_allclose(got[0, 0], [204, 224, 244], atol=1)


def test_transparent_palette_grey_and_colour() -> None:
    palette = Image.new("P", (8, 8), 1)
    palette.putpalette([255, 0, 0, 0, 0, 255])
    for transparency in (1, b"\xff\x00"):
        got = decode_image(encode(palette, "PNG", transparency=transparency), ImageSpec(8, 8))
        assert (got == 255).all()
    assert (decode_image(encode(palette, "GIF", transparency=1), ImageSpec(8, 8)) == 255).all()
    grey = encode(Image.new("L", (8, 8), 7), "PNG", transparency=7)
    assert (decode_image(grey, ImageSpec(8, 8)) == 255).all()
    rgb = encode(Image.new("RGB", (8, 8), (1, 2, 3)), "PNG", transparency=(1, 2, 3))
    assert (decode_image(rgb, ImageSpec(8, 8)) == 255).all()
    la = encode(Image.new("LA", (8, 8), (7, 0)), "PNG")
    assert (decode_image(la, ImageSpec(8, 8)) == 255).all()


def test_cmyk() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    spec = ImageSpec(8, 8)
    # Pillow writes JPEG as Adobe does: inverted, with Adobe's mark. TIFF is not inverted.
    assert b"Adobe" in encode(red, "JPEG")
    for kind in ("JPEG", "TIFF"):
        assert_close(decode_image(encode(red, kind), spec), np.full((8, 8, 3), [255, 0, 0]), 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_not_clipped(kind: str) -> None:
    deep = SCENE[..., 0].astype(np.uint16) * 257
    got = decode_image(encode(Image.fromarray(deep), kind), ImageSpec(48, 64))
    np.testing.assert_array_equal(got[..., 1], SCENE[..., 0])
    assert got.max() > 200
    assert len(np.unique(got)) > 50


def png16(pixels: np.ndarray, colour: int) -> bytes:
    """A PNG file with 16 bits a channel, which Pillow cannot write."""
    high, wide = pixels.shape[:2]
    rows = pixels.astype(">u2").reshape(high, -1)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(name: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    head = struct.pack(">IIBBBBB", wide, high, 16, colour, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw))
        + chunk(b"IEND", b"")
    )  # fmt: skip


def test_16_bit_colour() -> None:
    spec = ImageSpec(48, 64)
    deep = SCENE.astype(np.uint16) * 257
    assert_close(decode_image(png16(deep, 2), spec), SCENE, 1)
    clear = np.dstack([deep, np.zeros((48, 64), np.uint16)])
    assert (decode_image(png16(clear, 6), spec) == 255).all()


@pytest.mark.parametrize("scale", [1 / 255, 1.0])
def test_float_tiff(scale: float) -> None:
    values = SCENE[..., 0].astype(np.float32) * np.float32(scale)
    got = decode_image(encode(Image.fromarray(values), "TIFF"), ImageSpec(48, 64))
    assert_close(got[..., 0], SCENE[..., 0], 1)


@pytest.mark.parametrize("values", [[-1.0, 2.0], [0.0, 1e9], [0.0, float("nan")]])
def test_float_tiff_of_unknown_range(values: list[float]) -> None:
    image = Image.fromarray(np.array([values], np.float32))
    with pytest.raises(ImageError, match="pixel values from"):
        decode_image(encode(image, "TIFF"), SPEC)


def test_32_bit_integers() -> None:
    for factor in (1, 257):
        values = SCENE[..., 0].astype(np.int32) * factor
        values[0, 0] = 255 * factor
        got = decode_image(encode(Image.fromarray(values), "TIFF"), ImageSpec(48, 64))
        assert_close(got[1:, :, 0], SCENE[1:, :, 0], 1)


@pytest.mark.parametrize("kind", ["GIF", "TIFF", "WEBP", "PNG"])
def test_first_frame(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue", "lime")]
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert (decode_image(data, ImageSpec(8, 8)) == [255, 0, 0]).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_turned_by_exif(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    options |= {"quality": 95, "subsampling": 0} if kind == "JPEG" else {}
    data = encode(scene(), kind, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    assert (upright.size == (48, 64)) == (orientation >= 5)
    # Turning before or after resizing differs by rounding only.
    assert_close(decode_image(data, SPEC), reference(upright), 1)


def test_broken_exif_is_no_reason_to_stop() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x010E] = "description " * 20
    data = bytearray(encode(scene(), "JPEG", quality=95, exif=exif))
    at = data.index(b"Exif\0\0") + 6
    assert read_orientation(bytes(data[at:])) == 6
    for position in range(at, at + 60):
        for value in (0, 0xFF):
            broken = data.copy()
            broken[position] = value
            with warnings.catch_warnings(record=True) as heard:
                warnings.simplefilter("always")
                assert decode_image(bytes(broken), SPEC).shape == (24, 32, 3)
            assert not heard


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("profile", [b"garbage", b"\0" * 128, b"x" * 70_000])
def test_corrupt_colour_profile(kind: str, profile: bytes) -> None:
    data = encode(scene(), kind, icc_profile=profile)
    plain = encode(scene(), kind)
    np.testing.assert_array_equal(decode_image(data, SPEC), decode_image(plain, SPEC))


# --- JPEG in scale -----------------------------------------------------------------------------


def photo(high: int, wide: int, seed: int = 0) -> Image.Image:
    """A photo-like image: coarse shapes with fine noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (high // 16, wide // 16, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((wide, high), Image.BICUBIC))
    return Image.fromarray((smooth + rng.normal(0, 6, smooth.shape)).clip(0, 255).astype(np.uint8))


def test_jpeg_below_four_times_is_decoded_in_full() -> None:
    image = photo(255, 255)
    data = encode(image, "JPEG", quality=90)
    wanted = reference(Image.open(io.BytesIO(data)), ImageSpec(64, 64))
    np.testing.assert_array_equal(decode_image(data, ImageSpec(64, 64)), wanted)


@pytest.mark.parametrize("size", [(512, 400), (1000, 777), (2001, 1503)])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_jpeg_in_scale_stays_within_tolerance(size: tuple[int, int], subsampling: int) -> None:
    data = encode(photo(*size), "JPEG", quality=90, subsampling=subsampling)
    spec = ImageSpec(96, 96)
    wanted = reference(Image.open(io.BytesIO(data)), spec).astype(int)
    off = np.abs(decode_image(data, spec) - wanted)
    assert off.max() > 0 or min(size) < 4 * 96
    assert off.mean() <= SCALED_TOLERANCE[0]
    assert off.max() <= SCALED_TOLERANCE[1]


@pytest.mark.shared
@pytest.mark.parametrize("folder", ["trashnet", "clothing/train"])
def test_real_photos(shared: Path, folder: str) -> None:
    files = sorted((shared / "datasets" / folder).rglob("*.jpg"))[::60]
    assert len(files) > 20
    for file in files:
        upright = ImageOps.exif_transpose(Image.open(file))
        spec = ImageSpec(224, 224)
        assert_close(read_image(file, spec), reference(upright, spec), 1)
        spec = ImageSpec(48, 48)  # in scale
        off = np.abs(read_image(file, spec) - reference(upright, spec).astype(int))
        assert off.mean() <= SCALED_TOLERANCE[0], file
        assert off.max() <= SCALED_TOLERANCE[1], file


# --- what cannot be decoded --------------------------------------------------------------------

ALL_KINDS: dict[str, Callable[[], bytes]] = {
    "JPEG": lambda: encode(scene(), "JPEG"),
    "PNG": lambda: encode(scene(), "PNG"),
    "GIF": lambda: encode(scene(), "GIF"),
    "BMP": lambda: encode(scene(), "BMP"),
    "TIFF": lambda: encode(scene(), "TIFF", compression="tiff_deflate"),
    "WEBP": lambda: encode(scene(), "WEBP"),
}


def reason(data: bytes) -> str:
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        with pytest.raises(ImageError) as caught:
            decode_image(data, SPEC)
    assert not heard
    assert "\n" not in caught.value.reason
    return caught.value.reason


def test_not_images() -> None:
    assert reason(b"") == "0 bytes"
    assert reason(b"\0" * 500) == "not an image: 500 zero bytes"
    assert reason(b"hello, this is a text file").startswith("not an image (JPEG,")
    assert reason(b"<svg></svg>").startswith("not an image")
    assert "HEIC or AVIF" in reason(b"\0\0\0\x18ftypheic" + bytes(30))


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_truncated(kind: str) -> None:
    whole = ALL_KINDS[kind]()
    for share in (0.5, 0.8):
        text = reason(whole[: int(len(whole) * share)])
        if kind == "TIFF":  # has no mark of its end
            assert text.startswith(("truncated", "damaged"))
        else:
            assert text.startswith(f"truncated {kind.replace('WEBP', 'WebP')}, ")


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_header_only(kind: str) -> None:
    whole = ALL_KINDS[kind]()
    for length in range(12, 40):
        assert reason(whole[:length]).startswith(("truncated", "damaged", "not an image"))


def patched(kind: str, side: int) -> bytes:
    """A small file whose header says side × side pixels."""
    data = bytearray(ALL_KINDS[kind]())
    if kind == "PNG":
        data[16:24] = struct.pack(">II", side, side)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    elif kind == "JPEG":
        at = data.index(b"\xff\xc0") + 5
        data[at : at + 4] = struct.pack(">HH", side, side)
    elif kind == "BMP":
        data[18:26] = struct.pack("<ii", side, side)
    elif kind == "GIF":
        data[6:10] = struct.pack("<HH", side, side)
    return bytes(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF"])
def test_decompression_bomb(kind: str) -> None:
    assert reason(patched(kind, 60_000)) == "60000 × 60000 pixels, more than 178,956,970"


def test_large_but_allowed_gives_no_warning() -> None:
    # Above the size that Pillow warns of; truncated, so that the test stays small.
    assert reason(patched("PNG", 10_000)).startswith("truncated")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(sorted(ALL_KINDS)), st.data())
def test_any_damage_gives_pixels_or_a_reason(kind: str, data: st.DataObject) -> None:
    content = bytearray(ALL_KINDS[kind]())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, min(len(content), 400) - 1))
        content[at] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert decode_image(bytes(content), SPEC).shape == (24, 32, 3)


@settings(deadline=None)
@given(st.binary(max_size=80))
@example(b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0")
def test_any_exif_has_an_orientation(exif: bytes) -> None:
    assert 1 <= read_orientation(exif) <= 8


# --- the rest ----------------------------------------------------------------------------------


def test_threads_agree() -> None:
    files = [make() for make in ALL_KINDS.values()] * 20
    alone = [decode_image(data, SPEC) for data in files]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda data: decode_image(data, SPEC), files))
    for a, b in zip(alone, together, strict=True):
        np.testing.assert_array_equal(a, b)


def test_input_is_left_alone_and_may_be_any_buffer() -> None:
    data = encode(scene(), "JPEG")
    copy = bytes(data)
    decode_image(data, SPEC)
    assert data == copy


def test_read_image(tmp_path: Path) -> None:
    path = tmp_path / "misnamed.jpg"
    path.write_bytes(encode(scene(), "PNG"))
    assert_close(read_image(path, SPEC), reference(scene()), 0)
    path.write_text("text")
    with pytest.raises(ImageError) as caught:
        read_image(path, SPEC)
    assert caught.value.path == str(path)
    assert str(caught.value) == f"{path}: {caught.value.reason}"
    with pytest.raises(ImageError, match="no such file"):
        read_image(tmp_path / "gone.png", SPEC)


def test_unknown_rules() -> None:
    data = encode(scene(), "PNG")
    with pytest.raises(UnknownNameError, match="Did you mean 'bilinear-antialias'"):
        decode_image(data, ImageSpec(8, 8, resize="bilinear-antialiased"))
    with pytest.raises(SpecError, match="colour"):
        decode_image(data, ImageSpec(8, 8, colour="grey"))
    assert ImageSpec(8, 8).resize in decode.RESIZE
