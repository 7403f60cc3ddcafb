"""The whole network of a fine-tuning: pixels, preprocessing, base, pooling, head, softmax.

The base is always in inference mode: its batch normalisation keeps its statistics, in the trained
part too, and its dropout is off. What is trained is the network, or where the frozen part
was computed once, a tail that shares its layers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.backbones.graph import preprocess_pixels
from featx.extraction.request import make_key
from featx.finetune.base import Base, CutRecord, build_base, build_tail, find_cut, set_trainable
from featx.finetune.blocks import build_blocks
from featx.finetune.head import build_layers, fit_layers, set_layers
from featx.finetune.trunk import Trunks
from featx.finetune.unfreeze import UnfreezeSpec
from featx.quiet import import_keras
from featx.records import BackboneSpec, FeatureSet, HeadSpec, StepSpec, TapSpec, WeightsRecord
from featx.training import BuiltNetwork, Rows, TrainingPart, pixel_input
from featx.training.images import take_rows

TRUNKS = ("auto", "cached", "whole")

POOLING_LAYERS = {
    "avg": "GlobalAveragePooling2D",
    "max": "GlobalMaxPooling2D",
    "flatten": "Flatten",
}


class CachedFeatures:
    """The features of a data set's images, found by digest.

    Parameters
    ----------
    features : FeatureSet

    Attributes
    ----------
    seconds : float
        That extracting them took.
    """

    def __init__(self, features: FeatureSet) -> None:
        self._features = features
        self._places = {digest: i for i, digest in enumerate(features.digests)}
        self.seconds = float(features.provenance.get("extract_seconds") or 0.0)

    def of(self, digests: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
        """Return the rows of some images, and their groups."""
        places = np.array([self._places[digest] for digest in digests], np.int64)
        groups = self._features.groups
        return take_rows(self._features.X, places), tuple(groups[i] for i in places if groups)


@dataclass(frozen=True)
class TuningSpec:
    """One way to fine-tune one backbone.

    Attributes
    ----------
    backbone : BackboneSpec
    weights : WeightsRecord
    end : str
        Name of the layer that the base ends with.
    unfreeze : UnfreezeSpec
    head : HeadSpec
    pooling : str
        Of the base's end: "avg", "max" or "flatten".
    warm : bool
        The head starts as it was fitted on cached features.
    drop_last : int
        Layers of the base left out at its end.
    blocks : tuple of StepSpec
        Convolutions between base and head.
    trunk : str
        "cached" computes the frozen part once, "whole" runs it in every epoch, "auto" chooses.
    augmented : bool
        Training images differ from epoch to epoch.
    """

    backbone: BackboneSpec
    weights: WeightsRecord
    end: str
    unfreeze: UnfreezeSpec
    head: HeadSpec
    pooling: str
    warm: bool
    drop_last: int
    blocks: tuple[StepSpec, ...]
    trunk: str
    augmented: bool

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the input."""
        return self.backbone.image.height, self.backbone.image.width

    @property
    def label(self) -> str:
        """The backbone's spec text; random weights are named as such."""
        random = " (random weights)" if self.weights.kind == "random" else ""
        return self.backbone.text + random

    @property
    def tap(self) -> tuple[str, str]:
        """Which features the head starts from: digest of their key, and name of their tap."""
        last = self.end if self.drop_last else ""
        key = make_key(self.backbone, self.weights, "float32", "float32")
        return key.digest(), TapSpec(last, self.pooling).name

    def build(
        self, part: TrainingPart, features: CachedFeatures | None, trunks: Trunks
    ) -> BuiltNetwork:
        """Build the network, its head fitted, and where that is to be, the rows of its tail.

        Parameters
        ----------
        part : TrainingPart
        features : CachedFeatures or None
            Of `tap`, for a warm start.
        trunks : Trunks

        Returns
        -------
        BuiltNetwork
        """
        base = build_base(self.backbone, self.weights, self.drop_last)
        first = self.unfreeze.first_layer(base.names, self.backbone.text)
        set_trainable(base, first)
        top = [
            *build_blocks(self.blocks, part.seed),
            _pooling_layer(self.pooling),
            *build_layers(self.head, len(part.classes), part.seed),
        ]
        network = assemble(self.backbone, base, top, part.image_size)
        seconds = {"extract": 0.0, "select": 0.0}
        cost: dict[str, Any] = {
            "layers_unfrozen": len(base.names) - first,
            "layers_of_base": len(base.names),
        }
        if features is not None:
            seconds, cost["start"] = self._warm(part, features, top)
        rows = len(part.train) + len(part.held or ())
        cut = None if self.augmented or self.trunk == "whole" else find_cut(base)
        if self.trunk == "auto" and not trunks.pays(cut, rows):
            cut = None
        cost["trunk"] = "whole"
        if cut is None:
            return BuiltNetwork(network, seconds=seconds, cost=cost)
        held = part.held.digests if part.held else ()
        (train_rows, held_rows), spent = trunks.rows(self.backbone, cut, [part.train.digests, held])
        seconds["extract"] += spent
        cost |= {
            "trunk": cut.tap.name,
            "trunk_share": round(cut.share, 4),
            "trunk_seconds": spent,
        }
        return BuiltNetwork(
            network,
            tail=assemble_tail(base, cut, top),
            train=Rows(train_rows, part.train.y),
            held=Rows(held_rows, part.held.y) if part.held else None,
            seconds=seconds,
            cost=cost,
        )

    def _warm(
        self, part: TrainingPart, features: CachedFeatures, top: Sequence[Any]
    ) -> tuple[dict[str, float], dict[str, Any]]:
        """Fit the head on the cached features of the rows to learn from; return what it took."""
        X, groups = features.of(part.train.digests)
        held = None
        if part.held is not None:
            held = features.of(part.held.digests)[0], part.held.y
        fitted = fit_layers(
            self.head,
            X,
            part.train.y,
            len(part.classes),
            held=held,
            digests=part.train.digests,
            groups=groups,
            seed=part.seed,
        )
        set_layers([layer for layer in top if type(layer).__name__ == "Dense"], fitted)
        return {"extract": features.seconds, "select": fitted.seconds}, dict(fitted.choice)


