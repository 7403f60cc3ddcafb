"""What the arrays in a file are called, and what they are by that."""

from __future__ import annotations

import re

from featx.records import POOLINGS

FEATURES = ("x", "embeddings", "embedding", "features", "data")
LABELS = ("y", "labels", "label", "targets", "target", "class")
TEXTS = ("paths", "splits", "groups", "digests", "dataset", "backbone")
SPLIT_WORDS = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
REMEDY = "See docs/embeddings.md for what the file should hold."


def plain_name(name: str, suffix: str, ndim: int = 0) -> str:
    """Return the name of an array as it is looked for, whatever its case and kind of file.

    A column of .parquet is named for one row: "path" is "paths", "label_colour" is
    "labels_colour"; and a column of lists is a set of features whatever its name.
    """
    first, bar, rest = name.partition("_")
    word = first.lower()
    if suffix == ".parquet":
        if ndim == 2:
            return name.lower() if name.lower() in FEATURES else f"features_{name}"
        if f"{name.lower()}s" in TEXTS:
            return f"{name.lower()}s"
        word = "labels" if word == "label" else word
    if bar and word in ("labels", "classes", "features"):
        return f"{word}_{rest}"
    return name.lower() if bar else word


def feature_name(name: str) -> str | None:
    """Return the name of the set of features that an array is; None where it is none."""
    if re.sub(r"_(train|val|valid|validation|test)$", "", name) in FEATURES:
        return ""
    if not name.startswith("features_"):
        return None
    layer, bar, pooling = name.removeprefix("features_").rpartition("_")
    return f"{layer}:{pooling}" if bar and pooling in POOLINGS else name.removeprefix("features_")


def is_label(name: str) -> bool:
    """Tell whether an array is a label column."""
    return name in LABELS or name.startswith("labels_")
