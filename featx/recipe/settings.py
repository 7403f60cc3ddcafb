"""What each stage's function is called with: the recipe's settings under the user's overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featx.backbones import parse_backbone
from featx.backbones.catalog import BACKBONES
from featx.errors import RecipeError
from featx.recipe.data import ReadyData
from featx.recipe.kinds import STAGE_KINDS
from featx.recipe.model import Recipe, Stage
from featx.registry import near_misses
from featx.specstring import parse_spec

WORDS = ("imagenet", "random", "auto")
"""Weights that are no path."""

BACKBONE_KEYS = ("backbone", "backbones")
"""Settings that name backbones."""

SEQUENCES = (*BACKBONE_KEYS, "weights", "taps", "pooling", "heads", "targets", "fuse", "nets")
"""Settings that may be written as one text and are lists."""


@dataclass(frozen=True)
class Overrides:
    """What the user changes for a whole recipe.

    Attributes
    ----------
    weights : mapping of str to str
        Backbone spec text to weights; "" is for all that are not named.
    epochs : int or None
        Most epochs of every network.
    image_size : int or None
        Input side in pixels of every stage (`common_size`).
    limit_per_class : int or None
        Images a class.
    """

    weights: Mapping[str, str] = field(default_factory=dict)
    epochs: int | None = None
    image_size: int | None = None
    limit_per_class: int | None = None


def parse_weights(texts: Sequence[str], recipe: Recipe) -> dict[str, str]:
    """Read "--weights random", "--weights mobilenet=PATH" and "--weights STAGE:mobilenet=PATH".

    Returns
    -------
    dict of str to str
        By the backbone's spec text, with its stage and ":" before it where one is named; "" for
        all others.

    Raises
    ------
    RecipeError
        Weights for a backbone that the recipe does not use, given twice, or no such file.
    """
    used = _used_backbones(recipe)
    stages = [stage.name for stage in recipe.stages]
    found: dict[str, str] = {}
    for text in texts:
        name, value = _split_weights(text)
        stage, colon, backbone = name.rpartition(":")
        if name:
            _require(stage, stages, "stage", recipe) if colon else None
            backbone = parse_backbone(backbone).text
            _require(backbone, used, "backbone", recipe)
            name = f"{stage}{colon}{backbone}"
        if name in found:
            raise RecipeError(
                f"Weights of {name or 'all backbones'} are given twice; once is enough."
            )
        no_name = text.lstrip().startswith("=")
        if no_name or (value not in WORDS and not Path(value).expanduser().is_file()):
            what = "the backbone is missing" if no_name else f"there is no file {value!r}"
            raise RecipeError(
                f"--weights {text}: {what}. Write imagenet, random, auto, a "
                "path for all backbones, or BACKBONE=PATH for one."
            )
        found[name] = value if value in WORDS else str(Path(value).expanduser())
    return found


def common_size(image_size: int | None, recipe: Recipe) -> int | None:
    """Return the input size for all stages: that asked for, or the least that all backbones take.

    One for all, since stages read the features that others made.
    """
    if image_size is None:
        return None
    names = [parse_spec(backbone)[0] for backbone in _used_backbones(recipe)]
    return max([image_size, *(BACKBONES.get(name).min_size for name in names)])


def stage_settings(
    stage: Stage, data: ReadyData, change: Overrides
) -> tuple[dict[str, Any], list[str]]:
    """Return what the stage's function is called with, and notes on what was altered.

    Parameters
    ----------
    stage : Stage
    data : ReadyData
        Its data set.
    change : Overrides

    Returns
    -------
    settings : dict
        But for data, folders and progress.
    notes : list of str
    """
    known = STAGE_KINDS.get(stage.kind).arguments()
    settings = {k: _listed(v) if k in SEQUENCES else v for k, v in stage.settings.items()}
    notes: list[str] = []
    backbones = stage_backbones(stage)
    if "weights" in known and backbones and "weights" not in settings:
        settings["weights"] = [_weights_of(stage, b, data, change) for b in backbones]
    if change.epochs is not None:
        settings |= {key: change.epochs for key in known if key.endswith("epochs")}
    if change.image_size is not None and "image_size" in known:
        settings["image_size"] = change.image_size
    if "shots" in settings:
        settings["shots"] = _shots(stage, settings["shots"], data, notes)
    return settings, notes


def stage_backbones(stage: Stage) -> list[str]:
    """Return the spec texts of the backbones that a stage names, parts of fusions among them."""
    from featx.fuse import parse_fusion

    named = [text for key in BACKBONE_KEYS for text in _listed(stage.settings.get(key, ()))]
    named = [parse_backbone(text).text for text in named]
    for text in _listed(stage.settings.get("fuse", ())):
        named += [name for fusion in parse_fusion(text) for name, _ in fusion]
    return list(dict.fromkeys(named))


def _used_backbones(recipe: Recipe) -> list[str]:
    return list(dict.fromkeys(b for stage in recipe.stages for b in stage_backbones(stage)))


def _split_weights(text: str) -> tuple[str, str]:
    """Split "mobilenet(alpha=0.25)=a.h5" at the first "=" that is outside of brackets."""
    depth = 0
    for i, letter in enumerate(text):
        depth += (letter == "(") - (letter == ")")
        if letter == "=" and depth == 0 and not Path(text).exists():
            return text[:i].strip(), text[i + 1 :].strip()
    return "", text.strip()


def _require(name: str, known: Sequence[str], what: str, recipe: Recipe) -> None:
    if name not in known:
        near = near_misses(name, known)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise RecipeError(
            f"--weights: recipe {recipe.name} has no {what} {name!r}.{hint} It has: "
            f"{', '.join(known)}."
        )


def _weights_of(stage: Stage, backbone: str, data: ReadyData, change: Overrides) -> str:
    own = f"{stage.name}:{backbone}"
    if stage.kind == "zeroshot":  # its file has the classifier, which those of the others lack
        return change.weights.get(own, "imagenet")
    for name in (own, backbone, ""):
        if name in change.weights:
            return change.weights[name]
    return "auto" if data.source == "digits" else "imagenet"


def _shots(stage: Stage, asked: Any, data: ReadyData, notes: list[str]) -> list[int | None]:
    """Read "all", and take all images where the smallest class has fewer than asked for."""
    found: list[int | None] = []
    for count in asked if isinstance(asked, list) else [asked]:
        if count != "all" and (type(count) is not int or count < 1):
            raise RecipeError(
                f'Stage {stage.name!r}: shots = {asked!r}. Write whole numbers from 1, or "all".'
            )
        if count != "all" and count > data.smallest_class:
            notes.append(
                f"{stage.name}: all images instead of {count} of each class, since the smallest "
                f"class has {data.smallest_class}"
            )
            count = "all"
        found.append(None if count == "all" else count)
    return list(dict.fromkeys(found))


def _listed(value: Any) -> list[str]:
    return [value] if isinstance(value, str) else list(value)
