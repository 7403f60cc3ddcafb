"""The EXIF orientation of an image: the one tag that changes its pixels.

Read here rather than through Pillow because broken EXIF blocks are common in the wild: Pillow warns
of them, and Python's warning filters cannot be changed safely while other threads decode.
"""

from __future__ import annotations

import struct

ORIENTATION = 0x0112
HEADER = b"Exif\0\0"


def find_jpeg_exif(data: bytes) -> bytes:
    """Return the EXIF block of a JPEG file, from its TIFF header on; empty if there is none."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        if marker == 0xDA or 0xD0 <= marker <= 0xD9:  # pixels begin: no more headers
            break
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if marker == 0xE1 and data.startswith(HEADER, at + 4):
            return data[at + 4 + len(HEADER) : end]
        at = end
    return b""


def read_orientation(exif: bytes) -> int:
    """Return the orientation, 1 to 8, of an EXIF block; 1 where it is absent or unreadable.

    >>> read_orientation(bytes.fromhex("4d4d002a00000008 0001 0112 0003 00000001 0006 0000"))
    6
    """
    exif = exif.removeprefix(HEADER)
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(order + "I", exif, 4)
        (count,) = struct.unpack_from(order + "H", exif, start)
        for i in range(count):
            tag, kind = struct.unpack_from(order + "HH", exif, start + 2 + 12 * i)
            if tag == ORIENTATION:
                value_format = {3: "H", 4: "I"}.get(kind, "H")
                (value,) = struct.unpack_from(order + value_format, exif, start + 10 + 12 * i)
                return value if 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1
