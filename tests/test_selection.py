"""Choosing parameters without the test rows."""

from __future__ import annotations

import numpy as np
import pytest
from featuresets import LazyRows, digits_features
from sklearn.decomposition import PCA
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

from featx.errors import HeadError
from featx.heads import HEADS, make_head, parse_head
from featx.records import HeadSpec
from featx.selection import (
    FIRST_VALUES,
    SETTLED,
    Choice,
    RowSpaces,
    SteppedRows,
    choose_params,
    inner_folds,
)
from featx.selection.trials import Trial, search_values


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, np.ndarray]:
    features = digits_features(300)
    return features.X, features.y


def choose(text: str, X: np.ndarray, y: np.ndarray, folds: int = 3, on: str = "folds") -> Choice:
    spec = parse_head(text)
    rows = SteppedRows(spec.steps, X, inner_folds(y, folds=folds, seed=0))
    return choose_params(spec, rows.X, y, rows.spaces, on=on)


def test_curve_is_that_of_cross_validation_by_hand(rows) -> None:
    X, y = rows
    choice = choose("ridge", X, y)
    pairs = inner_folds(y, folds=3, seed=0)
    for point in choice.record["curve"][::8]:
        expected = [
            make_pipeline(StandardScaler(), RidgeClassifier(alpha=point["value"]))
            .fit(X[train], y[train])
            .score(X[held], y[held])
            for train, held in pairs
        ]
        np.testing.assert_allclose(point["fold_scores"], expected, atol=0.011)
        assert point["score"] == pytest.approx(np.mean(point["fold_scores"]))
        assert point["seconds"] > 0
    assert choice.record["folds"] == 3
    assert choice.record["on"] == "folds"
    best = max(choice.record["curve"], key=lambda p: p["score"])
    assert choice.spec == HeadSpec("ridge", {"alpha": best["value"]})
    assert choice.record["chosen"] == best["value"]


@pytest.mark.parametrize("name", [n for n in HEADS if HEADS.get(n).searched])
def test_whole_curve_is_kept_most_regularised_first(name: str, rows) -> None:
    X, y = rows
    values = search_values(HeadSpec(name))
    choice = choose(name, X[:120], y[:120])
    tried = [p["value"] for p in choice.record["curve"]]
    assert tried == values[: len(tried)]
    steps = np.diff(np.array(values, float))
    assert (steps > 0).all() if HEADS.get(name).searched == "C" else (steps < 0).all()


@pytest.mark.parametrize(
    ("best", "tried"), [(3, FIRST_VALUES), (FIRST_VALUES - SETTLED, 25), (FIRST_VALUES - 1, 25)]
)
def test_the_costliest_values_are_tried_where_they_may_be_best(
    best: int, tried: int, rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    def peaked(spec, values, *_, **__) -> list[Trial]:
        return [Trial(v, [1 - abs(grid.index(v) - best) / 100]) for v in values]

    grid = search_values(HeadSpec("logreg"))
    monkeypatch.setattr("featx.selection.try_values", peaked)
    choice = choose("logreg", *rows)
    assert len(choice.record["curve"]) == tried
    assert choice.record["chosen"] == grid[best]
    assert choice.record["at_edge"] is False


def test_ties_go_to_the_more_regularised_value() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], 30)
    X = (np.where(y, 50, -50)[:, None] + rng.normal(size=(60, 3))).astype(np.float32)
    for name in ("linear_svc", "ridge", "knn"):  # every value separates these rows
        choice = choose(name, X, y)
        curve = choice.record["curve"]
        first = next(p for p in curve if p["score"] == max(q["score"] for q in curve))
        assert choice.record["chosen"] == first["value"]
        assert name == "knn" or first["value"] == search_values(HeadSpec(name))[0]
        assert choice.record["at_edge"] is False  # a plateau says nothing of what lies beyond


