"""Evaluation: the sealed test rows, draws, and what a record holds."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from featuresets import LazyRows, digits_features

from featx import metrics
from featx.errors import HeadError, ProtocolError, SpecError, SplitError
from featx.evaluate import HeadRuns, TestRows, evaluate, seal
from featx.heads import make_head
from featx.records import HeadSpec, Split, to_json
from featx.split import make_split

# --- the wall ----------------------------------------------------------------------------------


@pytest.fixture
def test_rows() -> TestRows:
    return TestRows(digits_features(50), np.array([3, 7, 20]))


def test_rows_are_given_once_after_freezing(test_rows: TestRows) -> None:
    with pytest.raises(ProtocolError, match="before its choices were frozen"):
        test_rows.hand_out("a")
    test_rows.freeze("a", {"C": 1})
    X, y = test_rows.hand_out("a")
    np.testing.assert_array_equal(X, digits_features(50).X[[3, 7, 20]])
    np.testing.assert_array_equal(y, digits_features(50).y[[3, 7, 20]])
    with pytest.raises(ProtocolError, match="a second time"):
        test_rows.hand_out("a")
    with pytest.raises(ProtocolError, match="frozen already"):
        test_rows.freeze("a", {"C": 2})


def test_runs_do_not_open_the_rows_for_each_other(test_rows: TestRows) -> None:
    test_rows.freeze("a", {})
    test_rows.hand_out("a")
    with pytest.raises(ProtocolError):
        test_rows.hand_out("b")


def test_rows_handed_out_cannot_be_changed(test_rows: TestRows) -> None:
    test_rows.freeze("a", {})
    X, y = test_rows.hand_out("a")
    with pytest.raises(ValueError, match="read-only"):
        X[0] = 0
    y[:] = 99
    test_rows.freeze("b", {})
    np.testing.assert_array_equal(test_rows.hand_out("b")[1], digits_features(50).y[[3, 7, 20]])


def test_training_rows_cannot_reach_test_rows() -> None:
    features = digits_features(100)
    split = make_split(features.y, splits=features.splits, digests=features.digests)
    training, test = seal(features, split)
    assert len(training.y) == 100 - len(test.rows)
    reachable = training.take(np.concatenate([training.train, training.val]))
    hidden = {row.tobytes() for row in features.X[split.test]}
    assert not hidden & {row.tobytes() for row in reachable}
    for outside in (len(training.y), 99, -1):
        with pytest.raises(ProtocolError, match="not a training row"):
            training.take(np.array([outside]))


def test_rows_on_two_sides_are_refused() -> None:
    rows = np.arange(10)
    with pytest.raises(ProtocolError, match="two sides"):
        seal(digits_features(20), Split(rows, rows[:0], rows[5:], 0))
    with pytest.raises(ProtocolError, match="two sides"):
        seal(digits_features(20), Split(rows, rows[:3], np.arange(10, 20), 0))


def test_choosing_and_fitting_never_read_a_test_row() -> None:
    """Until the first hand-out, no test row is read; labels of test rows change no choice."""
    features = digits_features(300)
    lazy = LazyRows(features.X)
    test = set(evaluate(replace(features, X=lazy), ["centroid"])[0].arrays["test_rows"].tolist())
    first_touch = next(i for i, asked in enumerate(lazy.asked) if asked & test)
    assert lazy.asked[first_touch] == test
    assert first_touch > 0
    assert sum(bool(asked & test) for asked in lazy.asked) == 1

    spoiled = features.X.copy()
    spoiled[sorted(test)] = np.nan  # would break any fit that saw them
    with pytest.raises(HeadError, match="NaN"):
        evaluate(replace(features, X=spoiled), ["ridge"])
    plain = evaluate(features, ["ridge"])[0]
    moved = features.X.copy()
    moved[sorted(test)] += 1000
    other = evaluate(replace(features, X=moved), ["ridge"])[0]
    assert plain.selection["chosen"] == other.selection["chosen"]
    assert [p["score"] for p in plain.selection["curve"]] == [
        p["score"] for p in other.selection["curve"]
    ]


def test_large_lazy_features_are_read_by_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    features = digits_features(300, own_split=True)
    heads = ["linear_svc(C=0.01)", "logreg", "ridge", "centroid"]
    whole = evaluate(features, heads, shots=(5, None))
    monkeypatch.setattr("featx.evaluate.sealed.LAZY_BYTES", 0)
    monkeypatch.setattr("featx.evaluate.sealed.BLOCK_BYTES", 4 * 64 * 7)
    blocks = evaluate(replace(features, X=LazyRows(features.X)), heads, shots=(5, None))
    for a, b in zip(whole, blocks, strict=True):
        np.testing.assert_allclose(a.arrays["scores"], b.arrays["scores"], rtol=1e-4, atol=1e-4)
        assert a.selection.get("chosen") == b.selection.get("chosen")
        assert a.cost["spread"] == pytest.approx(b.cost["spread"])


# --- runs --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def records():
    return evaluate(
        digits_features(400), ["logreg(C=0.1)", "knn", "centroid"], shots=(5, 10, None), draws=2
    )


def test_one_record_a_head_and_draw(records) -> None:
    assert [(r.head.name, r.shots, r.draw) for r in records] == [
        (name, shots, draw)
        for shots, draws in ((5, 2), (10, 2), (None, 1))
        for draw in range(draws)
        for name in ("logreg", "knn", "centroid")
    ]
    assert [r.split["n_train"] for r in records[::3]] == [50, 50, 100, 100, 280]
    assert len({r.split["test_digest"] for r in records}) == 1
    assert {r.split["n_test"] for r in records} == {120}


def test_record_is_whole(records) -> None:
    for record in records:
        assert record.kind == "head"
        assert record.backbone == "pixels"
        assert record.seconds["extract"] == 1.5
        assert set(record.seconds) == {"extract", "select", "fit", "predict"}
        assert record.cost["feature_dim"] == 64
        assert 0.3 < record.cost["spread"] < 1
        assert record.environment["featx"]
        assert "logreg" not in record.head.text or record.params["C"] == 0.1
        arrays = record.arrays
        right = (arrays["y_true"] == arrays["y_pred"]).mean()
        assert record.metrics["accuracy"] == pytest.approx(right)
        assert arrays["scores"].shape == (120, 10)
        assert arrays["scores"].dtype == np.float32
        assert record.metrics["log_loss"] > 0
        json.dumps(to_json(replace(record, arrays={})), allow_nan=False)


def test_more_shots_help(records) -> None:
    mean = {
        shots: np.mean([r.metrics["accuracy"] for r in records if r.shots == shots])
        for shots in (5, 10, None)
    }
    assert mean[5] < mean[10] < mean[None]


def test_runs_repeat(records) -> None:
    again = evaluate(
        digits_features(400), ["logreg(C=0.1)", "knn", "centroid"], shots=(5, 10, None), draws=2
    )
    for a, b in zip(records, again, strict=True):
        np.testing.assert_array_equal(a.arrays["y_pred"], b.arrays["y_pred"])
        assert a.metrics == b.metrics


def test_seed_changes_split_and_draws(records) -> None:
    other = evaluate(digits_features(400), ["centroid"], seed=1)[0]
    assert other.split["test_digest"] != records[0].split["test_digest"]


def test_pieces_in_any_order_give_the_same_records(records) -> None:
    """Each linear head beside the others, each other head alone; what is shared is not lost."""
    heads = ["logreg(C=0.1)", "knn", "centroid", "l2+ridge(alpha=1.0)", "l2+centroid", "ridge"]
    options = {"shots": (5, None), "draws": 2}
    runs = HeadRuns(digits_features(300), heads, **options)
    pieces = runs.pieces()
    assert [p.heads for p in pieces if p.job == 0] == [(0, 5), (1,), (2,), (3, 4)]
    found = {run.place: run.record for piece in pieces[::-1] for run in runs.run(piece)}
    expected = evaluate(digits_features(300), heads, **options)
    assert sorted(found) == list(range(len(expected))) == list(range(runs.total))
    for i, record in enumerate(expected):
        assert (found[i].head, found[i].shots, found[i].draw) == (
            record.head, record.shots, record.draw,
        )  # fmt: skip
        assert found[i].metrics == record.metrics
        np.testing.assert_array_equal(found[i].arrays["scores"], record.arrays["scores"])


def test_a_piece_made_twice_is_refused() -> None:
    runs = HeadRuns(digits_features(100), ["centroid"])
    (piece,) = runs.pieces()
    assert len(list(runs.run(piece))) == 1
    with pytest.raises(ProtocolError, match="frozen already"):
        list(runs.run(piece))


def test_progress_is_told(records) -> None:
    told = []
    evaluate(
        digits_features(100),
        ["centroid", "knn(k=1)"],
        shots=(5,),
        draws=2,
        progress=lambda record, done, total: told.append((record.head.name, done, total)),
    )
    assert told == [(name, i + 1, 4) for i, name in enumerate(["centroid", "knn"] * 2)]


def test_own_validation_split_is_chosen_on_then_fitted_on() -> None:
    features = digits_features(300, own_split=True)
    record, few = evaluate(features, ["ridge"], shots=(None, 5))
    assert record.selection["on"] == "validation"
    assert record.split["n_val"] == 60
    assert record.split["n_train"] == 180
    assert record.split["n_test"] == 60
    # Few-shot runs leave the validation rows alone.
    assert few.selection["on"] == "folds"
    assert few.split["n_val"] == 0
    spoiled = features.X.copy()
    spoiled[180:240] = -spoiled[180:240]
    unmoved = evaluate(replace(features, X=spoiled), ["ridge"], shots=(5,))[0]
    np.testing.assert_array_equal(unmoved.arrays["scores"], few.arrays["scores"])
    moved = evaluate(replace(features, X=spoiled), ["ridge"])[0]
    assert np.abs(moved.arrays["scores"] - record.arrays["scores"]).max() > 0.01


def test_copies_across_the_data_sets_own_split_are_counted() -> None:
    record = evaluate(digits_features(200, own_split=True, copies=3), ["centroid"])[0]
    assert record.split["train_test_duplicates"] == 3


@pytest.mark.parametrize("head", ["linear_svc(C=0.003)", "centroid", "lda"])
def test_temperature_makes_probabilities_of_scores(head: str) -> None:
    record = evaluate(digits_features(500), [head])[0]
    temperature = record.selection["temperature"]
    p = metrics.softmax(record.arrays["scores"], temperature)
    y = record.arrays["y_true"]
    assert record.metrics["log_loss"] == pytest.approx(metrics.log_loss(y, p), abs=1e-4)
    assert record.metrics["ece"] < 0.12
    # Near the best that any temperature could do on the test rows themselves.
    best = metrics.log_loss(
        y,
        metrics.softmax(
            record.arrays["scores"], metrics.fit_temperature(record.arrays["scores"], y)
        ),
    )
    assert record.metrics["log_loss"] < best + 0.05


def test_mlp_stops_on_validation_rows_and_draws_are_seeds() -> None:
    head = HeadSpec("mlp", {"hidden": (32,), "epochs": 6, "learning_rate": 0.01})
    features = digits_features(300, own_split=True)
    first, second = evaluate(features, [head], draws=2)
    assert [first.draw, second.draw] == [0, 1]
    assert np.abs(first.arrays["scores"] - second.arrays["scores"]).max() > 1e-3
    assert first.cost["epochs"] == len(first.cost["history"]["val_loss"])
    assert first.cost["epoch_seconds"] > 0
    assert first.cost["parameters_trained"] == 64 * 32 + 32 + 32 * 10 + 10
    own = dict(first.cost["history"])
    spoiled = features.X.copy()
    spoiled[180:240] += 5
    other = evaluate(replace(features, X=spoiled), [head])[0].cost["history"]
    assert other["loss"][0] == pytest.approx(own["loss"][0])
    assert other["val_loss"] != own["val_loss"]


def test_many_classes_keep_the_ten_best_scores() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(120), 4).astype(np.int32)
    features = replace(
        digits_features(480),
        X=(rng.normal(size=(120, 30))[y] + 0.1 * rng.normal(size=(480, 30))).astype(np.float32),
        y=y,
        classes=tuple(f"c{i:03d}" for i in range(120)),
    )
    record = evaluate(features, ["centroid"])[0]
    assert record.arrays["scores"].shape == (120, 10)
    np.testing.assert_array_equal(record.arrays["score_classes"][:, 0], record.arrays["y_pred"])
    assert (np.diff(record.arrays["scores"], axis=1) <= 0).all()


def test_digest_of_test_rows_knows_images_and_labels() -> None:
    features = digits_features(200, own_split=True)
    digest = evaluate(features, ["centroid"])[0].split["test_digest"]
    relabelled = replace(features, classes=tuple("abcdefghij"))
    assert evaluate(relabelled, ["centroid"])[0].split["test_digest"] != digest
    other_images = replace(features, digests=tuple(d[::-1] for d in features.digests))
    assert evaluate(other_images, ["centroid"])[0].split["test_digest"] != digest
    other_features = replace(features, X=features.X[:, ::2])
    assert evaluate(other_features, ["centroid"])[0].split["test_digest"] == digest


@pytest.mark.parametrize("own_split", [False, True])
def test_heads_with_steps_run_like_any_other(own_split: bool) -> None:
    features = digits_features(300, own_split=own_split)
    heads = ["l2+linear_svc", "linear_svc", "pca(n=200)+l2+logreg(standardize=False)", "power+lda"]
    records = evaluate(features, heads, shots=(5, None))
    assert [r.head.text for r in records] == heads * 2
    assert len({r.split["test_digest"] for r in records}) == 1
    for record in records:
        assert record.metrics["accuracy"] > 0.6
        assert record.cost["feature_dim"] == 64
        fitted = make_head(
            replace(record.head, params=dict(record.params)), seed=record.split["seed"]
        )
        if record.shots is None:  # the same as a Pipeline fitted by hand
            split = make_split(
                features.y, splits=features.splits, digests=features.digests, groups=()
            )
            rows = np.concatenate([split.train, split.val])
            fitted.fit(features.X[rows], features.y[rows])
            found = fitted.predict(features.X[split.test])
            assert (found == record.arrays["y_pred"]).mean() > 0.98
    few, whole = (r for r in records if r.head.name == "logreg")
    assert few.cost["head_dim"] == 49  # 5 of each of 10 classes, less one
    assert whole.cost["head_dim"] <= 64
    assert whole.selection["parameter"] == "C"


def test_steps_are_fitted_without_the_rows_that_training_stops_on() -> None:
    features = digits_features(300, own_split=True)
    head = "pca(n=8)+mlp(hidden=(16,), epochs=3)"
    own = evaluate(features, [head])[0].cost["history"]
    spoiled = features.X.copy()
    spoiled[180:240] *= -3
    other = evaluate(replace(features, X=spoiled), [head])[0].cost["history"]
    assert other["loss"] == pytest.approx(own["loss"], rel=1e-4)
    assert other["val_loss"] != pytest.approx(own["val_loss"], rel=1e-2)


def test_what_is_asked_for_twice_is_run_once() -> None:
    found = evaluate(digits_features(200), ["knn(k=1)", "knn", "knn", "knn(1)"], shots=(None, None))
    assert [r.head.text for r in found] == ["knn(k=1)", "knn"]
    assert found[1].selection["chosen"] == 1  # the same head in the end, and both were tested


def test_unfit_requests() -> None:
    with pytest.raises(SpecError, match="No head"):
        evaluate(digits_features(50), [])
    with pytest.raises(SpecError, match="Did you mean 'knn'"):
        evaluate(digits_features(50), ["knnn"])
    with pytest.raises(SplitError, match="shots"):
        evaluate(digits_features(100), ["knn"], shots=(50,))
