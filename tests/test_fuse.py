"""Feature sets side by side."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from featuresets import LazyRows, digits_features

from featx.errors import SpecError
from featx.evaluate import evaluate
from featx.fuse import FusedColumns, fuse, parse_fusion
from featx.heads import make_head
from featx.records import FeatureSet, to_json


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
    assert fused.key is None
    assert fused.provenance["backbone"] == "pixels+other"
    assert [(p["backbone"], p["tap"], p["feature_dim"]) for p in fused.provenance["parts"]] == [
        ("pixels", "avg", 30),
        ("other", "max", 34),
    ]
    assert fused.provenance["parts"][0]["key"]["backbone"] == "pixels"


def test_extraction_of_one_entry_is_paid_once() -> None:
    left, right = halves()
    same_entry = replace(right, provenance=left.provenance)
    assert fuse([left, same_entry]).provenance["extract_seconds"] == 1.5
    assert left.key is not None
    other = replace(right, key=replace(left.key, backbone="other"))
    assert fuse([left, other]).provenance["extract_seconds"] == 3.5
    assert fuse([left, replace(left, tap="max")]).provenance["backbone"] == "pixels"


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


@pytest.mark.parametrize("head", ["linear_svc(C=0.01)", "logreg(C=0.01)", "ridge"])
def test_a_fit_on_parts_is_a_fit_on_their_columns_side_by_side(head: str) -> None:
    """Fewer rows than features, so that the Gram matrix is summed over the blocks of all parts."""
    rng = np.random.default_rng(0)
    y = np.arange(40) % 4
    parts = [rng.normal(size=(40, w)).astype(np.float32) + y[:, None] for w in (300, 500, 7)]
    order = rng.permutation(40)
    back = np.argsort(order)
    shuffled = LazyRows(parts[1][order])
    fused = FusedColumns(
        [(LazyRows(parts[0]), np.arange(40)), (shuffled, back), (parts[2], np.arange(40))]
    )
    stacked = make_head(head).fit(np.hstack(parts), y)
    streamed = make_head(head).fit(fused, y)
    np.testing.assert_allclose(streamed.coef_, stacked.coef_, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(streamed.intercept_, stacked.intercept_, rtol=1e-4, atol=1e-7)


class Noise:
    """A wide lazy matrix whose columns are made when asked for, and counted."""

    def __init__(self, rows: int, width: int) -> None:
        self.shape, self.dtype, self.most = (rows, width), np.dtype(np.float32), 0

    def rows(self, indices: np.ndarray) -> np.ndarray:
        raise AssertionError("the Gram matrix is summed by columns")

    def columns(self, start: int, stop: int) -> np.ndarray:
        self.most = max(self.most, stop - start)
        grid = np.outer(np.arange(1, self.shape[0] + 1), np.arange(start + 1, stop + 1))
        return np.sin(grid.astype(np.float32))


def test_wide_parts_are_never_held(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.heads.linear.sources.BLOCK_BYTES", 2**20)
    left, right = Noise(50, 100_000), Noise(50, 50_000)
    fused = FusedColumns([(left, np.arange(50)), (right, np.arange(50))])
    y = np.arange(50) % 2
    tracemalloc.start()
    head = make_head("linear_svc(C=0.01)").fit(fused, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert head.coef_.shape == (1, 150_000)
    assert max(left.most, right.most) < 3000
    assert peak < 50 * 150_000 * 4 / 2  # half of the features


def test_the_record_says_what_was_fused() -> None:
    alone = evaluate(halves()[0], ["centroid"])[0]
    record = evaluate(fuse(halves()), ["centroid"])[0]
    assert alone.parts == ()
    assert [p["tap"] for p in record.parts] == ["avg", "max"]
    assert record.split["test_digest"] == alone.split["test_digest"]
    np.testing.assert_array_equal(record.arrays["y_true"], alone.arrays["y_true"])
    json.dumps(to_json(record.parts), allow_nan=False)


@pytest.mark.parametrize(
    ("text", "taps", "expected"),
    [
        ("vgg16+resnet50", ("avg",), ["vgg16 avg, resnet50 avg"]),
        (
            "vgg16 + resnet50",
            ("avg", "max"),
            ["vgg16 avg, resnet50 avg", "vgg16 max, resnet50 max"],
        ),
        ("vgg16:avg+vgg16:max", ("avg", "max"), ["vgg16 avg, vgg16 max"]),
        (
            "mobilenet(alpha=0.25):block1:max+mobilenet(alpha=1.0):top",
            ("avg",),
            ["mobilenet(alpha=0.25) block1:max, mobilenet top:flatten"],
        ),
    ],
)
def test_fusions_are_read(text: str, taps: tuple[str, ...], expected: list[str]) -> None:
    found = [", ".join(" ".join(p) for p in fusion) for fusion in parse_fusion(text, taps)]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vgg16", "join two or more"),
        ("vgg16+", "join two or more"),
        ("vgg16+resnet5", "Did you mean 'resnet50'"),
        ("vgg16+vgg16", "has vgg16 avg twice"),
        ("vgg16:avg+vgg16", "has vgg16 avg twice"),
        ("mobilenet+mobilenet(alpha=1.0)", "has mobilenet avg twice"),
        ("vgg16:+resnet50", "Cannot read the tap"),
    ],
)
def test_fusions_that_cannot_be_read_are_explained(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_fusion(text)
    assert message in str(caught.value)


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
