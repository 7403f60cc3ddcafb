"""What a run of a recipe will do: its data found, its stages decided, nothing run yet."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featx.backbones import parse_backbone, resolve_weights
from featx.doctor.weights import find_weights
from featx.errors import RecipeError
from featx.progress import Bars
from featx.recipe.data import ReadyData, ready_data
from featx.recipe.find import find_recipe
from featx.recipe.kinds import STAGE_KINDS
from featx.recipe.model import Recipe, Stage
from featx.recipe.read import load_recipe
from featx.recipe.settings import (
    Overrides,
    common_size,
    parse_weights,
    stage_backbones,
    stage_settings,
)
from featx.recipe.state import FOLDER, RunState
from featx.records import BackboneSpec, to_json
from featx.store import local_cache

TARGET_KEYS = ("target", "targets")
"""Settings that name label columns."""


@dataclass(frozen=True)
class Step:
    """A stage as it will be run.

    Attributes
    ----------
    stage : Stage
    settings : mapping
        What its function is called with, but for data, folders and progress.
    data : ReadyData or None
        None where it is left out.
    digest : str
        Of everything that decides its outcome.
    state : str
        "done", "begun" (and not ended), "to run" or "left out".
    reason : str
        Why it is left out.
    """

    stage: Stage
    settings: Mapping[str, Any]
    data: ReadyData | None
    digest: str
    state: str
    reason: str = ""


@dataclass(frozen=True)
class Plan:
    """What a run of a recipe will do.

    Attributes
    ----------
    recipe : Recipe
    change : Overrides
    folder : Path
        Where the run keeps its records: `runs_dir`/<recipe>-<digest8>. The same recipe on the same
        images with the same overrides has the same folder, and goes on there.
    cache_dir : Path
    data : mapping of str to ReadyData
    steps : tuple of Step
    notes : tuple of str
        What was altered to fit the data.
    """

    recipe: Recipe
    change: Overrides
    folder: Path
    cache_dir: Path
    data: Mapping[str, ReadyData]
    steps: tuple[Step, ...]
    notes: tuple[str, ...]

    def place(self, data: ReadyData) -> str:
        """Return what stages are given as data."""
        return data.place(self.folder / FOLDER)


def plan_recipe(
    recipe: str | os.PathLike[str],
    *,
    data: Sequence[str] = (),
    weights: Sequence[str] = (),
    limit_per_class: int | None = None,
    epochs: int | None = None,
    image_size: int | None = None,
    cache_dir: str | os.PathLike[str] = "features",
    runs_dir: str | os.PathLike[str] = "runs",
    progress: bool = False,
) -> Plan:
    """Read a recipe, find its data and weights, and decide what is left to run.

    Parameters
    ----------
    recipe : str or path
        A .toml file, or the name of one of `featx list recipes`.
    data : sequence of str
        "PATH" for the recipe's first data set, "NAME=PATH" for another.
    weights : sequence of str
        "random" or the like for all backbones, "BACKBONE=PATH" for one; "STAGE:BACKBONE=PATH" for
        one stage only. Stages that state their weights keep them.
    limit_per_class : int, optional
        At most so many images of each class.
    epochs, image_size : int, optional
        Instead of the recipe's, in every stage that has such a setting; where a backbone of the
        recipe takes no image as small, all stages get the least that it takes.
    cache_dir, runs_dir : path
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Plan
        Nothing was written but for images out of archives and arrays, below `cache_dir`.

    Raises
    ------
    RecipeError
        The recipe cannot be read, or lacks data or weights; says how to get them.
    DatasetError, SpecError
        Data or a setting that cannot be used.
    """
    cache = local_cache(cache_dir)
    read = load_recipe(find_recipe(recipe))
    for name, number in (("epochs", epochs), ("image size", image_size)):
        if number is not None and number < 1:
            raise RecipeError(f"The {name} given is {number}: a whole number from 1 is needed.")
    given = _given_data(read, data)
    size = common_size(image_size, read)
    change = Overrides(parse_weights(weights, read), epochs, size, limit_per_class)
    with Bars(progress) as bars:
        ready, absent = ready_data(
            read,
            given,
            [stage.data for stage in read.stages],
            limit_per_class=limit_per_class,
            work_dir=cache / ".sources",
            progress=bars,
        )
    if not ready:
        raise RecipeError(f"Recipe {read.name} has nothing to run: {'; '.join(absent.values())}.")
    folder = Path(runs_dir) / f"{read.name}-{_run_digest(ready, change)}"
    state = RunState(folder)
    notes = [f"images of {size} pixels, the least that all backbones take"] * (size != image_size)
    steps = [_step(stage, ready, absent, change, state, notes) for stage in read.stages]
    plan = Plan(read, change, folder, cache, ready, tuple(steps), tuple(dict.fromkeys(notes)))
    _require_weights(plan)
    return plan


def step_weights(step: Step) -> list[BackboneSpec]:
    """Return the backbones of a stage with the weights that it will have."""
    found = step.settings.get("weights", ())
    texts = [found] if isinstance(found, str) else list(found)
    names = stage_backbones(step.stage)
    if len(texts) == 1:
        texts *= len(names)
    return [parse_backbone(n, weights=w) for n, w in zip(names, texts, strict=False)]


def _given_data(recipe: Recipe, texts: Sequence[str]) -> dict[str, str]:
    """Read "--data PATH" and "--data NAME=PATH"; a path that is there is never split."""
    found: dict[str, str] = {}
    first = next(iter(recipe.data))
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or os.path.exists(text) or os.sep in name:
            name, value = first, text
        if name in found:
            raise RecipeError(f"The data set {name!r} is given twice: {found[name]} and {value}.")
        found[name] = value
    return found


def _run_digest(ready: Mapping[str, ReadyData], change: Overrides) -> str:
    told = {name: data.digest for name, data in sorted(ready.items())}
    text = json.dumps([told, asdict(change)], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _step(
    stage: Stage,
    ready: Mapping[str, ReadyData],
    absent: Mapping[str, str],
    change: Overrides,
    state: RunState,
    notes: list[str],
) -> Step:
    data = ready.get(stage.data)
    reason = absent.get(stage.data, "")
    if data:
        wanted = [t for key in TARGET_KEYS for t in _texts(stage.settings.get(key, ()))]
        reason = next((data.lacks[t] for t in wanted if t in data.lacks), "")
    if reason or not data:
        return Step(stage, stage.settings, None, "", "left out", reason)
    settings, altered = stage_settings(stage, data, change)
    if stage.kind == "zeroshot":
        reason = _why_not_zeroshot(stage, settings, data)
        if reason:
            return Step(stage, settings, None, "", "left out", reason)
    notes += altered
    digest = _digest(stage, settings, data)
    done, begun = state.is_finished(stage.name, digest), state.was_begun(stage.name, digest)
    return Step(stage, settings, data, digest, "done" if done else "begun" if begun else "to run")


def _why_not_zeroshot(stage: Stage, settings: Mapping[str, Any], data: ReadyData) -> str:
    """Say why a stage that tests ImageNet's own classes cannot be run; empty where it can.

    It needs classes in common with ImageNet, which photos that stand in may not have, and a file
    with the classifier: neither is a reason to run nothing at all.
    """
    from featx.zeroshot import propose_overlap

    if "mapping" not in settings and not propose_overlap(data.index.classes[0]).overlapping:
        return "no class has the name of an ImageNet class"
    specs = [
        parse_backbone(name, weights=w)
        for name, w in zip(stage_backbones(stage), settings["weights"], strict=True)
    ]
    asked = [spec for spec in specs if spec.weights == "imagenet"]
    lacking = [w.backbone for w in find_weights(asked) if w.state in ("unreachable", "none")]
    if not lacking:
        return ""
    return (
        f"the ImageNet weights of {', '.join(lacking)} with the classifier are not at hand: "
        f"--weights {stage.name}:{lacking[0]}=PATH"
    )


def _digest(stage: Stage, settings: Mapping[str, Any], data: ReadyData) -> str:
    """SHA-256 of what decides a stage's outcome; weights files count by size and time."""
    files = []
    for text in _texts(settings.get("weights", ())):
        if os.path.isfile(text):
            status = os.stat(text)
            files.append([os.path.abspath(text), status.st_size, status.st_mtime_ns])
    told = [stage.kind, to_json(settings), data.digest, files]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _texts(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else [str(v) for v in value or ()]


def _require_weights(plan: Plan) -> None:
    """Find all weights before anything runs; what can be downloaded is downloaded now."""
    wanted: dict[str, BackboneSpec] = {}
    for step in plan.steps:
        if step.state in ("to run", "begun") and step.stage.kind != "zeroshot":
            for spec in step_weights(step):
                wanted[f"{spec.text} {spec.weights}"] = spec
    trained = [spec for spec in wanted.values() if spec.weights == "imagenet"]
    lacking = [w.backbone for w in find_weights(trained) if w.state in ("unreachable", "none")]
    if lacking:
        each = " ".join(f"--weights {_quoted(name)}=PATH" for name in dict.fromkeys(lacking))
        raise RecipeError(
            f"Recipe {plan.recipe.name} lacks the ImageNet weights of "
            f"{', '.join(dict.fromkeys(lacking))}, and they cannot be downloaded here. Let Keras "
            f"fetch them where there is a network, or give files: {each}. To try the recipe with "
            "untrained ones: --weights random."
        )
    for spec in wanted.values():
        resolve_weights(spec)


def _quoted(name: str) -> str:
    import shlex

    return shlex.quote(name) if "(" in name else name


def describe_stage(step: Step) -> str:
    """Return a stage's settings as one line: "backbones vgg16; heads linear_svc"."""
    shown = {k: v for k, v in step.settings.items() if k != "weights"}
    words = [f"{key} {_plain(value)}" for key, value in shown.items()]
    return step.stage.about or "; ".join(words) or STAGE_KINDS.get(step.stage.kind).summary


def _plain(value: Any) -> str:
    if isinstance(value, list):
        return ", ".join(_plain(v) for v in value)
    return "all" if value is None else str(value)
