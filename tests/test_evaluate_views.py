"""Views of images in an evaluation: learnt from, averaged over, never on both sides."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from featuresets import LazyRows, digits_features

from featx.evaluate import evaluate, seal
from featx.evaluate.draws import Draw, choice_folds, with_copies
from featx.heads import make_head
from featx.records import FeatureSet
from featx.selection import head_scores
from featx.split import make_split


def with_views(n: int = 200, count: int = 2, **options: Any) -> FeatureSet:
    features = digits_features(n, **options)
    rng = np.random.default_rng(5)
    views = tuple(
        (features.X + rng.normal(0, 4, features.X.shape)).astype(np.float32) for _ in range(count)
    )
    return digits_features(n, views=views, **options)


@pytest.mark.parametrize("own_split", [False, True])
def test_scores_are_the_mean_over_views_of_a_head_fitted_on_all_views(own_split: bool) -> None:
    features = with_views(own_split=own_split)
    (record,) = evaluate(features, ["ridge(alpha=10.0)"], seed=3)
    split = make_split(
        features.y, splits=features.splits, digests=features.digests, seed=3, test_fraction=0.3
    )
    train = np.concatenate([split.train, split.val])
    matrices = [features.X, *features.views]
    head = make_head("ridge(alpha=10.0)").fit(
        np.concatenate([X[train] for X in matrices]), np.tile(features.y[train], 3)
    )
    wanted = np.mean([head_scores(head, X[split.test]) for X in matrices], axis=0)
    np.testing.assert_allclose(record.arrays["scores"], wanted, rtol=1e-3, atol=1e-4)
    assert record.split["n_train"] == len(split.train)
    assert record.split["n_val"] == len(split.val)
    assert record.split["n_test"] == len(record.arrays["y_pred"]) == len(split.test)


def test_views_equal_to_the_images_change_nothing() -> None:
    plain = digits_features(200)
    same = digits_features(200, views=(plain.X, plain.X))
    (one,), (other,) = (evaluate(f, ["centroid"], shots=[5]) for f in (plain, same))
    np.testing.assert_array_equal(one.arrays["y_pred"], other.arrays["y_pred"])
    assert one.cost["rows_a_class"] == other.cost["rows_a_class"] == [5, 5]


@pytest.mark.parametrize("heads", [["linear_svc", "knn"], ["l2+ridge(alpha=1.0)"]])
def test_choosing_and_shots_work_with_views(heads: list[str]) -> None:
    records = evaluate(with_views(150, count=1), heads, shots=[5, None])
    assert all(r.metrics["accuracy"] > 0.5 for r in records)
    assert {r.split["n_train"] for r in records if r.shots == 5} == {50}


def test_copies_of_an_image_stay_on_one_side_of_every_fold() -> None:
    features = with_views(100, own_split=True)
    split = make_split(features.y, splits=features.splits, digests=features.digests)
    training, _ = seal(features, split)
    none = np.array([], np.int64)
    for draw in (
        Draw(None, 0, training.train, none, 0),
        Draw(None, 0, training.train, training.val, 0),
        Draw(5, 0, training.train[::2], none, 0),
    ):
        folds = choice_folds(draw, training, 3)
        assert folds
        repeated, wide, X, y = with_copies(draw, folds, training)
        rows = np.concatenate([draw.train, draw.val])
        assert len(X) == len(y) == 3 * len(rows)
        image = np.concatenate([repeated.train, repeated.val])
        matrices = [features.X, *features.views]
        for position in range(len(X)):
            assert any((X[position] == M[image[position]]).all() for M in matrices)
            assert y[position] == training.y[image[position]]
        for (train, held), (plain_train, plain_held) in zip(wide, folds, strict=True):
            assert not set(image[train]) & set(image[held])
            assert set(image[train]) == set(rows[plain_train])
            assert sorted(image[held]) == sorted(np.tile(rows[plain_held], 3))


def test_test_rows_of_views_are_read_after_everything_is_chosen() -> None:
    plain = digits_features(200)
    lazy = LazyRows(plain.X + 1)
    features = digits_features(200, views=(lazy,))
    (record,) = evaluate(features, ["centroid"])
    test = set(record.arrays["test_rows"].tolist())
    assert not lazy.asked[0] & test
    assert lazy.asked[-1] == test
