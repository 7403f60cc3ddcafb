"""What an exported model says of itself; kept inside its file as JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featx.errors import DeployError
from featx.records import ImageSpec, to_json

MODEL_VERSION = 1
"""Version of the text."""

KEY = "featx"
"""Name under which a model file holds the text: metadata in ONNX, rt_info in OpenVINO."""

FILE = "featx.json"
"""Name of the text as a file: inside a .keras archive, and below a SavedModel's assets.extra."""

INPUT, OUTPUT = "images", "probabilities"
"""Names of a model's input and output."""


@dataclass(frozen=True)
class ModelSpec:
    """An exported model: uint8 RGB (n, height, width, 3) in, probabilities (n, n_classes) out.

    Attributes
    ----------
    classes : tuple of str
        In the order of the output's columns.
    image : ImageSpec
        Size of the input, and the rule that images are resized by.
    run : mapping
        Where it comes from: "record", "dataset", "target", "backbone", "tap", "head", "params",
        "calibrated", "accuracy", "n_test", "test_digest", "featx".
    """

    classes: tuple[str, ...]
    image: ImageSpec
    run: Mapping[str, Any] = field(default_factory=dict)

    def to_text(self) -> str:
        """Return it as JSON."""
        document = {"featx_model": MODEL_VERSION, **to_json(self)}
        return json.dumps(document, ensure_ascii=True, indent=1)

    @classmethod
    def from_text(cls, text: str, path: object) -> ModelSpec:
        """Read what `to_text` wrote.

        Raises
        ------
        DeployError
            It is something else, or of a later version.
        """
        try:
            document = json.loads(text)
            version = document.pop("featx_model")
            if version != MODEL_VERSION:
                raise DeployError(
                    f"{path} was exported as version {version!r}; this featx reads "
                    f"{MODEL_VERSION}: use the featx that made it, or export it again."
                )
            image = ImageSpec(**document["image"])
            return cls(tuple(document["classes"]), image, document["run"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DeployError(f"{path} says nothing of its classes that featx can read.") from error
