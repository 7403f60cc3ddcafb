"""What a fine-tuning is asked for: checked whole before an image is read or a weight is loaded."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featx.backbones import resolve_weights
from featx.errors import SpecError
from featx.extraction.request import pair_backbones
from featx.finetune.base import Base, build_base, find_cut, set_trainable
from featx.finetune.blocks import format_blocks, parse_blocks
from featx.finetune.head import parse_network_head
from featx.finetune.network import POOLING_LAYERS, TRUNKS, TuningSpec
from featx.finetune.unfreeze import parse_unfreezes
from featx.records import HeadSpec
from featx.registry import near_misses
from featx.training import FitSpec, format_augment

STARTS = ("auto", "warm", "cold")


def plan_tunings(
    *,
    backbones: Sequence[str],
    weights: Sequence[str],
    default_weights: str,
    image_size: int | tuple[int, int] | None,
    unfreeze: int | str | Sequence[int | str],
    head: str,
    pooling: str | Sequence[str],
    start: str,
    drop_last: int,
    add_conv: str,
    trunk: str,
    augmented: bool,
) -> list[TuningSpec]:
    """Return every run asked for: by backbone, then pooling, then how much is unfrozen.

    Parameters
    ----------
    default_weights : str
        Where `weights` is empty.
    augmented : bool
        Training images are augmented.
    backbones, weights, ...
        As `featx.finetune.finetune`.

    Raises
    ------
    SpecError
        Something that cannot be read, that a base does not have, or that does not go together.
    BackboneError, WeightsError
        As `featx.extract`.
    """
    unfreezes = parse_unfreezes(unfreeze)
    head_spec, blocks = parse_network_head(head), parse_blocks(add_conv)
    poolings = list(dict.fromkeys([pooling] if isinstance(pooling, str) else pooling))
    for name in poolings:
        _require("pooling", name, POOLING_LAYERS)
    _require("start", start, STARTS)
    _require("trunk", trunk, TRUNKS)
    if start == "warm" and blocks:
        raise SpecError(
            "The head cannot start warm behind added convolutions, which have no features in the "
            "cache: leave out start='warm' (--start warm), or the convolutions."
        )
    if trunk == "cached" and augmented:
        raise SpecError(
            "The frozen part cannot be computed once where images are augmented, different in "
            "every epoch: give trunk='whole' (--trunk whole), or no augmentation."
        )
    if drop_last < 0:
        raise SpecError(f"drop_last is {drop_last}: give 0 or more layers.")
    specs = pair_backbones(backbones, weights, image_size, default_weights)
    if not specs:
        raise SpecError("No backbone to fine-tune: name at least one, such as mobilenet.")
    bases = {spec.text: build_base(spec, None, drop_last) for spec in specs}
    found = [
        TuningSpec(
            backbone=spec,
            weights=resolve_weights(spec),
            end=bases[spec.text].last,
            unfreeze=amount,
            head=head_spec,
            pooling=name,
            warm=start == "warm" or (start == "auto" and not blocks),
            drop_last=drop_last,
            blocks=blocks,
            trunk=trunk,
            augmented=augmented,
        )
        for spec in specs
        for name in poolings
        for amount in unfreezes
    ]
    for tuning in found:
        _check_layers(tuning, bases[tuning.backbone.text])
    return found


def name_row(tuning: TuningSpec, fit: FitSpec) -> HeadSpec:
    """Return what the row of a run is called: "finetune('half', optimizer='adam(1e-05)')".

    What is as it is by default is left out but for these two. What is unfrozen comes first and
    without its name, so that rows can be told apart where a table cuts them short.
    """
    amount = tuning.unfreeze.text
    params: dict[str, Any] = {"0": int(amount) if amount.isdecimal() else amount}
    params["optimizer"] = fit.optimizer.text
    if tuning.head.text != "logreg":
        params["head"] = tuning.head.text
    if tuning.pooling != "avg":
        params["pooling"] = tuning.pooling
    if tuning.drop_last:
        params["drop_last"] = tuning.drop_last
    if tuning.blocks:
        params["add_conv"] = format_blocks(tuning.blocks)
    elif not tuning.warm:
        params["start"] = "cold"
    if fit.augment:
        params["augment"] = format_augment(fit.augment)
    return HeadSpec("finetune", params)


def record_params(tuning: TuningSpec) -> dict[str, Any]:
    """Return what a record keeps of a run, beside how it was fitted."""
    return {
        "unfreeze": tuning.unfreeze.text,
        "head": tuning.head.text,
        "pooling": tuning.pooling,
        "start": "warm" if tuning.warm else "cold",
        "drop_last": tuning.drop_last,
        "add_conv": format_blocks(tuning.blocks),
        "weights": tuning.weights.kind,
    }


def _check_layers(tuning: TuningSpec, base: Base) -> None:
    """Look up the layers that were named, on a base without its weights."""
    text = tuning.backbone.text
    set_trainable(base, tuning.unfreeze.first_layer(base.names, text))
    if tuning.trunk == "cached" and find_cut(base) is None:
        raise SpecError(
            f"unfreeze={tuning.unfreeze.text} leaves {text} no frozen part to compute once: "
            "give trunk='whole' (--trunk whole), or auto."
        )


def _require(what: str, value: str, known: Sequence[str] | dict[str, Any]) -> None:
    if value not in known:
        near = near_misses(value, known)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise SpecError(f"Unknown {what} {value!r}.{hint} Use one of: {', '.join(known)}.")
