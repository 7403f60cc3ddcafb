"""Training on one data set, testing on another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from featuresets import LazyRows, digits_features

from featx.across import StackedRows, join_datasets, part_tested
from featx.compare import compare
from featx.compare.findings import other_classes
from featx.errors import SplitError
from featx.evaluate import evaluate
from featx.records import FeatureSet

NAMES = tuple(f"digit {i}" for i in range(10))


def two_sets(shared: int = 0, **changes: object) -> tuple[FeatureSet, FeatureSet]:
    """300 digits, and 200 others of a data set B whose names are spelt otherwise."""
    whole = digits_features(500, classes=NAMES)
    first = {"X": whole.X[:300], "y": whole.y[:300], "paths": whole.paths[:300]}
    first |= {"splits": whole.splits[:300], "digests": whole.digests[:300]}
    a = replace(whole, **first, dataset="A", provenance={**whole.provenance, "root": "/a"})
    digests = (*whole.digests[:shared], *whole.digests[300 + shared :])
    b = replace(
        whole,
        X=whole.X[300:],
        y=whole.y[300:],
        paths=tuple(f"b/{p}" for p in whole.paths[300:]),
        splits=np.full(200, "train", "U5"),
        digests=digests,
        classes=tuple(f"Digit_{i}" for i in range(10)),
        dataset="B",
        provenance={**whole.provenance, "root": "/b"},
    )
    return a, replace(b, **changes)


def test_all_rows_of_one_and_all_of_the_other() -> None:
    a, b = two_sets()
    (joined,) = join_datasets([a], [b])
    (record,) = evaluate(joined, ["ridge"])
    assert (record.dataset, record.split["test_on"]) == ("A", "B")
    assert (record.split["n_train"], record.split["n_test"]) == (300, 200)
    assert record.metrics["accuracy"] > 0.8
    np.testing.assert_array_equal(record.arrays["y_true"], b.y)
    shown = part_tested(b, joined)
    assert (shown.dataset, shown.provenance["root"]) == ("B", "/b")
    assert shown.paths == b.paths
    assert shown.classes == NAMES


def test_shots_are_drawn_in_the_one_alone() -> None:
    a, b = two_sets()
    (joined,) = join_datasets([a], [b])
    records = evaluate(joined, ["centroid"], shots=[3, None], draws=2)
    assert [r.split["n_train"] for r in records] == [30, 30, 300]
    fewest = int(np.bincount(a.y).min())
    with pytest.raises(SplitError, match=f"fewer than {fewest + 1} shots"):
        evaluate(joined, ["centroid"], shots=[fewest + 1])


def test_own_validation_rows_stay_and_test_rows_join_the_training() -> None:
    a, b = two_sets()
    splits = np.array((["train"] * 150 + ["val"] * 50 + ["test"] * 100), "U5")
    (joined,) = join_datasets([replace(a, splits=splits)], [b])
    (record,) = evaluate(joined, ["ridge"])
    assert (record.split["n_train"], record.split["n_val"]) == (250, 50)
    assert record.selection["on"] == "validation"


def test_the_same_image_in_both_is_reported() -> None:
    (joined,) = join_datasets(*([f] for f in two_sets(shared=7)))
    records = evaluate(joined, ["centroid"])
    assert records[0].split["train_test_duplicates"] == 7
    assert "train-test-duplicates" in {f.code for f in compare(records).findings}


def test_classes_on_one_side_only_are_told() -> None:
    a, b = two_sets()
    names = (*(f"DIGIT {i}" for i in range(8)), "eight", "nine")
    (joined,) = join_datasets([a], [replace(b, classes=names)])
    records = evaluate(joined, ["ridge"])
    about = records[0].split["test_on_classes"]
    left_out = int((b.y > 7).sum())
    assert about["only_in_test"] == ["eight", "nine"]
    assert about["only_in_training"] == ["digit 8", "digit 9"]
    assert about["rows_left_out"] == left_out
    assert records[0].split["n_test"] == 200 - left_out
    text = other_classes(records)
    assert f"{left_out} images of B were left out" in text
    assert "digit 8, digit 9: to predict these counts as wrong" in text


def test_too_little_in_common() -> None:
    a, b = two_sets()
    with pytest.raises(SplitError, match=r"0 'class' classes in common.*digit 0.*and 4 more"):
        join_datasets([a], [replace(b, classes=tuple("abcdefghij"))])


def test_exact_names_go_before_those_spelt_otherwise() -> None:
    a, b = two_sets()
    classes = ("x", "X", *NAMES[2:])
    (joined,) = join_datasets([replace(a, classes=classes)], [replace(b, classes=classes)])
    np.testing.assert_array_equal(joined.y[300:], b.y)


def test_columns_keep_the_same_rows() -> None:
    a, b = two_sets()

    def parity(f: FeatureSet, names: tuple[str, ...]) -> FeatureSet:
        return replace(f, y=f.y % 2, classes=names, target="parity")

    b = replace(b, classes=(*(f"digit {i}" for i in range(9)), "other"))
    one, two = join_datasets([a, parity(a, ("even", "odd"))], [b, parity(b, ("EVEN", "ODD"))])
    kept = int((b.y != 9).sum())
    assert len(one.y) == len(two.y) == 300 + kept
    np.testing.assert_array_equal(one.y % 2, two.y)
    assert one.X is two.X


def test_stacked_rows_are_the_rows_below_each_other() -> None:
    rng = np.random.default_rng(0)
    A, B = rng.random((5, 7), np.float32), rng.random((6, 7), np.float32)
    rows = np.array([4, 0, 2])
    whole = np.concatenate([A, B[rows]])
    for parts in ((A, B), (LazyRows(A), LazyRows(B)), (A, LazyRows(B))):
        stacked = StackedRows([(parts[0], np.arange(5)), (parts[1], rows)])
        assert stacked.shape == (8, 7)
        wanted = np.array([7, 0, 5, 5, 3])
        np.testing.assert_array_equal(stacked.rows(wanted), whole[wanted])
        np.testing.assert_array_equal(stacked.columns(2, 6), whole[:, 2:6])
