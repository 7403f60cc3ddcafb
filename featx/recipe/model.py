"""What a recipe is made of: data sets, stages, and what a study published."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PARTS = ("train", "val", "test")
"""What a subset may give a number of."""

FIGURES = (
    "accuracy", "top5", "top10", "macro_precision", "macro_recall", "macro_f1", "entropy_bits",
    "train_accuracy", "val_accuracy", "train_loss", "val_loss", "epochs", "epoch_seconds",
    "train_seconds", "extract_seconds", "parameters_trained", "parameters_frozen", "layers",
    "feature_dim", "image_size",
)  # fmt: skip
"""Figures that a study may have published."""

MATCHED = ("stage", "backbone", "tap", "head", "unfreeze", "shots", "target", "image_size")
"""What a published row may name of ours."""


@dataclass(frozen=True)
class DataSpec:
    """One data set of a recipe.

    Attributes
    ----------
    name : str
        What stages call it.
    source : str
        What it is taken from unless the user says otherwise; "" where there is no telling.
    get : str
        How to get it, for people.
    optional : bool
        Without it the stages that need it are left out; else nothing runs.
    subset : mapping of str to int
        Images of each class for "train", "val" and "test"; empty takes all.
    columns : mapping of str to tuple of str
        Label columns to add: the class names for which they say "yes", and "no" for others.
    train_on, test_on : str
        Instead of a source: the data sets whose training and whose test images it is made of.
    """

    name: str
    source: str = ""
    get: str = ""
    optional: bool = False
    subset: Mapping[str, int] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    train_on: str = ""
    test_on: str = ""


@dataclass(frozen=True)
class Stage:
    """One step of a recipe.

    Attributes
    ----------
    name, kind : str
        Its own name, and one of `STAGE_KINDS`.
    data : str
        Name of a `DataSpec`.
    about : str
        One line for people.
    settings : mapping
        Arguments of the kind's function.
    """

    name: str
    kind: str
    data: str
    about: str
    settings: Mapping[str, Any]


@dataclass(frozen=True)
class Published:
    """One row that a study published, and which of our rows to set beside it.

    Attributes
    ----------
    name : str
    source : str
        "Table 3".
    figures : mapping of str to float
        By the names of `FIGURES`; seconds, shares of 1, and counts.
    ours : mapping
        By the names of `MATCHED`; empty where nothing of ours belongs beside it.
    note : str
    """

    name: str
    source: str
    figures: Mapping[str, float]
    ours: Mapping[str, Any]
    note: str = ""


@dataclass(frozen=True)
class Recipe:
    """An experiment as data.

    Attributes
    ----------
    name : str
        The file's name without its suffix.
    path : Path
    title, study, summary : str
        What it is, the study it repeats (or ""), and a paragraph.
    seed : int
        Of the subsets.
    data : mapping of str to DataSpec
    stages : tuple of Stage
    published : tuple of Published
    not_repeated : tuple of str
        What the study prints and this recipe does not, with the reason.
    """

    name: str
    path: Path
    title: str
    study: str
    summary: str
    seed: int
    data: Mapping[str, DataSpec]
    stages: tuple[Stage, ...]
    published: tuple[Published, ...]
    not_repeated: tuple[str, ...]
