"""Text in the cache: UTF-8, with bytes that are not kept as they are (file names may hold any)."""

from __future__ import annotations

from collections.abc import Sequence

import h5py
import numpy as np


def encode(text: str) -> bytes:
    """Return the bytes of `text`; the inverse of `decode`."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Return `data` as text; bytes that are not UTF-8 become lone surrogates."""
    return data.decode("utf-8", "surrogateescape")


def write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    """Add a data set of strings of any length."""
    data = np.array([encode(t) for t in texts], object)
    file.create_dataset(name, data=data, dtype=h5py.string_dtype("utf-8"))


def read_texts(dataset: h5py.Dataset) -> tuple[str, ...]:
    """Return the strings of a data set."""
    return tuple(decode(t) for t in dataset[:])
