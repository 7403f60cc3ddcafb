"""Labels as class numbers, from whole numbers or texts."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import numpy as np

from featx.embeddings.names import REMEDY, is_label
from featx.errors import DatasetError


def read_targets(
    path: str, arrays: Mapping[str, np.ndarray], n: int
) -> dict[str, tuple[np.ndarray, tuple[str, ...]]]:
    """Return the label columns there are, each as class numbers and class names.

    Parameters
    ----------
    path : str
        For messages.
    arrays : mapping of str to ndarray
        By plain name.
    n : int
        Number of rows.

    Raises
    ------
    DatasetError
        There are none, or some are not a label a row.
    """
    names = sorted(filter(is_label, arrays), key=lambda name: name.startswith("labels_"))
    if not names:
        raise DatasetError(
            f"{path!r} has no labels: it has {', '.join(arrays)}. Name them y, one a row. {REMEDY}"
        )
    found = {}
    for name in names:
        target = name.removeprefix("labels_") if name.startswith("labels_") else "class"
        given = arrays.get("classes" if target == "class" else f"classes_{target}")
        classes = None if given is None else read_texts(given)
        found[target] = _class_numbers(path, name, arrays[name], n, classes)
    return found


def _class_numbers(
    path: str, name: str, y: np.ndarray, n: int, classes: tuple[str, ...] | None
) -> tuple[np.ndarray, tuple[str, ...]]:
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (n,):
        hint = " One-hot labels: y.argmax(axis=1)." if y.ndim == 2 else ""
        raise DatasetError(
            f"{path!r} has {n} rows but {name} of shape {y.shape}: give one label a row.{hint}"
        )
    if y.dtype.kind == "f" and np.isfinite(y).all() and (y == np.rint(y)).all():
        y = y.astype(np.int64)
    if y.dtype.kind not in "iubUS":
        raise DatasetError(
            f"{path!r} has {name} of type {y.dtype}: give whole numbers or texts, one a row."
        )
    if y.dtype.kind in "iu" and classes is not None:
        if y.min() < 0 or y.max() >= len(classes):
            raise DatasetError(
                f"{path!r} names {len(classes)} classes but has {name} from {y.min()} to "
                f"{y.max()}: number them from 0."
            )
        numbers = y.astype(np.int32)
    else:
        words = read_texts(y)
        if "" in words:
            raise DatasetError(
                f"{path!r} has no label in {words.count('')} of {n} rows, the first is row "
                f"{words.index('')}: leave these rows out."
            )
        classes = classes or _sorted_names(words)
        unknown = sorted(set(words) - set(classes))
        if unknown:
            raise DatasetError(f"{path!r} has {name} {unknown[0]!r}, which is none of its classes.")
        number_of = {word: i for i, word in enumerate(classes)}
        numbers = np.array([number_of[word] for word in words], np.int32)
    if len(np.unique(numbers)) < 2:
        raise DatasetError(
            f"{path!r} has rows of one class only, {classes[int(numbers[0])]!r}: two or more are "
            "needed."
        )
    return numbers, classes


def _sorted_names(words: Sequence[str]) -> tuple[str, ...]:
    names = set(words)
    if all(re.fullmatch(r"[+-]?[0-9]+", name) for name in names):
        return tuple(sorted(names, key=lambda name: (int(name), name)))
    return tuple(sorted(names))


def read_texts(values: np.ndarray) -> tuple[str, ...]:
    """Return the values of an array as texts."""
    plain = np.atleast_1d(values)
    if plain.dtype.kind == "S":
        return tuple(text.decode("utf-8", "surrogateescape") for text in plain.tolist())
    return tuple(str(value) for value in plain.tolist())
