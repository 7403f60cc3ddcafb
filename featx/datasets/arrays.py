"""`.npz` files of arrays: x_train, y_train, x_test, y_test; x, y; images, labels; and the like.

A split is a prefix or suffix of both names (``x_train``, ``train_images``); without one the
pictures have no split. Names are read in any case. Pictures are (n, height, width), with 1, 3 or 4
channels first or last; whole numbers 0..255, 16-bit numbers 0..65535, or floats 0..1 or 0..255.
Labels are n whole numbers or texts. An array ``classes`` of texts names the classes that whole
numbers stand for.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping

import numpy as np

from featx.datasets.digest import digest_path
from featx.datasets.folder import SPLIT_NAMES
from featx.datasets.kinds import DatasetKind, Listing
from featx.datasets.pictures import Pictures, list_pictures
from featx.datasets.workdir import WorkDir
from featx.errors import DatasetError

PICTURE_NAMES = ("x", "images", "image", "data")
LABEL_NAMES = ("y", "labels", "label", "targets", "target")
CLASS_NAMES = ("classes", "class_names", "label_names")


def list_images(data: str, workdir: WorkDir) -> Listing:
    """Write the pictures of an .npz file out once and list them.

    Raises
    ------
    DatasetError
        The file is damaged, its arrays are not named, shaped or valued as above, or it has objects
        in it (which could run code and are never read).
    """
    path = os.path.abspath(os.path.expanduser(data))
    digest = digest_path(path, workdir)
    return list_pictures(workdir, f"npz-v1-{digest[:20]}", lambda: read_pictures(path))


def read_pictures(path: str) -> list[Pictures]:
    """Read the pictures and labels of an .npz file, a `Pictures` for each split."""
    try:
        # Opened here, because numpy forgets to close what it cannot read.
        with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name.lower(): file[name] for name in file.files}
    except (OSError, EOFError, zipfile.BadZipFile, ValueError, TypeError, AttributeError) as error:
        raise DatasetError(
            f"Cannot read arrays from {path!r}: {error}. Save them with numpy.savez, without "
            "object arrays."
        ) from error
    pairs = _find_pairs(path, arrays)
    classes = next((arrays[name] for name in CLASS_NAMES if name in arrays), None)
    pixels = _to_bytes(path, {split: _channels_last(path, x) for split, (x, _) in pairs.items()})
    return [
        Pictures(split, pixels[split], {"class": _class_names(path, y, len(x), classes)})
        for split, (x, y) in pairs.items()
    ]


def _find_pairs(
    path: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    pairs = {}
    for word, split in (("", ""), *SPLIT_NAMES.items()):
        x = _find(arrays, PICTURE_NAMES, word)
        y = _find(arrays, LABEL_NAMES, word)
        if x is not None and y is not None:
            pairs[split] = (x, y)
        elif x is not None or y is not None:
            raise DatasetError(
                f"{path!r} has {'no labels' if y is None else 'no pictures'} for "
                f"{word or 'its arrays'}; it has: {', '.join(arrays)}. Name both, such as x_train "
                "and y_train."
            )
    if not pairs:
        raise DatasetError(
            f"{path!r} has no pictures and labels; it has: {', '.join(arrays) or 'nothing'}. Name "
            "them x_train, y_train, x_test, y_test, or x and y."
        )
    return pairs


def _find(arrays: Mapping[str, np.ndarray], names: tuple[str, ...], word: str) -> np.ndarray | None:
    for name in names:
        for full in (f"{name}_{word}", f"{word}_{name}") if word else (name,):
            if full in arrays:
                return arrays[full]
    return None


def _channels_last(path: str, x: np.ndarray) -> np.ndarray:
    if x.ndim == 4 and x.shape[-1] not in (1, 3, 4) and x.shape[1] in (1, 3, 4):
        x = np.moveaxis(x, 1, -1)
    if x.ndim == 4 and x.shape[-1] == 1:
        x = x[..., 0]
    if x.ndim not in (3, 4) or (x.ndim == 4 and x.shape[-1] not in (3, 4)) or 0 in x.shape[1:]:
        hint = " Embeddings need no extracting: featx classify takes them." if x.ndim == 2 else ""
        raise DatasetError(
            f"{path!r} has pictures of shape {x.shape}: use (n, height, width) with 1, 3 or 4 "
            f"channels.{hint}"
        )
    return x


def _to_bytes(path: str, pictures: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Scale the pictures of all splits alike to uint8."""
    kinds = {x.dtype for x in pictures.values()}
    if kinds == {np.dtype(np.uint8)}:
        return {split: np.ascontiguousarray(x) for split, x in pictures.items()}
    filled = [x for x in pictures.values() if x.size]
    low = min((x.min() for x in filled), default=0)
    high = max((x.max() for x in filled), default=0)
    numbers = all(kind.kind in "buif" for kind in kinds)
    limit = 65535 if kinds == {np.dtype(np.uint16)} else 255
    if not (numbers and low >= 0 and high <= limit):  # not-a-number fails this too
        raise DatasetError(
            f"{path!r} has pictures of {', '.join(sorted(map(str, kinds)))} from {low} to {high}: "
            "use uint8, or floats within 0..1 or 0..255."
        )
    unit = high <= 1 and all(kind.kind in "bf" for kind in kinds)
    factor = 255 / limit * (255 if unit else 1)
    return {s: np.rint(x.astype(np.float32) * factor).astype(np.uint8) for s, x in pictures.items()}


def _class_names(path: str, y: np.ndarray, n: int, classes: np.ndarray | None) -> list[str]:
    y = y.reshape(-1) if y.ndim == 2 and y.shape[1] == 1 else y
    if y.shape != (n,):
        raise DatasetError(
            f"{path!r} has {n} pictures but labels of shape {y.shape}: give one label a picture."
        )
    if y.dtype.kind == "f" and (y == np.rint(y)).all():
        y = y.astype(np.int64)
    if y.dtype.kind == "S":
        y = np.char.decode(y, "utf-8")
    if y.dtype.kind not in "iubU":
        raise DatasetError(f"{path!r} has labels of type {y.dtype}: use whole numbers or texts.")
    if y.dtype.kind in "iu" and classes is not None:
        if n and not (y.min() >= 0 and y.max() < len(classes)):
            raise DatasetError(
                f"{path!r} names {len(classes)} classes but has labels from {y.min()} to {y.max()}."
            )
        return [str(classes[i]) for i in y]
    return [str(label) for label in y.tolist()]


KIND = DatasetKind(
    "an .npz file of arrays: x_train, y_train, x_test, y_test, or x and y",
    claims=lambda data: data.lower().endswith(".npz") and os.path.isfile(os.path.expanduser(data)),
    list_images=list_images,
)
