"""One network for several label columns: the rows, the records, the wall."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from featuresets import digits_features

from featx.errors import HeadError, SpecError
from featx.evaluate import evaluate, evaluate_joint
from featx.records import FeatureSet, RunRecord
from featx.targets import strata_of

HEAD = "mlp(hidden=(32,), epochs=12, learning_rate=0.01, joint=True)"


def columns_of(features: FeatureSet) -> list[FeatureSet]:
    parity = replace(
        features, y=(features.y % 2).astype(np.int32), classes=("even", "odd"), target="parity"
    )
    return [replace(f, strata=strata_of(features)) for f in (features, parity)]


@pytest.fixture(scope="module")
def columns() -> list[FeatureSet]:
    return columns_of(digits_features(400))


@pytest.fixture(scope="module")
def records(columns: list[FeatureSet]) -> list[RunRecord]:
    return evaluate_joint(columns, [HEAD], shots=(10, None), draws=2, seed=1)


def test_a_record_a_column_of_every_fit(records: list[RunRecord]) -> None:
    assert [(r.split["target"], r.shots, r.draw) for r in records] == [
        (target, shots, draw)
        for shots in (10, None)
        for draw in range(2)
        for target in ("class", "parity")
    ]
    first, second = records[-2:]
    assert (first.classes, second.classes) == (tuple("0123456789"), ("even", "odd"))
    assert first.cost["joint"] == second.cost["joint"] == ["class", "parity"]
    assert first.seconds == second.seconds
    assert first.cost["parameters_trained"] == 64 * 32 + 32 + 32 * 12 + 12
    assert first.metrics["accuracy"] > 0.8
    assert second.metrics["accuracy"] > 0.85
    assert first.arrays["scores"].shape == (120, 10)
    assert second.arrays["scores"].shape == (120, 2)


def test_rows_are_those_of_single_heads(
    columns: list[FeatureSet], records: list[RunRecord]
) -> None:
    for features, joint in zip(columns, records, strict=False):
        (alone,) = evaluate(features, ["centroid"], shots=(10,), seed=1)
        assert alone.split == joint.split
        np.testing.assert_array_equal(alone.arrays["test_rows"], joint.arrays["test_rows"])
        np.testing.assert_array_equal(alone.arrays["y_true"], joint.arrays["y_true"])


def test_test_rows_do_not_reach_the_fit(columns: list[FeatureSet]) -> None:
    plain = evaluate_joint(columns, [HEAD])[0]
    moved = columns[0].X.copy()
    moved[plain.arrays["test_rows"]] += 50
    other = evaluate_joint([replace(f, X=moved) for f in columns], [HEAD])[0]
    assert other.cost["history"]["loss"] == plain.cost["history"]["loss"]
    assert other.metrics["accuracy"] != plain.metrics["accuracy"]


def test_steps_views_and_own_validation_rows() -> None:
    features = digits_features(300, own_split=True)
    views = (features.X + 1, features.X - 1)
    columns = columns_of(replace(features, views=views))
    records = evaluate_joint(columns, [f"l2+{HEAD}"])
    assert [r.head.text.startswith("l2+mlp") for r in records] == [True, True]
    assert records[0].split["n_train"] == 180
    assert records[0].split["n_val"] == 60
    assert records[0].cost["rows_a_class"][1] < 30
    assert records[0].metrics["accuracy"] > 0.6


def test_what_cannot_be_learnt_at_once(columns: list[FeatureSet]) -> None:
    with pytest.raises(SpecError, match="write mlp\\(joint=True\\)"):
        evaluate_joint(columns, ["mlp"])
    with pytest.raises(SpecError, match="two or more label columns"):
        evaluate_joint(columns[:1], [HEAD])
    with pytest.raises(SpecError, match="--target class,recyclable"):
        evaluate(columns[0], [HEAD])
    with pytest.raises(SpecError, match="True or False"):
        evaluate_joint(columns, ["mlp(joint=2)"])
    spoiled = replace(columns[0], X=np.full_like(columns[0].X, np.nan))
    with pytest.raises(HeadError, match="NaN"):
        evaluate_joint([replace(f, X=spoiled.X) for f in columns], [HEAD])
