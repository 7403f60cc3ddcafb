"""A recipe as a TOML file, read strictly."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from featx.errors import RecipeError
from featx.recipe.kinds import STAGE_KINDS, check_settings
from featx.recipe.model import FIGURES, MATCHED, PARTS, DataSpec, Published, Recipe, Stage
from featx.registry import near_misses

TOP = ("title", "study", "summary", "seed", "data", "stage", "published", "not_repeated")
"""Keys of the file itself."""


def load_recipe(path: str | os.PathLike[str]) -> Recipe:
    """Read a recipe.

    Raises
    ------
    RecipeError
        Not readable as TOML; a key that is unknown, missing or of the wrong type; a stage that
        names a data set or a published row that names a stage which is not there.
    SpecError
        A setting that the stage's function does not take.
    """
    path = Path(path)
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"Cannot read the recipe {str(path)!r}: {error.strerror}.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"The recipe {str(path)!r} is not sound TOML: {error}.") from error
    return parse_recipe(document, path)


def parse_recipe(document: Mapping[str, Any], path: Path) -> Recipe:
    """Check what a recipe's TOML holds; see `load_recipe`."""
    where = f"Recipe {path.stem}"
    for key in document:
        _known(where, "key", key, TOP)
    top = _Table(where, document)
    data = {name: _data(f"{where}, data.{name}", name, value)
            for name, value in top.take("data", dict, {}).items()}  # fmt: skip
    if not data:
        raise RecipeError(f"{where} has no data set: add a table [data.main].")
    for spec in data.values():
        for other in filter(None, (spec.train_on, spec.test_on)):
            if other not in data or data[other].train_on:
                raise RecipeError(
                    f"{where}, data.{spec.name}: {other!r} is no data set with a source of its "
                    f"own. There are: {_names(n for n in data if not data[n].train_on)}."
                )
    stages: list[Stage] = []
    for number, value in enumerate(top.take("stage", list, []), 1):
        stage = _stage(f"{where}, stage {number}", value, data)
        if any(s.name == stage.name for s in stages):
            raise RecipeError(f"{where} has two stages called {stage.name!r}: rename one.")
        stages.append(stage)
    if not stages:
        raise RecipeError(f"{where} has no stage: add a table [[stage]].")
    published = tuple(
        _published(f"{where}, published {number}", value, [s.name for s in stages])
        for number, value in enumerate(top.take("published", list, []), 1)
    )
    recipe = Recipe(
        name=path.stem,
        path=path,
        title=top.take("title", str),
        study=top.take("study", str, ""),
        summary=" ".join(top.take("summary", str, "").split()),
        seed=top.take("seed", int, 0),
        data=data,
        stages=tuple(stages),
        published=published,
        not_repeated=tuple(_texts(where, "not_repeated", top.take("not_repeated", list, []))),
    )
    return recipe


def _data(where: str, name: str, value: object) -> DataSpec:
    table = _Table(where, value)
    subset = table.take("subset", dict, {})
    for part, count in subset.items():
        if part not in PARTS or type(count) is not int or count < (0 if part == "val" else 1):
            raise RecipeError(
                f"{where}: subset has {part} = {count!r}. Write images of each class, as in "
                "{ train = 50, val = 10, test = 10 }."
            )
    if subset and not {"train", "test"} <= set(subset):
        raise RecipeError(f"{where}: a subset needs train and test.")
    columns = {
        column: tuple(_texts(where, f"columns.{column}", classes))
        for column, classes in table.take("columns", dict, {}).items()
    }
    spec = DataSpec(
        name=name,
        source=table.take("source", str, ""),
        get=" ".join(table.take("get", str, "").split()),
        optional=table.take("optional", bool, False),
        subset=subset,
        columns=columns,
        train_on=table.take("train_on", str, ""),
        test_on=table.take("test_on", str, ""),
    )
    table.done()
    if bool(spec.train_on) != bool(spec.test_on):
        raise RecipeError(f"{where}: give train_on and test_on together, or neither.")
    if spec.train_on and (spec.source or spec.subset or spec.columns):
        raise RecipeError(
            f"{where} is made of {spec.train_on} and {spec.test_on}: give source, subset and "
            "columns there."
        )
    return spec


def _stage(where: str, value: object, data: Mapping[str, DataSpec]) -> Stage:
    table = _Table(where, value)
    name = table.take("name", str)
    where = f"{where.rpartition(',')[0]}, stage {name!r}"
    kind = table.take("kind", str)
    STAGE_KINDS.get(kind)
    used = table.take("data", str, next(iter(data)))
    if used not in data:
        near = near_misses(used, data)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise RecipeError(f"{where}: no data set {used!r}.{hint} There are: {_names(data)}.")
    about = " ".join(table.take("about", str, "").split())
    settings = table.rest()
    check_settings(where, kind, settings)
    return Stage(name, kind, used, about, settings)


def _published(where: str, value: object, stages: Sequence[str]) -> Published:
    table = _Table(where, value)
    name = table.take("name", str)
    source = table.take("source", str)
    note = table.take("note", str, "")
    ours = table.take("ours", dict, {})
    figures = table.rest()
    for key in figures:
        _known(where, "figure", key, FIGURES)
        if type(figures[key]) not in (int, float):
            raise RecipeError(f"{where}: {key} = {figures[key]!r} is not a number.")
    if not figures:
        raise RecipeError(f"{where} has no figure. There are: {', '.join(FIGURES)}.")
    for key in ours:
        _known(f"{where}, ours", "key", key, MATCHED)
    if ours and ours.get("stage") not in stages:
        raise RecipeError(
            f"{where}, ours: no stage {ours.get('stage')!r}. There are: {_names(stages)}."
        )
    return Published(name, source, figures, ours, note)


class _Table:
    """A table of the file: every key is taken once, and none may be left over."""

    def __init__(self, where: str, value: object) -> None:
        if not isinstance(value, Mapping):
            raise RecipeError(f"{where} is {value!r}: a table is needed.")
        self._where, self._left, self._known = where, dict(value), list[str]()

    def take(self, key: str, kind: type, default: Any = None) -> Any:
        self._known.append(key)
        if key not in self._left:
            if default is None:
                near = near_misses(key, self._left)
                hint = f" Did you mean it by {near[0]!r}?" if near else ""
                raise RecipeError(f"{self._where} lacks {key!r}.{hint}")
            return default
        value = self._left.pop(key)
        if type(value) is not kind:
            words = {str: "text", int: "a whole number", bool: "true or false", list: "a list"}
            raise RecipeError(
                f"{self._where}: {key} = {value!r} is not {words.get(kind, 'a table')}."
            )
        return value

    def rest(self) -> dict[str, Any]:
        left, self._left = self._left, {}
        return left

    def done(self) -> None:
        for key in self._left:
            _known(self._where, "key", key, self._known)


def _known(where: str, what: str, key: str, known: Sequence[str]) -> None:
    if key in known:
        return
    near = near_misses(key, known)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise RecipeError(f"{where}: unknown {what} {key!r}.{hint} There are: {', '.join(known)}.")


def _texts(where: str, key: str, value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise RecipeError(f"{where}: {key} = {value!r} is not a list of texts.")
    return value


def _names(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in names)
