"""The rows that networks learn from and stop on."""

from __future__ import annotations

import numpy as np
import pytest
from featuresets import digits_features

from featx.evaluate import seal, split_rows
from featx.evaluate.draws import Draw, list_draws, list_jobs
from featx.evaluate.sealed import TrainingRows
from featx.heads import parse_head
from featx.records import FeatureSet
from featx.training import hold_out


def training_rows(features: FeatureSet) -> TrainingRows:
    return seal(features, split_rows(features, seed=0, test_fraction=0.3))[0]


@pytest.mark.parametrize("own_split", [False, True])
def test_draws_are_those_of_classify(own_split: bool) -> None:
    features = digits_features(own_split=own_split)
    training = training_rows(features)
    options = {"shots": (5, 20, None), "draws": 3, "seed": 4}
    mine = list_draws(features, training, **options)
    theirs = [j.draw for j in list_jobs([parse_head("mlp")], features, training, **options)]
    assert len(mine) == len(theirs) == 9
    for a, b in zip(mine, theirs, strict=True):
        assert (a.shots, a.number, a.seed) == (b.shots, b.number, b.seed)
        np.testing.assert_array_equal(a.train, b.train)
        np.testing.assert_array_equal(a.val, b.val)
    assert set(mine[1].train) < set(mine[4].train), "draws are nested"


def test_the_data_sets_own_validation_rows_are_watched() -> None:
    features = digits_features(own_split=True)
    training = training_rows(features)
    *few, whole = list_draws(features, training, shots=(5, None), draws=1, seed=0)
    rows = hold_out(training, whole)
    assert rows.on == "validation"
    np.testing.assert_array_equal(rows.held, training.val)
    np.testing.assert_array_equal(rows.fit, training.train)
    rows = hold_out(training, few[0])
    assert rows.on == "held-out"
    assert set(rows.held) | set(rows.fit) == set(few[0].train)


def test_a_part_is_held_out_of_every_class_and_nothing_else() -> None:
    features = digits_features()
    training = training_rows(features)
    (draw,) = list_draws(features, training, shots=(None,), draws=1, seed=0)
    rows = hold_out(training, draw)
    assert not set(rows.fit) & set(rows.held)
    assert sorted([*rows.fit, *rows.held]) == draw.train.tolist()
    shares = np.bincount(training.y[rows.held]) / np.bincount(training.y[draw.train])
    assert np.all((shares > 0.1) & (shares < 0.2))


def test_copies_and_groups_stay_together() -> None:
    n = 500
    features = digits_features(
        n,
        digests=tuple(f"{i // 2}" for i in range(n)),
        groups=tuple(f"g{i // 7}" for i in range(n)),
        y=np.arange(n, dtype=np.int32) % 3,
        classes=("a", "b", "c"),
    )
    training = training_rows(features)
    (draw,) = list_draws(features, training, shots=(None,), draws=1, seed=0)
    rows = hold_out(training, draw)
    assert len(rows.held) > 20
    for names in (training.digests, training.groups):
        assert not {names[i] for i in rows.fit} & {names[i] for i in rows.held}


def rows_of(y: list[int], digests: list[str]) -> tuple[TrainingRows, Draw]:
    labels = np.array(y)
    training = TrainingRows(
        np.zeros((len(y), 1)), np.arange(len(y)), labels, labels, len(y), tuple(digests)
    )
    return training, Draw(None, 0, np.arange(len(y)), np.array([], np.int64), 0)


def test_a_class_with_one_image_keeps_it() -> None:
    rows = hold_out(*rows_of([0] * 10 + [1] * 10 + [2], [str(i) for i in range(21)]))
    assert rows.on == "held-out"
    assert 20 in rows.fit
    rows = hold_out(*rows_of([0] * 10 + [1] * 10 + [2] * 2, [str(i) for i in range(21)] + ["20"]))
    assert rows.on == "held-out"
    assert {20, 21} <= set(rows.fit)


def test_one_image_a_class_leaves_the_training_loss() -> None:
    rows = hold_out(*rows_of([0, 1, 2], ["a", "b", "c"]))
    assert rows.on == "training"
    assert rows.fit.tolist() == [0, 1, 2]
    assert len(rows.held) == 0
