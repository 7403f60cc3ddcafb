"""Averages of the best heads: chosen without the test rows, and what they are made of."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from featuresets import digits_features

from featx import metrics
from featx.compare import compare
from featx.errors import ProtocolError, SpecError, SplitError
from featx.evaluate import Candidate, TestOutcomes, average_best, evaluate
from featx.evaluate.average import choose_members
from featx.fuse import fuse
from featx.heads import make_head
from featx.records import FeatureSet, RunRecord, to_json
from featx.runs import load_runs, save_run
from featx.selection import inner_folds
from featx.split import make_split


def run(
    sets: list[FeatureSet], heads: list[str], most: int = 2, **options: Any
) -> tuple[TestOutcomes, list[RunRecord]]:
    outcomes = TestOutcomes(most)
    records = []
    for features in sets:
        records += evaluate(features, heads, outcomes=outcomes, **options)
    return outcomes, records


def candidate(score: float, name: str = "a") -> Candidate:
    return Candidate(name, "avg", "ridge", {}, score, "folds", 1.0, {name: 1.0})


# --- the wall ----------------------------------------------------------------------------------


def test_outcomes_are_given_once_after_the_members_are_frozen() -> None:
    outcomes, _ = run([digits_features(120)], ["ridge", "centroid"])
    (draw,) = outcomes.draws()
    with pytest.raises(ProtocolError, match="before its members were frozen"):
        outcomes.hand_out("a")
    outcomes.freeze("a", draw, [1, 0])
    assert [r.head.name for r, _ in outcomes.hand_out("a")] == ["centroid", "ridge"]
    with pytest.raises(ProtocolError, match="a second time"):
        outcomes.hand_out("a")
    with pytest.raises(ProtocolError, match="frozen already"):
        outcomes.freeze("a", draw, [0, 1])


def test_a_candidate_holds_nothing_of_the_test_rows() -> None:
    """Other test rows, and other labels of them, leave every candidate as it was."""
    features = digits_features(240, own_split=True)
    test = np.flatnonzero(features.splits == "test")
    rng = np.random.default_rng(0)
    X, y = features.X.copy(), features.y.copy()
    X[test] = rng.normal(size=X[test].shape) * 100
    y[test] = rng.permutation(y[test])
    found = []
    for one in (features, replace(features, X=X, y=y)):
        outcomes, _ = run([one], ["ridge", "knn", "logreg(C=0.01)"])
        found.append(
            [replace(c, select_seconds=0.0) for c in outcomes.candidates(outcomes.draws()[0])]
        )
    assert found[0] == found[1]


def test_members_are_the_best_on_held_out_rows_whatever_the_test_rows_say() -> None:
    """Good features with spoiled test rows are chosen over poor ones with sound test rows."""
    good, poor = digits_features(300), digits_features(300)
    split = make_split(good.y, splits=good.splits, digests=good.digests)
    rng = np.random.default_rng(0)
    X = good.X.copy()
    X[split.test] = X[rng.permutation(split.test)]
    noise = rng.normal(size=poor.X.shape).astype(np.float32) * 12
    noise[split.test] = 0
    spoiled = replace(good, X=X, tap="spoiled")
    noisy = replace(poor, X=poor.X + noise, tap="noisy")
    outcomes, records = run([noisy, spoiled], ["ridge", "logreg"])
    accuracy = {
        tap: [r.metrics["accuracy"] for r in records if r.tap == tap]
        for tap in ("noisy", "spoiled")
    }
    assert min(accuracy["noisy"]) > 0.5 > 0.3 > max(accuracy["spoiled"])
    (average,) = average_best(outcomes, 2)
    assert [m["tap"] for m in average.selection["members"]] == ["spoiled", "spoiled"]
    assert average.metrics["accuracy"] < 0.3


def test_best_scores_first_and_the_earlier_of_equals() -> None:
    scores = [0.5, 0.9, 0.7, 0.9 + 1e-14, 0.1]
    assert choose_members([candidate(s) for s in scores], 3) == [1, 3, 2]


def test_runs_on_other_test_rows_are_refused() -> None:
    with pytest.raises(ProtocolError, match="tested on different images"):
        run([digits_features(100), digits_features(120)], ["ridge"])


def test_only_what_may_be_a_member_is_kept() -> None:
    outcomes, _ = run([digits_features(150)], ["centroid", "logreg(C=0.01)", "knn(k=50)"])
    (draw,) = outcomes.draws()
    scores = [c.score for c in outcomes.candidates(draw)]
    outcomes.freeze("worst", draw, [int(np.argmin(scores))])
    with pytest.raises(ProtocolError, match="not among the 2 best"):
        outcomes.hand_out("worst")


# --- the average -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made() -> tuple[list[RunRecord], list[RunRecord]]:
    features = digits_features(300)
    left = replace(features, X=features.X[:, :40], tap="left")
    heads = ["linear_svc(C=0.003)", "logreg(C=0.01)", "l2+centroid"]
    outcomes, records = run([features, left], heads, most=3, shots=(5, None), draws=2)
    return records, average_best(outcomes, 3)


def test_an_average_a_draw(made: Any) -> None:
    records, averages = made
    assert [(r.shots, r.draw) for r in averages] == [(5, 0), (5, 1), (None, 0)]
    for average in averages:
        assert (average.kind, average.head.text) == ("head", "average(n=3)")
        assert (average.backbone, average.tap) == ("", "")
        assert len(average.params["members"]) == 3
        candidates = average.selection["candidates"]
        assert len(candidates) == 6
        best = sorted((c["score"] for c in candidates), reverse=True)[:3]
        assert [m["score"] for m in average.selection["members"]] == pytest.approx(best)
        same = next(r for r in records if (r.shots, r.draw) == (average.shots, average.draw))
        assert average.split == same.split
        np.testing.assert_array_equal(average.arrays["y_true"], same.arrays["y_true"])


def test_probabilities_are_the_mean_of_the_members(made: Any) -> None:
    records, averages = made
    for average in averages:
        members = []
        for member in average.selection["members"]:
            (record,) = [
                r
                for r in records
                if (r.shots, r.draw, r.tap, r.head.text)
                == (average.shots, average.draw, member["tap"], member["head"])
            ]
            scores = record.arrays["scores"]
            temperature = record.selection.get("temperature", 1.0)  # logreg: its own softmax
            members.append(metrics.softmax(scores, temperature))
        mean = np.mean(members, axis=0)
        np.testing.assert_allclose(average.arrays["scores"], mean, atol=1e-5)
        np.testing.assert_array_equal(average.arrays["y_pred"], mean.argmax(axis=1))
        y = average.arrays["y_true"]
        assert average.metrics["log_loss"] == pytest.approx(metrics.log_loss(y, mean), abs=1e-4)


def test_cost_is_that_of_choosing_among_all_and_fitting_the_members(made: Any) -> None:
    records, averages = made
    whole = averages[-1]
    all_runs = [r for r in records if r.shots is None]
    assert whole.seconds["extract"] == 1.5  # one cache entry, two taps
    assert whole.seconds["select"] == pytest.approx(sum(r.seconds["select"] for r in all_runs))
    chosen = {(m["tap"], m["head"]) for m in whole.selection["members"]}
    members = [r for r in all_runs if (r.tap, r.head.text) in chosen]
    assert whole.seconds["fit"] == pytest.approx(sum(r.seconds["fit"] for r in members))
    widths = {r.tap: r.cost["feature_dim"] for r in members}
    assert whole.cost["feature_dim"] == sum(widths.values())


def test_averages_are_compared_and_kept_like_other_runs(made: Any, tmp_path: Any) -> None:
    records, averages = made
    comparison = compare([*records, *averages])
    (group,) = [g for g in comparison.groups if g["shots"] == 5 and g["head"] == "average(n=3)"]
    assert group["draws"] == 2
    tested = {t[side] for t in comparison.tests for side in ("best", "other")}
    assert tested == set(range(len(comparison.groups)))
    row = comparison.rows[-1]
    assert row["params"]["members"] == list(averages[-1].params["members"])
    for record in averages:
        json.dumps(to_json(replace(record, arrays={})), allow_nan=False)
        save_run(record, tmp_path)
    assert {r.head.text for r in load_runs(tmp_path)} == {"average(n=3)"}
    kept = [r.params["members"] for r in load_runs(tmp_path)]  # of one second: in no order
    assert averages[0].params["members"] in kept


def test_heads_with_nothing_to_choose_are_scored_all_the_same() -> None:
    features = digits_features(150)
    heads = ["knn(k=3)", "logreg(C=0.01)"]
    outcomes, records = run([features], heads, folds=3)
    split = make_split(features.y, splits=features.splits, digests=features.digests)
    X, y = features.X[split.train], features.y[split.train]
    digests = [features.digests[i] for i in split.train]
    pairs = inner_folds(y, folds=3, seed=0, digests=digests)
    for text, found in zip(heads, outcomes.candidates((None, 0)), strict=True):
        expected = [make_head(text).fit(X[a], y[a]).score(X[b], y[b]) for a, b in pairs]
        assert found.score == pytest.approx(np.mean(expected))
        assert found.on == "folds"
    assert [r.selection["on"] for r in records] == ["given", "given"]
    # Scoring changes nothing else.
    for a, b in zip(records, evaluate(features, heads, folds=3), strict=True):
        assert a.metrics == b.metrics


def test_own_validation_split_is_scored_on() -> None:
    outcomes, _ = run([digits_features(200, own_split=True)], ["ridge", "knn(k=1)"])
    (average,) = average_best(outcomes, 2)
    assert average.selection["on"] == "validation"
    assert (average.backbone, average.tap) == ("pixels", "avg")  # of all candidates


def test_heads_that_differ_by_seed_are_averaged_in_the_draw_that_all_have() -> None:
    outcomes, records = run(
        [digits_features(150)], ["mlp(hidden=(8,), epochs=2)", "ridge"], draws=2, folds=2
    )
    assert [(r.head.name, r.draw) for r in records] == [("mlp", 0), ("ridge", 0), ("mlp", 1)]
    (average,) = average_best(outcomes, 2)
    assert average.draw == 0


def test_fused_features_give_members_too() -> None:
    features = digits_features(200)
    assert features.key is not None
    left = replace(features, X=features.X[:, :32], tap="left")
    right = replace(
        features,
        X=features.X[:, 32:],
        tap="right",
        key=replace(features.key, backbone="other"),
        provenance={"backbone": "other", "extract_seconds": 2.0},
    )
    sets = [left, right, fuse([left, right])]
    outcomes, _ = run(sets, ["ridge"], most=3)
    (average,) = average_best(outcomes, 3)
    assert average.params["members"][0] == "pixels+other left+right ridge"
    assert average.seconds["extract"] == 3.5
    assert (average.backbone, average.tap) == ("", "")


@pytest.mark.parametrize("n", [1, 3])
def test_more_members_than_heads_are_refused(n: int) -> None:
    outcomes, _ = run([digits_features(120)], ["ridge", "centroid"], most=3)
    with pytest.raises(SpecError, match="a number from 2 to 2"):
        average_best(outcomes, n)


def test_one_shot_leaves_nothing_to_choose_on() -> None:
    with pytest.raises(SplitError, match="1 shots leave a class without any"):
        run([digits_features(120)], ["ridge", "centroid"], shots=(5, 1))
