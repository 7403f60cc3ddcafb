"""Weights into a backbone: a file of the backbone or of the whole classifier, or random ones."""

from __future__ import annotations

from typing import Any

from featx.backbones.initial import draw_weights
from featx.errors import WeightsError
from featx.records import BackboneSpec, WeightsRecord


def load_weights(backbone: Any, spec: BackboneSpec, weights: WeightsRecord) -> None:
    """Fill the Keras model `backbone` of `spec` with `weights`.

    Raises
    ------
    WeightsError
        The file is not what the backbone needs.
    """
    if weights.kind == "random":
        draw_weights(backbone, int(weights.digest.rpartition("-")[2]))
        return
    try:
        backbone.load_weights(weights.path)
    except (ValueError, OSError, KeyError) as error:
        raise WeightsError(f"{weights.path} does not fit {spec.text}: {error}") from error
