"""Label columns made by a class → attribute table, and several columns on the same rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from featuresets import digits_features

from featx.errors import DatasetError, SpecError, SplitError
from featx.evaluate import evaluate, split_rows
from featx.records import FeatureSet, StrataRecord
from featx.targets import add_column, list_targets, plain_name, read_attributes

ODD = "".join(f"{d},{'odd' if d % 2 else 'even'},{'high' if d > 4 else 'low'}\n" for d in range(10))


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "map.csv"
    path.write_text(f"digit,parity,size\n{ODD}")
    return path


def test_attributes_are_labels_of_the_same_rows(table: Path) -> None:
    features = digits_features(300)
    found = add_column(features, read_attributes(table), "parity")
    assert (found.target, found.classes) == ("parity", ("even", "odd"))
    np.testing.assert_array_equal(found.y, features.y % 2)
    assert found.X is features.X
    assert found.strata is not None
    assert found.strata.target == "class"


def test_an_attribute_is_split_and_drawn_by_its_classes(table: Path) -> None:
    features = digits_features(400)
    parity = add_column(features, read_attributes(table), "parity")
    own, made = (split_rows(f, seed=3, test_fraction=0.3) for f in (features, parity))
    np.testing.assert_array_equal(own.test, made.test)
    (few,) = evaluate(parity, ["centroid"], shots=[2])
    assert few.split["n_train"] == 20  # two of each digit, not of each parity
    assert few.split["target"] == "parity"
    assert few.split["drawn_by"] == {"column": "class", "classes": 10}
    assert few.split["attributes"]["values"]["3"] == "odd"
    assert few.classes == ("even", "odd")
    (plain,) = evaluate(features, ["centroid"], shots=[2])
    assert "drawn_by" not in plain.split
    assert few.arrays["test_rows"].tolist() == plain.arrays["test_rows"].tolist()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("digit,parity\n0,even\n", "says nothing of class '1' and 8 more"),
        ("digit\n0\n", "class column and one or more attributes"),
        ("digit,parity,parity\n0,a,b\n", "each once"),
        ("digit,parity\n0,even\n0,odd\n", "gives '0' twice, again on line 3"),
        ("digit,parity\n0,\n", "line 2 has 1 values for 2 columns"),
        ("digit,parity\n0,even,x\n", "line 2 has 3 values for 2 columns"),
        ("digit,parity\n", "has no classes"),
        ("", "has no classes"),
        ("digit,parity\n" + "".join(f"{i},same\n" for i in range(10)), "nothing to learn"),
    ],
)
def test_tables_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises((DatasetError, SpecError), match=message):
        add_column(digits_features(100), read_attributes(path), "parity")


def test_tables_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="No such file"):
        read_attributes(tmp_path / "nowhere.csv")
    (tmp_path / "latin.csv").write_bytes("class,müll\na,b\n".encode("latin-1"))
    with pytest.raises(DatasetError, match="UTF-8"):
        read_attributes(tmp_path / "latin.csv")
    with pytest.raises(DatasetError, match="directory"):
        read_attributes(tmp_path)


def test_separators_marks_and_spelling_do_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "map.csv"
    path.write_text("﻿class;recyclable\n" + "".join(f" Class_{i} ;{i % 2}\n" for i in range(10)))
    features = digits_features(100, classes=tuple(f"class {i}" for i in range(10)))
    assert add_column(features, read_attributes(path), "recyclable").classes == ("0", "1")
    assert plain_name("T-Shirt ") == plain_name("t_shirt")


def test_which_columns_are_learnt(table: Path) -> None:
    attributes = read_attributes(table)
    columns = ("class", "material")
    assert list_targets([], columns, None) == ["class"]
    assert list_targets([], columns, attributes) == ["class", "parity", "size"]
    assert list_targets([""], columns, attributes) == ["class"]
    assert list_targets(["size", "material", "size"], columns, attributes) == ["size", "material"]
    with pytest.raises(SpecError, match="Did you mean 'parity'"):
        list_targets(["partiy"], columns, attributes)
    with pytest.raises(SpecError, match="There are: class, material"):
        list_targets(["xyz"], columns, None)
    with pytest.raises(SpecError, match="in the data set and in the table"):
        list_targets([], ("class", "size"), attributes)


def test_a_class_that_the_split_by_another_column_leaves_in_test_alone() -> None:
    features = digits_features(200)
    rare = np.zeros(200, np.int32)
    test = split_rows(features, seed=0, test_fraction=0.3).test
    rare[test[:2]] = 1
    strata = StrataRecord("class", features.y, features.classes)
    column: dict[str, object] = {"y": rare, "classes": ("usual", "rare"), "target": "kind"}
    with pytest.raises(SplitError, match=r"'rare' of 'kind'.*name 'kind' first"):
        split_rows(digits_features(200, strata=strata, **column), seed=0, test_fraction=0.3)


def test_strata_survive_the_own_split_of_a_data_set() -> None:
    features = digits_features(200, own_split=True)
    strata = StrataRecord("other", (features.y % 3).astype(np.int32), ("a", "b", "c"))
    found: FeatureSet = digits_features(200, own_split=True, strata=strata)
    np.testing.assert_array_equal(
        split_rows(found, seed=0, test_fraction=0.3).test,
        split_rows(features, seed=0, test_fraction=0.3).test,
    )
    (record,) = evaluate(found, ["centroid"], shots=[4])
    assert record.split["n_train"] == 12
