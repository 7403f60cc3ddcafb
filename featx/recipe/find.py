"""Where recipes are: by path, or by name in the folders that are looked in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from featx.errors import RecipeError
from featx.recipe.model import Recipe
from featx.recipe.read import load_recipe
from featx.registry import near_misses


def recipe_folders() -> list[Path]:
    """Return the folders where recipes are looked for by name: here, the checkout, the install."""
    import featx

    beside = Path(featx.__file__).resolve().parent.parent / "recipes"
    return list(dict.fromkeys([Path("recipes").absolute(), beside, _installed()]))


def _installed() -> Path:
    return Path(sys.prefix) / "share" / "featx" / "recipes"


def list_recipes() -> list[Recipe]:
    """Read every recipe that can be named without a path, in the order of their names."""
    found: dict[str, Path] = {}
    for folder in recipe_folders():
        for path in sorted(folder.glob("*.toml")):
            found.setdefault(path.stem, path)
    return [load_recipe(found[name]) for name in sorted(found)]


def find_recipe(text: str | os.PathLike[str]) -> Path:
    """Return the file of a recipe given by path, or by name.

    Raises
    ------
    RecipeError
        There is none; says the near misses.
    """
    path = Path(text).expanduser()
    if path.is_file():
        return path
    named = {p.stem: p for f in reversed(recipe_folders()) for p in f.glob("*.toml")}
    if os.fspath(text) in named:
        return named[os.fspath(text)]
    if path.is_dir():
        raise RecipeError(f"{os.fspath(text)!r} is a folder: give the .toml file of a recipe.")
    near = near_misses(path.stem, named)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(f"No such recipe: {os.fspath(text)!r}.{hint} See: featx list recipes")
