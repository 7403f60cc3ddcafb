"""A small recipe of heads on cached features, which runs without Keras."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

SMALL = """
title = "Small"
study = "A study of noise"

[data.main]
get = "Draw it."

[[stage]]
name = "features"
kind = "extract"
backbone = "mobilenet"
weights = "random"
engine = "projection"

[[stage]]
name = "svc"
kind = "classify"
backbones = "mobilenet"
weights = "random"
heads = ["linear_svc(C=1)"]

[[stage]]
name = "near"
kind = "classify"
backbones = "mobilenet"
weights = "random"
heads = ["knn(k=1)", "centroid"]
shots = [2, "all"]
draws = 2

[[published]]
name = "their SVC"
source = "Table 1"
accuracy = 0.25
train_seconds = 90
ours = { stage = "svc" }

[[published]]
name = "their neighbours"
source = "Table 2"
accuracy = 0.5
ours = { stage = "near", head = "knn", shots = "all" }

[[published]]
name = "their telescope"
source = "Table 3"
accuracy = 0.75
"""


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """Write a recipe: the small one, with texts in it replaced."""

    def write(*changes: tuple[str, str], text: str = SMALL, name: str = "small") -> Path:
        for old, new in changes:
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"{name}.toml"
        path.write_text(text)
        return path

    return write
