"""Plans: what is cached, what is left, and about how long it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from featx.doctor.speed import Speed
from featx.errors import RecipeError
from featx.recipe import estimate_steps, plan_json, plan_recipe, plan_text, run_recipe
from featx.recipe.estimate import TRAINING

Write = Callable[..., Path]


def test_a_plan_before_and_after(
    write: Write, photos: Path, projection: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe, data = write(), [str(photos)]
    plan = plan_recipe(recipe, data=data, limit_per_class=6)
    told = estimate_steps(plan)
    assert (told[0]["rows"], told[0]["cached"]) == (18, 0)
    assert told[0]["estimate_seconds"] > 0
    text = plan_text(plan, told)
    for word in ("Small", "18 images of 3 classes", "0 of 18 rows", "to run", "short"):
        assert word in text
    assert not plan.folder.exists()
    run_recipe(recipe, data=data, limit_per_class=6)
    after = plan_recipe(recipe, data=data, limit_per_class=6)
    told = estimate_steps(after)
    assert (told[0]["rows"], told[0]["cached"]) == (18, 18)
    assert [t["estimate_seconds"] for t in told] == [0.0, 0.0, 0.0]
    document = plan_json(after, told)
    assert [s["state"] for s in document["stages"]] == ["done"] * 3
    assert document["stages"][0]["cached"] == 18
    more = estimate_steps(plan_recipe(recipe, data=data, limit_per_class=7))
    assert more[0]["cached"] >= 17  # the rows of the smaller cut are still there


def test_numbers_that_make_no_sense(write: Write, photos: Path) -> None:
    for change in ({"epochs": 0}, {"image_size": 0}, {"limit_per_class": 0}):
        with pytest.raises(RecipeError, match=r"whole number|are needed"):
            plan_recipe(write(), data=[str(photos)], **change)
    with pytest.raises(RecipeError, match="given twice"):
        plan_recipe(write(), data=[str(photos), f"main={photos}"])


def test_networks_are_bounded_by_their_backbones_speed(
    write: Write, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = """
title = "Networks"
[data.main]
[[stage]]
name = "tuned"
kind = "finetune"
backbones = "mobilenet"
unfreeze = [3, "half", "all"]
epochs = 5
shots = [2, "all"]
test_fraction = 0.25
[[stage]]
name = "scratch"
kind = "baseline"
nets = "scratch(mobilenet_v2)"
image_size = 64
epochs = 5
draws = 2
test_fraction = 0.25
[[stage]]
name = "plain"
kind = "baseline"
nets = ["simple_cnn", "scratch(mobilenet_v2)"]
"""
    readings = [
        Speed("mobilenet", (224, 224), "openvino", "float32", 100.0, "", 2),
        Speed("mobilenet_v2", (64, 64), "openvino", "float32", 50.0, "", 2),
    ]
    monkeypatch.setattr("featx.recipe.estimate.load_readings", lambda: readings)
    plan = plan_recipe(
        write(text=text), data=[str(photos)], weights=["random"], runs_dir=tmp_path / "runs",
        cache_dir=tmp_path / "cache",
    )  # fmt: skip
    tuned, scratch, plain = (told["estimate_seconds"] for told in estimate_steps(plan))
    assert tuned == pytest.approx(3 * 5 * (6 + 18) * TRAINING / 100)
    assert scratch == pytest.approx(2 * 5 * 18 * TRAINING / 50)
    assert plain is None
