"""Every recipe of the project, end to end on real photos: few of them, small, untrained weights."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from featx.recipe import list_recipes, outcome_json, outcome_markdown, run_recipe
from featx.recipe.find import find_recipe

pytestmark = [pytest.mark.slow, pytest.mark.shared, pytest.mark.timeout(900)]

STAND_INS: dict[str, dict[str, Any]] = {
    "food101": {"data": "clothing", "limit_per_class": 4, "image_size": 32},
    "recycling": {"data": "trashnet", "limit_per_class": 6, "image_size": 32},
    "cifar100": {"data": "clothing", "limit_per_class": 4, "image_size": 32},
    "household": {"data": "trashnet", "limit_per_class": 4, "image_size": 32},
    "vgg-svm": {"data": "trashnet", "limit_per_class": 4, "image_size": 32},
    "small-backbones": {"data": "trashnet", "limit_per_class": 6, "image_size": 32},
}

ALIKE: dict[str, tuple[str, ...]] = {
    "cifar100": ("fine-tuned-1e-2", "fine-tuned-1e-3", "scratch-1e-4", "scratch-1e-5"),
    "household": ("model-b1-10", "model-b1-20", "model-b1-30", "model-b2-20"),
    "recycling": ("tuned-128", "tuned-224", "augment-none", "augment-heavy", "tuned-to-own"),
    "vgg-svm": ("cnn-100", "cnn-all", "none-500", "none-all"),
}
"""Stages that differ from another of their recipe by little: left out here, for time."""


def without(path: Path, stages: Sequence[str], place: Path) -> Path:
    """Write a recipe without some of its stages, and without what was published of them."""
    text = path.read_text().replace('[5, 10, 20, 30, 40, 50, "all"]', '[5, "all"]')
    text = text.replace('[20, "half"]', '"half"')
    kept = [
        block
        for block in re.split(r"(?m)^(?=\[\[)", text)
        if not any(f'name = "{s}"' in block or f'stage = "{s}"' in block for s in stages)
        and not re.search(r'unfreeze = "[1-5]0"', block)
    ]
    copy = place / path.name
    copy.write_text("".join(kept))
    return copy


def test_every_recipe_has_a_stand_in() -> None:
    assert {r.name for r in list_recipes()} == set(STAND_INS)


@pytest.mark.parametrize("name", STAND_INS)
def test_a_recipe_runs_from_end_to_end(name: str, shared: Path, tmp_path: Path) -> None:
    how = dict(STAND_INS[name])
    photos = shared / "datasets" / how.pop("data")
    data = [str(photos)]
    if name == "recycling":
        own = tmp_path / "own"  # photos of two of the classes, as somebody's own
        for label in ("glass", "paper"):
            (own / label).mkdir(parents=True)
            for file in sorted((photos / label).iterdir())[-3:]:
                (own / label / file.name).symlink_to(file)
        data.append(f"own={own}")
    recipe = without(find_recipe(name), ALIKE.get(name, ()), tmp_path)
    options = {
        "data": data, "weights": ["random"], "epochs": 1, "cache_dir": tmp_path / "features",
        "runs_dir": tmp_path / "runs", **how,
    }  # fmt: skip
    outcome = run_recipe(recipe, **options)
    states = {step.stage.name: step.state for step in outcome.plan.steps}
    left_out = {stage for stage, state in states.items() if state == "left out"}
    assert left_out <= {"before"}  # a stand-in has no class of ImageNet's
    assert set(outcome.ran) == set(states) - left_out
    for row in outcome.beside:
        repeated = row.published.ours and row.published.ours["stage"] not in left_out
        assert bool(row.ours) == bool(repeated), (row.published.name, row.why)
        if repeated:
            for key in row.published.figures.keys() - {"top5", "top10"}:  # of few classes none
                assert row.figures[key] is not None, (row.published.name, key)
    json.dumps(outcome_json(outcome), allow_nan=False)
    text = outcome_markdown(outcome)
    assert str(shared) not in text
    assert (outcome.plan.folder / "results.md").read_text() == text
    again = run_recipe(recipe, **options)
    assert again.ran == ()
    assert again.sections[0].comparison.rows == outcome.sections[0].comparison.rows
