"""Features of several taps side by side: one wider feature set of the images they share."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from featx.backbones import parse_backbone
from featx.errors import SpecError
from featx.records import FeatureSet, TapSpec, to_json
from featx.specstring import split_outside


def parse_fusion(text: str, taps: Sequence[str] = ("avg",)) -> list[tuple[tuple[str, str], ...]]:
    """Read what is to be put side by side: backbones joined by "+", each with its tap or without.

    Parameters
    ----------
    text : str
        "vgg16+resnet50", "vgg16:flatten+mobilenet(alpha=0.25):conv_pw_13_relu:avg".
    taps : sequence of str
        For the parts that name none: one fusion a tap.

    Returns
    -------
    list of tuple of (backbone, tap)
        A tuple a fusion; once where every part names its tap.

    Raises
    ------
    SpecError
        Fewer than two parts, the same part twice, or a part that cannot be read.

    Examples
    --------
    >>> parse_fusion("vgg16:flatten+resnet50", ["avg", "max"])
    [(('vgg16', 'flatten'), ('resnet50', 'avg')), (('vgg16', 'flatten'), ('resnet50', 'max'))]
    """
    written = split_outside(text, "+")
    if len(written) < 2 or not all(written):
        raise SpecError(
            f"Cannot fuse {text!r}: join two or more backbones by '+', with their taps or "
            "without: vgg16+resnet50, vgg16:flatten+resnet50:avg."
        )
    parts = []
    for word in written:
        backbone, *words = split_outside(word, ":")
        tap = TapSpec.parse(":".join(words)).name if words else ""
        parts.append((parse_backbone(backbone).text, tap))
    fusions = [tuple((name, own or TapSpec.parse(tap).name) for name, own in parts) for tap in taps]
    for fusion in fusions:
        for name, tap in fusion:
            if fusion.count((name, tap)) > 1:
                raise SpecError(f"Cannot fuse {text!r}: it has {name} {tap} twice; name it once.")
    return list(dict.fromkeys(fusions))


def fuse(features: Sequence[FeatureSet]) -> FeatureSet:
    """Concatenate the columns of feature sets, row by row of the same image.

    Rows are matched by path, in the order of the first set. Nothing is copied where a set is lazy:
    rows and columns are read when asked for, so that a Gram matrix is summed block by block over
    all parts. Scaling is the heads' own: they standardise every column, so that no tap counts more
    for its units.

    Parameters
    ----------
    features : sequence of FeatureSet
        Two or more, of one data set, label column and images.

    Returns
    -------
    FeatureSet
        Without a key. Backbone and tap name all parts in their order, joined by "+" (once where
        all are the same); extract seconds are summed over cache entries; "parts" of the provenance
        says of each part "backbone", "tap", "key" (JSON), "feature_dim" and "extract_seconds".

    Raises
    ------
    SpecError
        Fewer than two sets, or sets whose images, labels or splits differ.
    """
    if len(features) < 2:
        raise SpecError(f"{len(features)} feature set(s) to fuse: name two or more taps.")
    first = features[0]
    matrix = FusedColumns(
        [(f.X, matched_rows(first, f) if f is not first else np.arange(len(f.y))) for f in features]
    )
    lazy = any(hasattr(part.X, "columns") for part in features)
    parts = [_about(part) for part in features]
    entries = {str(p["key"] or number): p["extract_seconds"] for number, p in enumerate(parts)}
    return FeatureSet(
        X=matrix if lazy else matrix.rows(np.arange(len(matrix))),
        y=first.y,
        classes=first.classes,
        paths=first.paths,
        splits=first.splits,
        key=None,
        digests=first.digests,
        groups=first.groups,
        dataset=first.dataset,
        tap=_joined([part.tap for part in features]),
        target=first.target,
        provenance={
            "backbone": _joined([str(part["backbone"]) for part in parts]),
            "extract_seconds": sum(entries.values()),
            "parts": parts,
            # The images are the same: where they lie.
            **{n: first.provenance[n] for n in ("source", "root") if n in first.provenance},
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
        self.ndim = 2

    def __len__(self) -> int:
        return self.shape[0]

    def rows(self, indices: np.ndarray) -> np.ndarray:
        """Return rows, in the order asked for."""
        out = np.empty((len(indices), self.shape[1]), self.dtype)
        for (X, rows), left, right in self._placed():
            wanted = rows[indices]
            out[:, left:right] = X.rows(wanted) if hasattr(X, "rows") else X[wanted]
        return out

    def columns(self, start: int, stop: int) -> np.ndarray:
        """Return the columns from `start` to before `stop`."""
        out = np.empty((len(self), stop - start), self.dtype)
        for (X, rows), left, right in self._placed():
            a, b = max(start, left), min(stop, right)
            if a < b:
                cut = (a - left, b - left)
                block = X.columns(*cut) if hasattr(X, "columns") else X[:, slice(*cut)]
                out[:, a - start : b - start] = block[rows]
        return out

    def _placed(self) -> Iterator[tuple[tuple[Any, np.ndarray], int, int]]:
        """Yield (part, its first column here, the column after its last)."""
        starts = self._starts.tolist()
        return zip(self._parts, starts[:-1], starts[1:], strict=True)


def matched_rows(first: FeatureSet, other: FeatureSet) -> np.ndarray:
    """Return the row of `other` for each row of `first`.

    Raises
    ------
    SpecError
        Their images, labels or splits differ.
    """
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


def _about(features: FeatureSet) -> dict[str, Any]:
    return {
        "backbone": str(features.provenance.get("backbone", "")),
        "tap": features.tap,
        "key": to_json(features.key),
        "feature_dim": features.X.shape[1],
        "extract_seconds": float(features.provenance.get("extract_seconds") or 0.0),
    }


def _joined(names: Sequence[str]) -> str:
    return names[0] if len(set(names)) == 1 else "+".join(names)


def _name(features: FeatureSet) -> str:
    words = [str(features.provenance.get("backbone", "")), features.tap]
    return " ".join(w for w in words if w) or "features"
