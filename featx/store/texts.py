"""Text in the cache: UTF-8, with bytes that are not kept as they are (file names may hold any)."""

from __future__ import annotations

from collections.abc import Iterable

import h5py
import numpy as np

from featx.columns import Texts, join_texts

_BLOCK = 1 << 16


def encode(text: str) -> bytes:
    """Return the bytes of `text`, of which bytes that are not UTF-8 became lone surrogates."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """Return `data` as text, the inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")


def write_texts(file: h5py.File, name: str, texts: Iterable[str]) -> None:
    """Add a data set of strings of any length."""
    column = Texts.of(texts)
    made = file.create_dataset(name, (len(column),), dtype=h5py.string_dtype("utf-8"))
    first = 0
    for block in column.encoded():
        made[first : first + len(block)] = np.array(block, object)
        first += len(block)


def read_texts(dataset: h5py.Dataset) -> Texts:
    """Return the strings of a data set."""
    return join_texts(
        dataset[first : first + _BLOCK].tolist() for first in range(0, len(dataset), _BLOCK)
    )
