"""Embeddings made elsewhere, in one .npz, .h5 or .parquet file.

What `featx cache export` writes can be read, and what is plainer.

Names of arrays (.npz), data sets (.h5) or columns (.parquet), in any case:

- features: ``X`` or ``embeddings`` (n, width); or several sets, ``features_<name>`` in .npz,
  ``features/<name>`` in .h5, a column of lists each in .parquet, where all columns of floats
  together are one set too. ``X_train``, ``X_val``, ``X_test`` go with ``y_train`` and so on.
- labels: ``y`` or ``labels``, whole numbers or texts; ``labels_<column>`` where there are several.
- optional: ``classes`` (names of the numbers), ``paths``, ``splits``, ``groups``, ``digests``
  (SHA-256 of each image file in hex), and the texts ``dataset`` and ``backbone``.

Whatever else is in the file is passed over.
"""

from __future__ import annotations

import hashlib
import os
import re
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from featx.embeddings.labels import read_targets, read_texts
from featx.embeddings.names import (
    FEATURES,
    LABELS,
    REMEDY,
    SPLIT_WORDS,
    TEXTS,
    feature_name,
    is_label,
    plain_name,
)
from featx.errors import CacheMissError, DatasetError, SpecError
from featx.records import SPLITS, FeatureSet
from featx.store.arrays import SUFFIXES, npz_shapes, read_arrays

Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Embeddings:
    """Features of some images and what belongs to their rows; all of one length n.

    Attributes
    ----------
    path : str
        The file, as it was named.
    taps : mapping of str to ndarray of shape (n, width), float32
        The sets of features; one without a name is "".
    targets : mapping of str to (ndarray of shape (n,), int32, tuple of str)
        Label column to class numbers and class names.
    texts : mapping of str to tuple of str
        "paths", "splits", "groups" and "digests", as far as there are any.
    dataset, backbone : str
        Names.
    """

    path: str
    taps: Mapping[str, np.ndarray]
    targets: Mapping[str, tuple[np.ndarray, tuple[str, ...]]]
    texts: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    dataset: str = ""
    backbone: str = ""

    def features(self, tap: str, target: str | None = None) -> FeatureSet:
        """Return one set of features with one label column.

        Where there are no digests, an image is known by its path, or else by its row; rows that
        are equal in every bit are taken for one image, and stay on one side of a split.

        Raises
        ------
        CacheMissError
            There is no such set.
        SpecError
            There is no such label column.
        """
        if tap not in self.taps:
            raise CacheMissError(
                f"{self.path!r} has no features {tap!r}, it has: {', '.join(map(repr, self.taps))}."
            )
        target = target or next(iter(self.targets))
        if target not in self.targets:
            raise SpecError(
                f"{self.path!r} has no label column {target!r}, it has: {', '.join(self.targets)}."
            )
        X, (y, classes) = self.taps[tap], self.targets[target]
        rows = [hashlib.sha256(row.tobytes()).hexdigest() for row in np.ascontiguousarray(X)]
        paths = self.texts.get("paths") or tuple(f"row {i}" for i in range(len(X)))
        digests, groups = self.texts.get("digests"), self.texts.get("groups")
        if digests is None and "paths" in self.texts:
            digests = tuple(hashlib.sha256(os.fsencode(path)).hexdigest() for path in paths)
            counts = Counter(rows)
            groups = groups or tuple(row if counts[row] > 1 else "" for row in rows)
        return FeatureSet(
            X=X,
            y=y,
            classes=classes,
            paths=paths,
            splits=np.array(self.texts.get("splits", [""] * len(X)), "<U5"),
            key=None,
            digests=digests or tuple(rows),
            groups=groups or (),
            dataset=self.dataset,
            tap=tap,
            target=target,
            provenance={
                "backbone": self.backbone,
                "source": os.path.abspath(self.path),
                "extract_seconds": 0.0,
            },
        )


def is_embeddings(path: str | os.PathLike[str]) -> bool:
    """Tell whether a file holds embeddings: an .npz, which may hold pictures, by its arrays."""
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES or file.is_dir():
        return False
    if suffix != ".npz":
        return True  # one that is not there is told as that
    try:
        shapes = {plain_name(name, suffix): s for name, s in npz_shapes(file).items()}
    except (OSError, ValueError, zipfile.BadZipFile):
        return False
    found = [shape for name, shape in shapes.items() if feature_name(name) is not None]
    return bool(found) and all(len(shape) < 3 for shape in found)


