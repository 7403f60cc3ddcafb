"""Splits, shots and folds: disjoint, exhaustive, stratified, with units whole."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featx.errors import SplitError
from featx.records import Split
from featx.split import cross_folds, draw_shots, find_leaks, make_split


def unique_digests(n: int) -> list[str]:
    return [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]


def labels(*counts: int, seed: int = 0) -> np.ndarray:
    y = np.repeat(np.arange(len(counts)), counts)
    return np.random.default_rng(seed).permutation(y)


def split_of(y: np.ndarray, **options) -> Split:
    options = {"splits": [""] * len(y), "digests": unique_digests(len(y))} | options
    return make_split(y, **options)


def assert_partition(split: Split, n: int) -> None:
    sides = (split.train, split.val, split.test)
    assert all(side.dtype == np.int64 and (np.diff(side) > 0).all() for side in sides)
    np.testing.assert_array_equal(np.sort(np.concatenate(sides)), np.arange(n))


# No time limits: machines differ, and are shared.
relaxed = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
thorough = settings(relaxed, max_examples=150)

counts = st.lists(st.integers(2, 40), min_size=1, max_size=6)
seeds = st.integers(0, 2**32)


@relaxed
@given(counts, seeds, st.floats(0.05, 0.95))
def test_split_is_stratified_to_within_one(sizes: list[int], seed: int, fraction: float) -> None:
    y = labels(*sizes)
    split = split_of(y, seed=seed, test_fraction=fraction)
    assert_partition(split, len(y))
    for c, size in enumerate(sizes):
        there = int((y[split.test] == c).sum())
        assert 1 <= there <= size - 1
        assert abs(there - fraction * size) <= 1
    again = split_of(y, seed=seed, test_fraction=fraction)
    np.testing.assert_array_equal(split.test, again.test)


@st.composite
def grouped(draw: st.DrawFn) -> tuple[np.ndarray, list[str], list[str]]:
    n = draw(st.integers(12, 60))
    y = np.array([i % draw(st.integers(2, 3)) for i in range(n)])
    names = st.sampled_from(["", "", "", "a", "b", "c", "d"])
    digests = [d or f"own{i}" for i, d in enumerate(draw(st.lists(names, min_size=n, max_size=n)))]
    return y, digests, draw(st.lists(names, min_size=n, max_size=n))


def straddles(left: np.ndarray, right: np.ndarray, names: list[str]) -> set[str]:
    return ({names[i] for i in left} & {names[i] for i in right}) - {""}


@thorough
@given(grouped(), seeds, st.data())
def test_units_never_straddle(case, seed: int, data: st.DataObject) -> None:
    y, digests, groups = case
    marks = data.draw(
        st.lists(st.sampled_from(["", "train", "val"]), min_size=len(y), max_size=len(y))
    )
    try:
        split = make_split(y, splits=marks, digests=digests, groups=groups, seed=seed)
    except SplitError:
        return
    assert_partition(split, len(y))
    np.testing.assert_array_equal(split.val, [i for i, m in enumerate(marks) if m == "val"])
    rest = np.concatenate([split.train, split.val])
    for names in (digests, groups):
        assert not straddles(rest, split.test, names)
    assert len(find_leaks(split, digests)) == 0


@thorough
@given(grouped(), seeds, st.integers(2, 6))
def test_folds_keep_units_whole(case, seed: int, folds: int) -> None:
    y, digests, groups = case
    rows = np.arange(2, len(y))
    try:
        parts = cross_folds(y, rows, folds=folds, seed=seed, digests=digests, groups=groups)
    except SplitError:
        return
    assert 2 <= len(parts) <= folds
    for train, val in parts:
        np.testing.assert_array_equal(np.sort(np.concatenate([train, val])), rows)
        for names in (digests, groups):
            assert not straddles(train, val, names)
    np.testing.assert_array_equal(np.sort(np.concatenate([val for _, val in parts])), rows)


def test_units_join_digests_with_groups() -> None:
    # 0 and 1 share an image, 1 and 2 a group: all three are one unit.
    y = np.array([0] * 12 + [1] * 12)
    digests, groups = unique_digests(24), [""] * 24
    digests[1], groups[1], groups[2] = digests[0], "g", "g"
    for seed in range(30):
        split = make_split(y, splits=[""] * 24, digests=digests, groups=groups, seed=seed)
        assert len({i in split.test for i in (0, 1, 2)}) == 1


def test_unit_sizes_hardly_move_the_share() -> None:
    y = labels(300, 300)
    digests = unique_digests(600)
    for c in (0, 1):
        members = np.flatnonzero(y == c)[:100]
        for i, row in enumerate(members):
            digests[row] = f"copy{c}{i // 4}"
    for seed in range(10):
        split = split_of(y, digests=digests, seed=seed)
        for c in (0, 1):
            assert (y[split.test] == c).sum() == 90
            # Copies and single images are both on both sides, in their share.
            copies = sum(digests[i].startswith(f"copy{c}") for i in split.test)
            assert 26 <= copies <= 34


@pytest.mark.parametrize("sizes", [(2, 2), (3, 3), (5, 5), (9, 1), (1, 9), (40, 2)])
@pytest.mark.parametrize("fraction", [0.05, 0.2, 0.3, 0.5, 0.9])
def test_two_units_are_enough(sizes: tuple[int, int], fraction: float) -> None:
    y = np.array([0] * sum(sizes) + [1] * 10)
    groups = ["a"] * sizes[0] + ["b"] * sizes[1] + [""] * 10
    for seed in range(5):
        split = split_of(y, groups=groups, test_fraction=fraction, seed=seed)
        assert {groups[i] for i in split.train if y[i] == 0} ^ {
            groups[i] for i in split.test if y[i] == 0
        } == {"a", "b"}


def test_seeds_differ() -> None:
    y = labels(50, 50)
    tests = {tuple(split_of(y, seed=seed).test) for seed in range(5)}
    assert len(tests) == 5


def test_own_test_rows_stand() -> None:
    y = np.array([0, 1, 0, 1, 0, 1, 0, 1])
    marks = ["train", "", "val", "val", "test", "test", "", "train"]
    digests = unique_digests(8)
    digests[4] = digests[0]
    for seed in (0, 1):
        split = make_split(y, splits=marks, digests=digests, seed=seed)
        assert split.train.tolist() == [0, 1, 6, 7]
        assert split.val.tolist() == [2, 3]
        assert split.test.tolist() == [4, 5]
    assert find_leaks(split, digests).tolist() == [4]
    digests[5] = digests[3]
    assert find_leaks(split, digests).tolist() == [4, 5]
    assert find_leaks(split, [""] * 8).tolist() == []


def test_own_validation_rows_stay_and_the_test_is_cut_from_train() -> None:
    y = labels(30, 30)
    marks = ["val" if i % 5 == 0 else "train" for i in range(60)]
    split = split_of(y, splits=marks)
    assert split.val.tolist() == list(range(0, 60, 5))
    for c in (0, 1):
        mine = int((y[np.setdiff1d(np.arange(60), split.val)] == c).sum())
        assert abs((y[split.test] == c).sum() - 0.3 * mine) <= 1


@pytest.mark.parametrize(
    ("y", "options", "says"),
    [
        ([0, 0, 1], {}, "Class 'dog' has 1 image; a test split needs 2"),
        ([0, 0, 1, 1], {"digests": ["a", "b", "c", "c"]}, "Class 'dog' has 2 images, but they are"),
        ([0, 0, 1, 1], {"splits": ["val"] * 4}, "All 4 images are marked val"),
        ([0, 0, 1, 1], {"splits": ["test"] * 4}, "mark some as train"),
        ([0, 0, 1], {"splits": ["train", "train", "test"]}, "Class 'dog' has 1 test images and no"),
        ([0, 0, 1, 1], {"splits": ["dev"] * 4}, "Unknown split 'dev'"),
        ([0, 0, 1, 1], {"test_fraction": 1.0}, "test_fraction is 1.0"),
    ],
)
def test_errors(y: list[int], options: dict, says: str) -> None:
    with pytest.raises(SplitError) as caught:
        split_of(np.array(y), classes=["cat", "dog"], **options)
    assert says in str(caught.value)


def test_wrong_lengths() -> None:
    with pytest.raises(ValueError, match="splits"):
        make_split(np.array([0, 1]), splits=[""], digests=[])
    with pytest.raises(ValueError, match="digests or groups"):
        make_split(np.array([0, 1]), splits=["", ""], digests=["a"])
    with pytest.raises(ValueError, match="class numbers"):
        make_split(np.array(["a", "b"]), splits=["", ""], digests=[])


# --- shots -------------------------------------------------------------------------------------


@relaxed
@given(counts, seeds, st.integers(1, 10), st.integers(1, 10), st.data())
def test_draws_are_nested_and_balanced(sizes, seed, a, b, data) -> None:
    y = labels(*sizes)
    rows = np.flatnonzero(data.draw(st.lists(st.booleans(), min_size=len(y), max_size=len(y))))
    left = [int((y[rows] == c).sum()) for c in range(len(sizes))]
    few, many = sorted((a, b))
    if min(left) == 0 or many > min(sizes):
        words = ["0 training images"] if min(left) == 0 else []
        words += [f"ask for at most {min(sizes)} shots"] if many > min(sizes) else []
        with pytest.raises(SplitError, match="|".join(words)):
            draw_shots(y, rows, many, draws=3, seed=seed)
        return
    small = draw_shots(y, rows, few, draws=3, seed=seed)
    large = draw_shots(y, rows, many, draws=3, seed=seed)
    assert len(small) == len(large) == 3
    for one, other in zip(small, large, strict=True):
        assert set(one) <= set(other) <= set(rows)
        assert one.dtype == np.int64
        assert (np.diff(one) > 0).all()
        assert np.bincount(y[one]).tolist() == [min(few, there) for there in left]


def test_draws_and_seeds_differ() -> None:
    y = labels(100, 100)
    rows = np.arange(200)
    drawn = draw_shots(y, rows, 20, draws=5, seed=0) + draw_shots(y, rows, 20, draws=5, seed=1)
    assert len({tuple(d) for d in drawn}) == 10
    # A draw is the same however many are made.
    np.testing.assert_array_equal(drawn[1], draw_shots(y, rows, 20, draws=2, seed=0)[1])


def test_all_rows() -> None:
    (drawn,) = draw_shots(labels(5, 5), np.array([7, 3, 1]), None, draws=4, seed=0)
    assert drawn.tolist() == [1, 3, 7]


def test_copies_come_last() -> None:
    y = np.zeros(10, dtype=int)
    digests = ["a"] * 6 + ["b", "c", "d", ""]
    for seed in range(20):
        (drawn,) = draw_shots(y, np.arange(10), 5, draws=1, seed=seed, digests=digests)
        assert {digests[i] for i in drawn} == {"a", "b", "c", "d", ""}
        (drawn,) = draw_shots(y, np.arange(10), 7, draws=1, seed=seed, digests=digests)
        assert len(drawn) == 7


@pytest.mark.parametrize(("shots", "draws"), [(0, 1), (-1, 1), (3, 0)])
def test_senseless_draws(shots: int, draws: int) -> None:
    with pytest.raises(SplitError, match="must be 1 or more"):
        draw_shots(labels(5, 5), np.arange(10), shots, draws=draws, seed=0)


def test_class_without_training_rows() -> None:
    with pytest.raises(SplitError, match="Class 'dog' has 0 training images"):
        draw_shots(np.array([0, 0, 1]), [0, 1], 1, draws=1, seed=0, classes=["cat", "dog"])


# --- folds -------------------------------------------------------------------------------------


@relaxed
@given(counts, seeds, st.integers(2, 8))
def test_folds_are_stratified_to_within_one(sizes: list[int], seed: int, folds: int) -> None:
    y = labels(*sizes)
    rows = np.arange(len(y))
    if len(sizes) == 1:
        with pytest.raises(SplitError):
            cross_folds(y, rows, folds=folds, seed=seed)
        return
    parts = cross_folds(y, rows, folds=folds, seed=seed)
    assert len(parts) == max(2, min(folds, *sizes))
    table = np.array([np.bincount(y[val], minlength=len(sizes)) for _, val in parts])
    assert (np.ptp(table, axis=0) <= 1).all()
    assert np.ptp(table.sum(axis=1)) <= len(sizes)
    assert table.min() >= 1
    for train, val in parts:
        assert len(np.intersect1d(train, val)) == 0


def test_folds_come_down_to_the_smallest_class() -> None:
    y = np.array([0] * 20 + [1] * 3)
    assert len(cross_folds(y, np.arange(23), folds=5, seed=0)) == 3
    three = np.array([0] * 20 + [1] + [2] * 5)
    assert len(cross_folds(three, np.arange(26), folds=5, seed=0)) == 2
    digests = [*unique_digests(20), "x", "x", "y"]
    assert len(cross_folds(y, np.arange(23), folds=5, seed=0, digests=digests)) == 2


def test_too_few_rows_for_folds() -> None:
    y = np.array([0, 1])
    with pytest.raises(SplitError, match="too few for cross-validation"):
        cross_folds(y, np.arange(2), folds=5, seed=0)
    with pytest.raises(SplitError, match="too few"):
        cross_folds(y, np.arange(0), folds=5, seed=0)
    with pytest.raises(SplitError, match="too few"):
        cross_folds(np.array([0] * 20 + [1]), np.arange(21), folds=5, seed=0)
    with pytest.raises(SplitError, match="1 folds"):
        cross_folds(y, np.arange(2), folds=1, seed=0)


def test_global_random_state_is_not_touched() -> None:
    y = labels(20, 20)
    np.random.seed(5)
    before = np.random.get_state()[1].copy()
    split = split_of(y)
    draw_shots(y, split.train, 3, draws=2, seed=0)
    cross_folds(y, split.train, folds=3, seed=0)
    np.testing.assert_array_equal(np.random.get_state()[1], before)


def test_known_results() -> None:
    """The same on every platform and in every release: published numbers hang on it."""
    y = np.array([0, 1, 2] * 8)
    split = split_of(y, seed=1)
    drawn = draw_shots(y, split.train, 2, draws=2, seed=1)
    folds = cross_folds(y, split.train, folds=2, seed=1)
    assert split.test.tolist() == KNOWN["test"]
    assert [d.tolist() for d in drawn] == KNOWN["drawn"]
    assert folds[0][1].tolist() == KNOWN["fold"]


KNOWN = {
    "test": [1, 7, 15, 17, 21, 23],
    "drawn": [[0, 5, 12, 13, 19, 20], [2, 3, 10, 12, 19, 20]],
    "fold": [0, 4, 8, 9, 11, 13, 14, 18, 22],
}
