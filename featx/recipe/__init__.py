"""Recipes: experiments as TOML files, the published studies that featx repeats among them.

A recipe says which data it needs, which stages to run in which order (each a call of one of featx's
functions), and what a study published, so that ours stands beside it. A run keeps its records and a
small file of what is finished in a folder of its own, and goes on there after an interruption. The
format is described in docs/recipes.md.
"""

from __future__ import annotations

from featx.recipe.estimate import estimate_steps, plan_text
from featx.recipe.find import list_recipes
from featx.recipe.markdown import outcome_json, outcome_markdown, outcome_text, plan_json
from featx.recipe.model import Recipe
from featx.recipe.outcome import Outcome, Section
from featx.recipe.plan import Plan, Step, plan_recipe
from featx.recipe.read import load_recipe
from featx.recipe.run import run_recipe

__all__ = [
    "Outcome",
    "Plan",
    "Recipe",
    "Section",
    "Step",
    "estimate_steps",
    "list_recipes",
    "load_recipe",
    "outcome_json",
    "outcome_markdown",
    "outcome_text",
    "plan_json",
    "plan_recipe",
    "plan_text",
    "run_recipe",
]
