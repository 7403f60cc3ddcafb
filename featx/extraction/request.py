"""What an extraction is asked for, as the user writes it."""

from __future__ import annotations

import os
from collections.abc import Sequence

from featx.backbones import parse_backbone
from featx.errors import SpecError
from featx.records import BackboneSpec, ExtractionKey, WeightsRecord


def source_text(data: str | os.PathLike[str]) -> str:
    """Return how the cache remembers where a data set came from: an absolute path, or a name."""
    text = os.fspath(data)
    return os.path.abspath(text) if os.path.exists(text) else text


def pair_backbones(
    names: Sequence[str],
    weights: Sequence[str],
    image_size: int | tuple[int, int] | None,
    default: str,
) -> list[BackboneSpec]:
    """Give each backbone its weights: one for all, or one for each in their order.

    Raises
    ------
    SpecError
        A wrong name or parameter, or another number of weights.
    """
    names = list(dict.fromkeys(names))
    sources = list(weights) or [default]
    if len(sources) == 1:
        sources *= len(names)
    if len(sources) != len(names):
        raise SpecError(
            f"{len(names)} backbones but {len(sources)} weights. Give one for all, or one for "
            "each in the order of the backbones."
        )
    pairs = zip(names, sources, strict=True)
    return [parse_backbone(n, weights=w, image_size=image_size) for n, w in pairs]


def make_key(
    spec: BackboneSpec, weights: WeightsRecord, precision: str, stored: str
) -> ExtractionKey:
    """Return the key of the rows that a backbone with these weights gives."""
    return ExtractionKey(
        backbone=spec.name,
        params=spec.params,
        weights=weights.digest,
        preprocess=spec.preprocess,
        image=spec.image,
        precision=precision,
        stored=stored,
    )