def assemble(
    spec: BackboneSpec, base: Base, top: Sequence[Any], image_size: tuple[int, int]
) -> Any:
    """Return the network from uint8 pixels to probabilities.

    Parameters
    ----------
    spec : BackboneSpec
    base : Base
    top : sequence of keras.Layer
        From feature maps to logits, called one after the other.
    image_size : (height, width)
    """
    keras = import_keras()
    pixels = pixel_input(image_size)
    values = preprocess_pixels(spec, keras.ops.cast(pixels, "float32"))
    maps = base.model(values)
    return keras.Model(pixels, _probabilities(maps, top), name=spec.name)


def assemble_tail(base: Base, cut: CutRecord, top: Sequence[Any]) -> Any:
    """Return the network from flattened rows of a cut to probabilities, layers shared.

    Parameters
    ----------
    base : Base
    cut : CutRecord
    top : sequence of keras.Layer
        As in `assemble`, which has to come first.
    """
    keras = import_keras()
    rows = keras.Input((int(np.prod(cut.shape)),), dtype="float32", name="rows")
    maps = keras.layers.Reshape(cut.shape)(rows)
    if not cut.at_end:
        maps = build_tail(base, cut)(maps)
    return keras.Model(rows, _probabilities(maps, top), name=f"{base.model.name}_tail")


def _probabilities(values: Any, top: Sequence[Any]) -> Any:
    for layer in top:
        values = layer(values)
    softmax = import_keras().layers.Softmax(dtype="float32", name="probabilities")
    return softmax(values)


def _pooling_layer(pooling: str) -> Any:
    keras = import_keras()
    return getattr(keras.layers, POOLING_LAYERS[pooling])(name="pooled", dtype="float32")