def test_edge_of_the_grid_is_noted(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rows
    monkeypatch.setattr("featx.heads.ridge.Ridge.path_values", (1e9, 1e8, 1e6, 1e5))
    choice = choose("ridge", X, y)
    assert choice.record["chosen"] == 1e5
    assert choice.record["at_edge"] is True


def test_one_neighbour_is_no_edge(rows) -> None:
    X, y = rows
    wiggled = np.concatenate([X, X + 0.01])  # the nearest row is the row's own twin
    choice = choose("knn", wiggled, np.concatenate([y, y]))
    assert choice.record["chosen"] == 1
    assert choice.record["at_edge"] is False


def test_given_parameters_are_not_searched(rows) -> None:
    X, y = rows
    given = choose("logreg(C=0.3)", X, y)
    assert given.spec == parse_head("logreg(C=0.3)")
    assert given.record["on"] == "given"
    assert given.record["chosen"] == 0.3
    assert given.record["curve"] == []
    # A head without probabilities is still cross-validated, at that value, for its temperature.
    calibrated = choose("linear_svc(C=0.003)", X, y)
    assert [p["value"] for p in calibrated.record["curve"]] == [0.003]
    assert calibrated.record["on"] == "given"
    assert calibrated.record["temperature_on"] == "folds"
    assert calibrated.temperature is not None


def test_other_parameters_hold_during_the_search(rows) -> None:
    X, y = rows
    choice = choose("knn(metric='euclidean')", X, y)
    assert dict(choice.spec.params) == {
        "metric": "euclidean",
        "k": choice.record["chosen"],
    }


def test_validation_rows_are_one_fold(rows) -> None:
    X, y = rows
    fold = (np.arange(200), np.arange(200, 300))
    choice = choose_params(parse_head("ridge"), X, y, RowSpaces(X, [fold]), on="validation")
    assert choice.record["on"] == "validation"
    assert all(len(p["fold_scores"]) == 1 for p in choice.record["curve"])


def test_nothing_to_hold_out_leaves_the_default() -> None:
    X, y = np.eye(4, dtype=np.float32), np.arange(4)
    assert inner_folds(y, folds=5, seed=0) == []
    choice = choose("linear_svc", X, y)
    assert choice.record["on"] == "none"
    assert choice.spec == HeadSpec("linear_svc")
    assert choice.temperature is None


def test_folds_keep_copies_together_and_are_no_more_than_rows_allow() -> None:
    y = np.repeat([0, 1], [40, 3])
    digests = [f"{i % 20}" for i in range(40)] + list("abc")
    folds = inner_folds(y, folds=10, seed=0, digests=digests)
    assert len(folds) == 3
    for train, held in folds:
        assert not {digests[i] for i in train} & {digests[i] for i in held}
        assert set(y[train]) == {0, 1}


@pytest.mark.parametrize("shape", [(120, 40), (60, 300)])
def test_shared_spaces_change_no_choice(shape: tuple[int, int], monkeypatch) -> None:
    """One space a fold for all heads gives what each head's own would."""
    rng = np.random.default_rng(0)
    y = np.arange(shape[0]) % 3
    X = (rng.normal(size=(3, shape[1]))[y] + 3 * rng.normal(size=shape)).astype(np.float32)
    shared = [choose(name, X, y).record["curve"] for name in ("linear_svc", "logreg", "ridge")]
    monkeypatch.setattr("featx.selection.spaces.SHARED_BYTES", 0)
    alone = [choose(name, X, y).record["curve"] for name in ("linear_svc", "logreg", "ridge")]
    for a, b in zip(shared, alone, strict=True):
        np.testing.assert_allclose([p["score"] for p in a], [p["score"] for p in b], atol=0.02)


# --- steps -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "build"),
    [
        ("l2+ridge", lambda a: [Normalizer(), StandardScaler(), RidgeClassifier(alpha=a)]),
        ("pca(n=12)+ridge", lambda a: [PCA(12), StandardScaler(), RidgeClassifier(alpha=a)]),
        (
            "l2+pca(n=12)+knn(metric='euclidean',standardize=False)",
            lambda k: [Normalizer(), PCA(12), KNeighborsClassifier(k)],
        ),
    ],
)
def test_steps_are_fitted_on_each_folds_training_rows(text: str, build, rows) -> None:
    X, y = rows
    choice = choose(text, X, y)
    assert choice.spec.steps == parse_head(text).steps
    for point in choice.record["curve"][::3]:
        expected = [
            make_pipeline(*build(point["value"])).fit(X[train], y[train]).score(X[held], y[held])
            for train, held in inner_folds(y, folds=3, seed=0)
        ]
        np.testing.assert_allclose(point["fold_scores"], expected, atol=0.021)


def test_held_out_rows_do_not_reach_a_fitted_step() -> None:
    """A component that only a held-out row has is not found before the row is fitted on."""
    X = np.zeros((40, 5), np.float32)
    X[:, 0] = np.arange(40)
    X[30, 4] = 1e6
    folds = [(np.arange(30), np.arange(30, 40)), (np.arange(10, 40), np.arange(10))]
    steps = parse_head("pca(n=1)+knn").steps
    rows = SteppedRows(steps, X, folds)
    without, within = (rows.spaces.rows_of_fold(i, rows.X) for i in (0, 1))
    assert abs(without[30, 0]) < 100
    assert abs(within[30, 0]) > 1e5
    (pca,), after = rows.fit(np.arange(30))
    np.testing.assert_allclose(after, without, atol=1e-3)
    np.testing.assert_allclose(pca.transform(X), without, atol=1e-3)


def test_rows_of_folds_are_kept_or_made_again(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = rows
    kept = choose("pca(n=8)+logreg", X, y).record["curve"]
    monkeypatch.setattr("featx.selection.stepped.SHARED_BYTES", 0)
    again = choose("pca(n=8)+logreg", X, y).record["curve"]
    assert [p["score"] for p in kept] == [p["score"] for p in again]


def test_steps_read_lazy_rows_by_blocks(rows, monkeypatch: pytest.MonkeyPatch) -> None:
    X, _ = rows
    monkeypatch.setattr("featx.heads.linear.sources.BLOCK_BYTES", 8 * X.shape[1] * 70)
    lazy = LazyRows(X)
    steps = parse_head("power+l2+ridge").steps
    stepped = SteppedRows(steps, lazy, [])
    np.testing.assert_array_equal(stepped.X, SteppedRows(steps, X, []).X)
    assert [len(asked) for asked in lazy.asked] == [70, 70, 70, 70, 20]
    expected = make_head("power+l2+ridge")[:-1].fit_transform(X)
    np.testing.assert_allclose(stepped.X, expected, rtol=1e-6)
    assert SteppedRows((), lazy, []).X is lazy


def test_rows_larger_than_memory_are_refused_before_they_are_read(
    rows, monkeypatch: pytest.MonkeyPatch
) -> None:
    lazy = LazyRows(rows[0])
    monkeypatch.setattr("featx.selection.stepped.total_memory", lambda: 1000)
    with pytest.raises(HeadError, match="300 rows of 64 features in memory"):
        _ = SteppedRows(parse_head("l2+ridge").steps, lazy, []).X
    assert lazy.asked == []
