"""Images as callers in Python hand them over: paths, or pixels."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import SpecError

_REMEDY = "Give a list of paths of image files, or uint8 RGB pixels of shape (n, height, width, 3)."


def read_images(X: Any) -> tuple[list[str], list[np.ndarray]]:
    """Tell paths from pixels.

    Parameters
    ----------
    X : sequence of paths, sequence of arrays, or array
        Paths also as an array or a column of text, such as a pandas Series.

    Returns
    -------
    paths : list of str
        Empty where X is pixels.
    pixels : list of ndarray of uint8, shape (height, width, 3)
        Empty where X is paths.

    Raises
    ------
    SpecError
        X is neither, or empty.
    """
    if isinstance(X, (str, bytes, os.PathLike)):
        raise SpecError(f"X is one path, {os.fsdecode(X)!r}, where many are wanted. {_REMEDY}")
    array = None if isinstance(X, (list, tuple)) else np.asarray(X)
    if array is not None and array.dtype.kind not in "OUST":
        return [], _pixels(array)
    items = list(X) if array is None else _column(array)
    if not items:
        raise SpecError(f"X is empty. {_REMEDY}")
    if all(isinstance(item, (str, bytes, os.PathLike)) for item in items):
        return [os.fsdecode(item) for item in items], []
    if all(isinstance(item, np.ndarray) for item in items):
        return [], [picture for item in items for picture in _pixels(item[None])]
    kinds = sorted({type(item).__name__ for item in items})
    raise SpecError(f"X holds {' and '.join(kinds)}. {_REMEDY}")


def _column(array: np.ndarray) -> Sequence[Any]:
    if array.ndim == 1 or (array.ndim == 2 and array.shape[1] == 1):
        return list(array.ravel())
    raise SpecError(f"X has shape {array.shape}, where one column of paths is wanted. {_REMEDY}")


def _pixels(array: np.ndarray) -> list[np.ndarray]:
    received = f"X has {array.dtype} values of shape {array.shape}"
    if array.ndim == 3 or (array.ndim == 4 and array.shape[-1] == 1):
        raise SpecError(
            f"{received}: grey images? Make them RGB: "
            f"np.repeat(X{'' if array.ndim == 4 else '[..., None]'}, 3, axis=-1)."
        )
    if array.ndim != 4 or array.shape[-1] != 3:
        raise SpecError(f"{received}. {_REMEDY}")
    if array.dtype != np.uint8:
        raise SpecError(
            f"{received}. Give uint8, 0 to 255; from 0..1: np.rint(255 * X).astype(np.uint8). "
            "Each backbone's own preprocessing is applied inside."
        )
    if 0 in array.shape:
        raise SpecError(f"X is empty: shape {array.shape}. {_REMEDY}")
    return list(array)
