"""What each stage is called with, under the user's overrides."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from featx.doctor.weights import WeightsState
from featx.errors import RecipeError
from featx.recipe import plan_recipe
from featx.recipe.model import Recipe, Stage
from featx.recipe.read import load_recipe
from featx.recipe.settings import parse_weights, stage_backbones

Write = Callable[..., Path]

STAGES = """
title = "Two backbones"
[data.main]
[[stage]]
name = "features"
kind = "extract"
backbone = ["mobilenet", "inception_v3"]
[[stage]]
name = "fused"
kind = "classify"
backbones = "mobilenet(alpha=1.0)"
fuse = "mobilenet+inception_v3:flatten"
image_size = [96, 128]
[[stage]]
name = "scratch"
kind = "baseline"
nets = "simple_cnn"
epochs = 9
patience = 3
[[stage]]
name = "before"
kind = "zeroshot"
backbones = "mobilenet"
"""


@pytest.fixture
def recipe(write: Write) -> Recipe:
    return load_recipe(write(text=STAGES))


@pytest.fixture
def settings(write: Write, photos: Path, tmp_path: Path) -> Callable[..., dict[str, Any]]:
    def settings(**changes: Any) -> dict[str, Any]:
        plan = plan_recipe(
            write(text=STAGES),
            **{
                "data": [str(photos)], "weights": ["random"],
                "cache_dir": tmp_path / "cache", "runs_dir": tmp_path / "runs", **changes,
            },
        )  # fmt: skip
        return {step.stage.name: step.settings for step in plan.steps} | {"plan": plan}

    return settings


def test_a_stage_without_overrides_keeps_what_the_recipe_says(
    settings: Callable[..., Any],
) -> None:
    found = settings()
    assert found["features"] == {
        "backbone": ["mobilenet", "inception_v3"], "weights": ["random", "random"],
    }  # fmt: skip
    assert found["fused"]["image_size"] == [96, 128]
    assert found["fused"]["weights"] == ["random", "random"]
    assert found["scratch"] == {"nets": ["simple_cnn"], "epochs": 9, "patience": 3}


def test_overrides_reach_every_stage_that_has_the_setting(settings: Callable[..., Any]) -> None:
    found = settings(epochs=2, image_size=40)
    assert (found["scratch"]["epochs"], found["scratch"]["image_size"]) == (2, 75)
    assert "epochs" not in found["features"]
    assert found["features"]["image_size"] == found["fused"]["image_size"] == 75  # InceptionV3's
    assert any("75 pixels" in note for note in found["plan"].notes)
    assert found["scratch"]["patience"] == 3
    assert settings(image_size=80)["fused"]["image_size"] == 80


def test_the_backbones_of_a_stage(recipe: Recipe) -> None:
    assert [stage_backbones(s) for s in recipe.stages] == [
        ["mobilenet", "inception_v3"], ["mobilenet", "inception_v3"], [], ["mobilenet"],
    ]  # fmt: skip
    assert stage_backbones(Stage("x", "extract", "main", "", {"backbone": "vgg16"})) == ["vgg16"]


def test_weights_as_they_are_written(recipe: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "a=b,c.h5"
    file.write_bytes(b"")
    assert parse_weights([str(file)], recipe) == {"": str(file)}
    assert parse_weights([f"mobilenet(alpha=1.0)={file}", "auto"], recipe) == {
        "mobilenet": str(file), "": "auto",
    }  # fmt: skip
    assert parse_weights(["before:mobilenet=random"], recipe) == {"before:mobilenet": "random"}
    for text in ("vgg16=random", "after:mobilenet=random", "mobilenet=", "=random", ""):
        with pytest.raises(RecipeError):
            parse_weights([text], recipe)


def test_one_backbone_of_its_own_and_the_rest(settings: Callable[..., Any], tmp_path: Path) -> None:
    file = tmp_path / "weights.h5"
    file.write_bytes(b"weights")
    found = settings(weights=["random", f"inception_v3={file}"])
    assert found["features"]["weights"] == ["random", str(file)]


def test_imagenets_own_classes_are_left_out_where_they_cannot_be_tested(
    settings: Callable[..., Any], photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def before(**changes: Any) -> Any:
        return next(s for s in settings(**changes)["plan"].steps if s.stage.name == "before")

    step = before()
    assert (step.state, step.reason) == ("left out", "no class has the name of an ImageNet class")
    for number, name in enumerate(("pizza", "strawberry", "bagel")):
        (photos / f"class{number}").rename(photos / name)
    for state, expected in (("unreachable", "left out"), ("here", "to run")):
        monkeypatch.setattr(
            "featx.recipe.plan.find_weights",
            lambda specs, state=state: [WeightsState(s.text, state, "") for s in specs],
        )
        assert before().state == expected
    assert before().settings["weights"] == ["imagenet"]  # its file is not that of the features
