"""Features of several taps side by side: one wider feature set of the images they share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from featx.errors import SpecError
from featx.records import FeatureSet


def fuse(features: Sequence[FeatureSet]) -> FeatureSet:
    """Concatenate the columns of feature sets, row by row of the same image.

    Rows are matched by path, in the order of the first set. Nothing is copied where the sets are
    lazy: their columns are read when asked for. Scaling is the heads' own: they standardise every
    column, so that no tap counts more for its units.

    Parameters
    ----------
    features : sequence of FeatureSet
        Two or more, of one data set, label column and images.

    Returns
    -------
    FeatureSet
        Without a key; backbone and tap name all parts, joined by "+"; extract seconds are summed.

    Raises
    ------
    SpecError
        Fewer than two sets, or sets whose images, labels or splits differ.
    """
    if len(features) < 2:
        raise SpecError(f"{len(features)} feature set(s) to fuse: name two or more taps.")
    first = features[0]
    parts = [(first.X, np.arange(len(first.y)))]
    for other in features[1:]:
        parts.append((other.X, _matched_rows(first, other)))
    lazy = any(hasattr(part.X, "columns") for part in features)
    backbones = [str(part.provenance.get("backbone", "")) for part in features]
    seconds = sum(float(part.provenance.get("extract_seconds") or 0.0) for part in features)
    return FeatureSet(
        X=FusedColumns(parts) if lazy else np.hstack([X[rows] for X, rows in parts]),
        y=first.y,
        classes=first.classes,
        paths=first.paths,
        splits=first.splits,
        key=None,
        digests=first.digests,
        groups=first.groups,
        dataset=first.dataset,
        tap="+".join(dict.fromkeys(part.tap for part in features)),
        target=first.target,
        provenance={
            "backbone": "+".join(dict.fromkeys(backbones)),
            "extract_seconds": seconds,
        },
    )


class FusedColumns:
    """Matrices side by side, as one lazy matrix.

    Parameters
    ----------
    parts : sequence of (matrix, rows)
        An ndarray or lazy matrix each, and which of its rows make up the rows here.

    Attributes
    ----------
    shape : tuple of int
    dtype : dtype
    """

    def __init__(self, parts: Sequence[tuple[Any, np.ndarray]]) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0] + [X.shape[1] for X, _ in parts])
        self.shape = (len(parts[0][1]), int(self._starts[-1]))
        self.dtype = np.result_type(*[X.dtype for X, _ in parts])

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return rows, in the order asked for."""
        picked = [
            X.rows(rows[indices]) if hasattr(X, "rows") else X[rows[indices]]
            for X, rows in self._parts
        ]
        return np.hstack(picked)

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Return the columns from `start` to before `stop`."""
        found = [np.empty((len(self), 0), self.dtype)]
        for (X, rows), left, right in zip(
            self._parts, self._starts[:-1], self._starts[1:], strict=True
        ):
            a, b = max(start, left) - left, min(stop, right) - left
            if a < b:
                block = X.columns(int(a), int(b)) if hasattr(X, "columns") else X[:, a:b]
                found.append(block[rows])
        return np.hstack(found)


def _matched_rows(first: FeatureSet, other: FeatureSet) -> np.ndarray:
    """Row of `other` for each row of `first`."""
    place = {path: i for i, path in enumerate(other.paths)}
    missing = [path for path in first.paths if path not in place]
    extra = len(other.paths) - (len(first.paths) - len(missing))
    if missing or extra:
        raise SpecError(
            f"Cannot fuse {_name(first)} and {_name(other)}: {len(missing)} images are in the "
            f"first alone and {extra} in the second alone. Extract both from the same images."
        )
    rows = np.array([place[path] for path in first.paths], np.int64)
    same = (
        first.classes == other.classes
        and first.target == other.target
        and np.array_equal(first.y, other.y[rows])
        and np.array_equal(first.splits, other.splits[rows])
        and tuple(other.digests[i] for i in rows if other.digests) == first.digests
    )
    if not same:
        raise SpecError(
            f"Cannot fuse {_name(first)} and {_name(other)}: their images, labels or splits "
            "differ. Extract both again from the same images."
        )
    return rows


def _name(features: FeatureSet) -> str:
    words = [str(features.provenance.get("backbone", "")), features.tap]
    return " ".join(w for w in words if w) or "features"