def read_embeddings(path: str | os.PathLike[str]) -> Embeddings:
    """Read a file of embeddings, whole.

    Parameters
    ----------
    path : path
        Ends in .npz, .h5, .hdf5 or .parquet.

    Returns
    -------
    Embeddings

    Raises
    ------
    DatasetError
        The file cannot be read, has objects in it, no features or labels, arrays of shapes or
        lengths that do not go together, or values that are not finite.
    """
    text, suffix = os.fspath(path), Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise DatasetError(
            f"Cannot tell what {text!r} is: files of embeddings end in {', '.join(SUFFIXES)}."
        )
    if not Path(path).is_file():
        raise DatasetError(f"There is no file {text!r}. Check the path.")
    try:
        found = read_arrays(Path(path))
    except ImportError:
        raise DatasetError(
            "Reading .parquet needs pyarrow. Install it (pip install pyarrow), or save .npz or .h5."
        ) from None
    except (OSError, EOFError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise DatasetError(
            f"Cannot read embeddings from {text!r}: {error}. Save plain arrays of numbers and "
            "texts, no objects."
        ) from error
    arrays = _join_splits(text, _by_plain_name(text, suffix, found))
    taps: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        tap = feature_name(name)
        if tap is not None:
            if tap in taps:
                raise DatasetError(
                    f"{text!r} has {', '.join(arrays)}: which are the features? Keep one of them, "
                    "or name them features_one, features_two."
                )
            taps[tap] = _checked_features(text, name, values)
    if not taps:
        raise DatasetError(
            f"{text!r} has no features: it has {', '.join(arrays) or 'nothing'}. Name them X, of "
            f"shape (rows, width). {REMEDY}"
        )
    n = len(next(iter(taps.values())))
    lengths = {len(X) for X in taps.values()}
    if len(lengths) > 1:
        raise DatasetError(f"{text!r} has features of {sorted(lengths)} rows: give all the same.")
    stem = re.sub(r"[^A-Za-z0-9._+-]+", "_", Path(path).stem) or "embeddings"
    named = {name: read_texts(arrays[name]) for name in TEXTS if name in arrays}
    columns = {name: v for name, v in named.items() if name not in ("dataset", "backbone")}
    for name, words in columns.items():
        if len(words) != n:
            raise DatasetError(f"{text!r} has {n} rows but {len(words)} {name}: give one each.")
    if "splits" in columns:
        columns["splits"] = _checked_splits(text, columns["splits"])
    return Embeddings(
        path=text,
        taps=taps,
        targets=read_targets(text, arrays, n),
        texts=columns,
        dataset="".join(named.get("dataset", ())) or stem,
        backbone="".join(named.get("backbone", ())) or stem,
    )


def _by_plain_name(path: str, suffix: str, arrays: Arrays) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        plain = plain_name(name, suffix, values.ndim)
        if plain in found:
            raise DatasetError(f"{path!r} has two arrays {plain!r}: {', '.join(arrays)}.")
        found[plain] = values
    return found


def _join_splits(path: str, arrays: Arrays) -> dict[str, np.ndarray]:
    """Put X_train, X_val and X_test below each other, and all that is named like them."""
    found: dict[str, dict[str, np.ndarray]] = {}
    rest = {}
    for name, values in arrays.items():
        base, _, word = name.rpartition("_")
        if word in SPLIT_WORDS and (base in FEATURES or base in LABELS or base in TEXTS):
            found.setdefault(base, {})[SPLIT_WORDS[word]] = values
        else:
            rest[name] = values
    if not found:
        return rest
    sides = [set(parts) for parts in found.values()]
    mixed = [name for name in rest if feature_name(name) is not None or is_label(name)]
    if mixed or any(side != sides[0] for side in sides):
        raise DatasetError(
            f"{path!r} has {', '.join(arrays)}: give features and labels the same splits, such as "
            "X_train, y_train, X_test and y_test."
        )
    order = [split for split in SPLITS if split in sides[0]]
    for base, parts in found.items():
        try:
            rest[base] = np.concatenate([parts[split] for split in order])
        except ValueError as error:
            raise DatasetError(
                f"{path!r}: the splits of {base} differ in shape: {error}."
            ) from None
    first = next(iter(found.values()))
    rest["splits"] = np.repeat(order, [len(first[split]) for split in order])
    return rest


def _checked_features(path: str, name: str, values: np.ndarray) -> np.ndarray:
    if values.ndim != 2 or 0 in values.shape:
        raise DatasetError(
            f"{path!r} has {name} of shape {values.shape}: a row of features an image is wanted, "
            "(rows, width). Feature maps: X.reshape(len(X), -1), or X.mean(axis=(1, 2))."
        )
    if values.dtype.kind not in "buif":
        raise DatasetError(f"{path!r} has {name} of type {values.dtype}: give real numbers.")
    with np.errstate(over="ignore"):
        found = np.ascontiguousarray(values, np.float32)
    bad = np.flatnonzero(~np.isfinite(found).all(axis=1))
    if len(bad):
        raise DatasetError(
            f"{path!r} has {name} with values that are not finite in {len(bad)} of {len(found)} "
            f"rows, the first is row {bad[0]}: leave these rows out or mend them."
        )
    return found


def _checked_splits(path: str, splits: Sequence[str]) -> tuple[str, ...]:
    found = tuple(SPLIT_WORDS.get(s.lower(), "" if s in ("", "None") else s) for s in splits)
    unknown = sorted(set(found) - {*SPLITS, ""})
    if unknown:
        raise DatasetError(
            f"{path!r} has a split {unknown[0]!r}: use train, val and test, or leave it empty."
        )
    return found
