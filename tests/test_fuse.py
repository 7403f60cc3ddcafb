"""Feature sets side by side."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from featuresets import LazyRows, digits_features

from featx.errors import SpecError
from featx.evaluate import evaluate
from featx.fuse import fuse
from featx.records import FeatureSet


def halves(n: int = 300) -> tuple[FeatureSet, FeatureSet]:
    """Left and right columns of the same images, the second set's rows in another order."""
    features = digits_features(n, own_split=True)
    order = np.random.default_rng(0).permutation(n)
    left = replace(features, X=features.X[:, :30])
    right = replace(
        features,
        X=features.X[order, 30:],
        y=features.y[order],
        paths=tuple(features.paths[i] for i in order),
        splits=features.splits[order],
        digests=tuple(features.digests[i] for i in order),
        tap="max",
        provenance={"backbone": "other", "extract_seconds": 2.0},
    )
    return left, right


def test_rows_are_matched_by_path() -> None:
    fused = fuse(halves())
    np.testing.assert_array_equal(fused.X, digits_features(300).X)
    assert fused.tap == "avg+max"
    assert fused.provenance == {"backbone": "pixels+other", "extract_seconds": 3.5}
    assert fused.key is None


@pytest.mark.parametrize("lazy", [(True, True), (True, False)])
def test_lazy_sets_are_not_copied(lazy: tuple[bool, bool]) -> None:
    parts = [replace(f, X=LazyRows(f.X)) if w else f for f, w in zip(halves(), lazy, strict=True)]
    X, expected = fuse(parts).X, digits_features(300).X
    assert X.shape == expected.shape
    np.testing.assert_array_equal(X.rows(np.array([5, 299, 0])), expected[[5, 299, 0]])
    for start, stop in ((0, 64), (10, 20), (25, 40), (30, 64), (64, 64)):
        np.testing.assert_array_equal(X.columns(start, stop), expected[:, start:stop])


def test_both_are_better_than_one() -> None:
    left, right = halves(600)
    alone = [evaluate(f, ["ridge"])[0].metrics["accuracy"] for f in (left, right)]
    fused = evaluate(fuse([left, right]), ["ridge"])[0]
    assert fused.metrics["accuracy"] > max(alone) + 0.02
    assert fused.cost["feature_dim"] == 64


def test_sets_that_do_not_fit_are_refused() -> None:
    left, right = halves()
    with pytest.raises(SpecError, match="two or more"):
        fuse([left])
    fewer = digits_features(200, own_split=True)
    with pytest.raises(SpecError, match="100 images are in the first alone and 0 in the second"):
        fuse([left, fewer])
    for changes in (
        {"y": (right.y + 1) % 10},
        {"digests": right.digests[::-1]},
        {"classes": tuple("abcdefghij")},
    ):
        with pytest.raises(SpecError, match="images, labels or splits differ"):
            fuse([left, replace(right, **changes)])
