"""Reading recipes: what is there is read, what is wrong is named with its remedy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from featx.errors import FeatxError, RecipeError, SpecError, UnknownNameError
from featx.recipe.find import find_recipe, list_recipes
from featx.recipe.kinds import STAGE_KINDS
from featx.recipe.read import load_recipe

Write = Callable[..., Path]


def test_what_a_recipe_holds(write: Write) -> None:
    recipe = load_recipe(write())
    assert (recipe.name, recipe.title, recipe.study) == ("small", "Small", "A study of noise")
    assert [s.name for s in recipe.stages] == ["features", "svc", "near"]
    assert recipe.stages[1].settings == {
        "backbones": "mobilenet", "weights": "random", "heads": ["linear_svc(C=1)"],
    }  # fmt: skip
    assert recipe.stages[1].data == "main"
    assert recipe.published[0].figures == {"accuracy": 0.25, "train_seconds": 90}
    assert recipe.published[2].ours == {}


@pytest.mark.parametrize(
    ("old", "new", "error", "words"),
    [
        ("title =", "titel =", RecipeError, "unknown key 'titel'. Did you mean 'title'"),
        ('title = "Small"', "title = 3", RecipeError, "title = 3 is not text"),
        ('title = "Small"', "", RecipeError, "lacks 'title'"),
        ('heads = ["linear_svc(C=1)"]', 'head = ["knn"]', SpecError, "Did you mean 'heads'"),
        ('kind = "extract"', 'kind = "extrac"', UnknownNameError, "Did you mean 'extract'"),
        ('kind = "extract"', "", RecipeError, "lacks 'kind'"),
        ('name = "svc"', 'name = "features"', RecipeError, "two stages called 'features'"),
        ('name = "svc"', 'name = "svc"\ndata = "man"', RecipeError, "Did you mean 'main'"),
        ('name = "svc"', 'name = "svc"\nruns_dir = "x"', SpecError, "unknown setting 'runs_dir'"),
        ("accuracy = 0.25", "acuracy = 0.25", RecipeError, "Did you mean 'accuracy'"),
        ("accuracy = 0.25", 'accuracy = "high"', RecipeError, "is not a number"),
        ('{ stage = "svc" }', '{ stage = "svm" }', RecipeError, "no stage 'svm'"),
        ('{ stage = "svc" }', '{ stag = "svc" }', RecipeError, "Did you mean 'stage'"),
        ('get = "Draw it."', "subset = { train = 5 }", RecipeError, "needs train and test"),
        ('get = "Draw it."', "subset = { train = 0, test = 1 }", RecipeError, "train = 0"),
        ('get = "Draw it."', 'train_on = "main"', RecipeError, "together"),
        ('get = "Draw it."', 'columns = { wet = "water" }', RecipeError, "not a list of texts"),
        ("[data.main]\nget", "[date.main]\nget", RecipeError, "Did you mean 'data'"),
        ("[data.main]", "[data.main", RecipeError, "not sound TOML"),
    ],
)
def test_what_is_wrong_is_named(
    write: Write, old: str, new: str, error: type[FeatxError], words: str
) -> None:
    with pytest.raises(error) as caught:
        load_recipe(write((old, new)))
    assert words in str(caught.value)


def test_joined_data_need_two_sets_with_sources(write: Write) -> None:
    joined = '[data.both]\ntrain_on = "main"\n{}\n\n[[stage]]\nname = "features"'
    first = '[[stage]]\nname = "features"'
    with pytest.raises(RecipeError, match="together"):
        load_recipe(write((first, joined.format(""))))
    with pytest.raises(RecipeError, match="no data set with a source"):
        load_recipe(write((first, joined.format('test_on = "both"'))))
    recipe = load_recipe(write((first, joined.format('test_on = "main"'))))
    assert recipe.data["both"].test_on == "main"


def test_a_recipe_is_found_by_path_and_by_name(
    write: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write()
    assert find_recipe(path) == path
    (tmp_path / "recipes").mkdir()
    mine = tmp_path / "recipes" / "mine.toml"
    mine.write_text(path.read_text())
    monkeypatch.chdir(tmp_path)
    assert find_recipe("mine") == mine
    with pytest.raises(RecipeError, match=r"Did you mean 'mine'.*featx list recipes"):
        find_recipe("mime")
    with pytest.raises(RecipeError, match="is a folder"):
        find_recipe(tmp_path / "recipes")
    with pytest.raises(RecipeError, match="Cannot read"):
        load_recipe(tmp_path / "gone.toml")
    path.write_bytes(b"title = '\xff'")
    with pytest.raises(RecipeError, match="not sound TOML"):
        load_recipe(path)


def test_every_recipe_in_the_project_is_sound() -> None:
    recipes = list_recipes()
    assert len(recipes) >= 6
    for recipe in recipes:
        assert recipe.title
        assert recipe.summary, recipe.name
        assert recipe.published or not recipe.study, recipe.name


@pytest.mark.parametrize("kind", list(STAGE_KINDS))
def test_every_kind_of_stage_calls_a_function_that_takes_what_the_run_gives(kind: str) -> None:
    known = STAGE_KINDS.get(kind).all_arguments()
    assert next(iter(known)) == "data"
    assert kind == "extract" or "runs_dir" in known
