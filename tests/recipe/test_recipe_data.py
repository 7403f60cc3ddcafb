"""The data sets of a recipe: cut, labelled, joined, and refused with the remedy."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from conftest import make_photos

from featx.datasets import index_dataset
from featx.errors import DatasetError, RecipeError
from featx.recipe.data import ReadyData, ready_data
from featx.recipe.model import DataSpec, Recipe

Counts = dict[str, dict[str, int]]


def recipe_of(*specs: DataSpec, seed: int = 0) -> Recipe:
    return Recipe(
        "try", Path("try.toml"), "Try", "", "", seed, {s.name: s for s in specs}, (), (), ()
    )


def ready(
    tmp_path: Path, *specs: DataSpec, limit: int | None = None, **given: Any
) -> tuple[dict[str, ReadyData], dict[str, str]]:
    return ready_data(
        recipe_of(*specs),
        {name: str(path) for name, path in given.items()},
        [s.name for s in specs],
        limit_per_class=limit,
        work_dir=tmp_path / "work",
    )


def with_splits(root: Path, photos: Path, **shares: int) -> Path:
    """Move photos of every class below split folders, so many each."""
    for folder in sorted(photos.iterdir()):
        files = sorted(folder.iterdir())
        for split, count in shares.items():
            place = root / split / folder.name
            place.mkdir(parents=True)
            for file in files[:count]:
                file.rename(place / file.name)
            files = files[count:]
    return root


def test_taken_whole_it_stays_what_the_user_named(tmp_path: Path, photos: Path) -> None:
    found, absent = ready(tmp_path, DataSpec("main"), main=photos)
    assert (found["main"].manifest, absent) == ("", {})
    assert found["main"].place(tmp_path) == str(photos)
    assert found["main"].counts() == {"": {f"class{i}": 8 for i in range(3)}}


def test_a_manifest_is_the_data_it_was_cut_to(tmp_path: Path, photos: Path) -> None:
    spec = DataSpec("main", subset={"train": 4, "val": 1, "test": 2})
    data = ready(tmp_path, spec, main=photos)[0]["main"]
    data.write(tmp_path)
    index = index_dataset(data.place(tmp_path), work_dir=tmp_path / "work")
    assert Counter(s.split for s in index.samples) == {"train": 12, "val": 3, "test": 6}
    assert {s.digest for s in index.samples} == {s.digest for s in data.index.samples}
    assert index.targets == ("class",)


@pytest.mark.parametrize(
    ("shares", "subset", "limit", "expected"),
    [
        ({}, {}, 5, {"": 5}),
        ({}, {}, 8, {"": 8}),
        ({}, {"train": 4, "test": 2}, None, {"train": 4, "test": 2}),
        ({}, {"train": 4, "val": 2, "test": 2}, 4, {"train": 2, "val": 1, "test": 1}),
        ({}, {"train": 400, "val": 100, "test": 100}, None, {"train": 6, "val": 1, "test": 1}),
        ({"train": 6, "test": 2}, {}, 4, {"train": 3, "test": 1}),
        ({"train": 6, "test": 2}, {"train": 4, "val": 1, "test": 1}, None,
         {"train": 4, "val": 1, "test": 1}),
        ({"train": 5, "val": 2, "test": 1}, {"train": 3, "val": 1, "test": 1}, None,
         {"train": 3, "val": 1, "test": 1}),
        ({"train": 4, "val": 2, "test": 2}, {"train": 500, "test": 100}, None,
         {"train": 4, "test": 1}),
    ],
)  # fmt: skip
def test_each_class_is_cut_alike(
    tmp_path: Path,
    photos: Path,
    shares: dict[str, int],
    subset: dict[str, int],
    limit: int | None,
    expected: dict[str, int],
) -> None:
    root = with_splits(tmp_path / "split", photos, **shares) if shares else photos
    data = ready(tmp_path, DataSpec("main", subset=subset), limit=limit, main=root)[0]["main"]
    assert data.counts() == {
        s: dict.fromkeys(data.index.classes[0], n) for s, n in expected.items()
    }
    own = {s.digest: s.split for s in index_dataset(root, work_dir=tmp_path / "work").samples}
    for sample in data.index.samples:
        if shares:  # what the data set says to test on is never learnt from
            assert (sample.split == "test") == (own[sample.digest] == "test")


def test_a_smaller_cut_is_part_of_a_larger_one(tmp_path: Path, photos: Path) -> None:
    few, many = (
        {s.relpath for s in ready(tmp_path, DataSpec("main"), limit=n, main=photos)[0]["main"]
         .index.samples}
        for n in (3, 6)
    )  # fmt: skip
    assert few < many


def test_another_seed_draws_other_images(tmp_path: Path, photos: Path) -> None:
    spec = DataSpec("main")
    paths = []
    for seed in (0, 1):
        found, _ = ready_data(
            recipe_of(spec, seed=seed),
            {"main": str(photos)},
            ["main"],
            limit_per_class=3,
            work_dir=tmp_path / "work",
        )
        paths.append({s.relpath for s in found["main"].index.samples})
    assert paths[0] != paths[1]


def test_added_columns(tmp_path: Path, photos: Path) -> None:
    spec = DataSpec("main", columns={"warm": ("class0", "class9"), "cold": ("ice",)})
    data = ready(tmp_path, spec, main=photos)[0]["main"]
    data.write(tmp_path)
    index = index_dataset(data.place(tmp_path), work_dir=tmp_path / "work")
    assert index.targets == ("class", "warm")
    assert {s.labels for s in index.samples} == {
        ("class0", "yes"), ("class1", "no"), ("class2", "no"),
    }  # fmt: skip
    assert "none of the classes" in data.lacks["cold"]
    every = DataSpec("main", columns={"warm": ("class0", "class1", "class2")})
    assert "all of the classes" in ready(tmp_path, every, main=photos)[0]["main"].lacks["warm"]


def test_two_data_sets_joined(tmp_path: Path, photos: Path) -> None:
    other = make_photos(tmp_path / "other", classes=4, each=5, seed=1)
    (other / "class3").rename(other / "unknown")
    specs = (
        DataSpec("main", subset={"train": 4, "test": 4}),
        DataSpec("own", optional=True),
        DataSpec("across", train_on="main", test_on="own"),
    )
    found, _ = ready(tmp_path, *specs, main=photos, own=other)
    data = found["across"]
    assert data.counts() == {split: {f"class{i}": n for i in range(3)}
                             for split, n in (("train", 4), ("test", 5))}  # fmt: skip
    data.write(tmp_path)
    index = index_dataset(data.place(tmp_path), work_dir=tmp_path / "work")
    assert Counter(s.split for s in index.samples) == {"train": 12, "test": 15}
    assert not any("unknown" in s.relpath for s in index.samples)
    assert (index.root, index.samples) == (data.index.root, data.index.samples)


def test_what_is_optional_is_left_out_with_the_reason(tmp_path: Path, photos: Path) -> None:
    specs = (
        DataSpec("main"),
        DataSpec("own", optional=True),
        DataSpec("across", train_on="main", test_on="own"),
    )
    found, absent = ready(tmp_path, *specs, main=photos)
    assert set(found) == {"main"}
    assert set(absent) == {"own", "across"}
    strange = make_photos(tmp_path / "strange", seed=1)
    for folder in list(strange.iterdir()):
        folder.rename(strange / f"other{folder.name}")
    _, absent = ready(tmp_path, *specs, main=photos, own=strange)
    assert "fewer than two classes in common" in absent["across"]


def test_what_is_not_at_hand_says_how_to_get_it(tmp_path: Path, photos: Path) -> None:
    spec = DataSpec("main", get="Download it from the moon.")
    with pytest.raises(RecipeError, match=r"lacks its data set 'main'.*from the moon.*--data PATH"):
        ready(tmp_path, spec)
    spec = DataSpec("main", source=str(tmp_path / "gone"), get="Download it.")
    with pytest.raises(RecipeError, match=r"No such data set.*Download it"):
        ready(tmp_path, spec)
    with pytest.raises(DatasetError, match="No such data set"):
        ready(tmp_path, spec, main=tmp_path / "gone too")
    with pytest.raises(RecipeError, match=r"no data set 'mian'. Did you mean 'main'"):
        ready(tmp_path, spec, mian=photos)
    with pytest.raises(RecipeError, match="--limit-per-class 1"):
        ready(tmp_path, spec, limit=1, main=photos)


def test_odd_names_come_through(tmp_path: Path) -> None:
    root = make_photos(tmp_path / 'a "b", c')
    (root / "class0").rename(root / "dé,jà\n“vu”")
    data = ready(tmp_path, DataSpec("main"), limit=4, main=root)[0]["main"]
    data.write(tmp_path)
    index = index_dataset(data.place(tmp_path), work_dir=tmp_path / "work")
    assert index.classes[0] == data.index.classes[0]
    assert len(index.samples) == 12
