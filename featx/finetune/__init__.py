"""Fine-tuning: a backbone whose last layers are trained further, from the head fitted on features.

=============  =====================================================================
`unfreeze`     "half", "20", "from:LAYER": how much of the base is trained
`base`         the base's layers, its end, and where its frozen part ends
`blocks`       convolutions added between base and head
`head`         a head fitted on cached features, as dense layers
`trunk`        the frozen part's output, computed once
`network`      all of it together
`request`      what the user asks for
=============  =====================================================================
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featx.finetune.network import CachedFeatures, TuningSpec
    from featx.records import Comparison, FeatureSet

OPTIMIZER = "adam(1e-4)"
"""The default: a base that was trained before wants small steps."""


def finetune(
    data: str | os.PathLike[str] = "digits",
    *,
    backbones: Sequence[str] = ("mobilenet",),
    weights: Sequence[str] = (),
    image_size: int | tuple[int, int] | None = None,
    unfreeze: int | str | Sequence[int | str] = ("half",),
    head: str = "logreg",
    pooling: str | Sequence[str] = "avg",
    start: str = "auto",
    drop_last: int = 0,
    add_conv: str = "",
    trunk: str = "auto",
    shots: Sequence[int | None] = (None,),
    draws: int = 1,
    epochs: int = 30,
    patience: int = 5,
    optimizer: str = OPTIMIZER,
    augment: str = "none",
    batch_size: int = 32,
    precision: str = "float32",
    seed: int = 0,
    test_fraction: float = 0.3,
    target: str | None = None,
    resume: bool = True,
    cache_dir: str | os.PathLike[str] = "features",
    runs_dir: str | os.PathLike[str] | None = "runs",
    progress: bool = False,
) -> Comparison:
    """Train the last layers of pretrained backbones on the images of `data`, and compare them.

    The head starts as it was fitted on the cached features, which are extracted first where they
    are not there. Split, draws and test images are those of `featx.classify` with the same `seed`
    and `test_fraction`, so that their rows can stand side by side.

    Parameters
    ----------
    data : str or path
        What `featx.extract` takes.
    backbones, weights, image_size
        As `featx.extract`; one image size for all.
    unfreeze : int, str, or sequence of these
        What is trained of the base, each a run of its own: "none", "half", "all", the number of
        last layers, or "from:LAYER" with a layer's name or number. Layers are counted as Keras
        counts `model.layers` of the base without its classifier.
    head : str
        Spec string: "logreg", "linear_svc", "ridge", "lda" or "mlp(hidden=(512, 256),
        dropout=0.2)". Its dropout is on in training only.
    pooling : str or sequence of str
        Between base and head: "avg", "max" or "flatten"; each a run of its own.
    start : str
        "warm": the head as fitted on cached features; "cold": drawn at random; "auto": warm unless
        convolutions are added.
    drop_last : int
        Layers to leave out at the end of the base.
    add_conv : str
        Convolutions to put between base and head: "conv(256)+conv(256, batch_norm=True)".
    trunk : str
        "cached" computes the frozen part of the base once for all epochs, "whole" runs it in each,
        "auto" is cached where nothing is augmented and it pays. Results are the same.
    shots : sequence of int or None
        Training images a class; None is all.
    draws : int
        Draws at each number of shots; each is a network of its own.
    epochs, patience : int
        At most so many epochs, and after how many without a lower validation loss to stop. The
        weights of the best epoch are kept, or those of the start where no epoch has a lower loss.
        The learning rate is halved after half as many.
    optimizer, augment : str
        Spec strings: "adam(1e-5)", "flip+rotation(0.1)".
    batch_size : int
        Images a step.
    precision : str
        "float32" or "mixed".
    seed, test_fraction, target
        As `featx.classify`.
    resume : bool
        Go on where an interrupted call of the same kind stopped.
    cache_dir : path
        Where features are cached, and below it what frozen parts give.
    runs_dir : path, optional
        Where records, networks (.keras) and checkpoints are written; None writes nothing.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Comparison

    Raises
    ------
    SpecError, DatasetError, SplitError, BackboneError, EngineError, HeadError, CacheError, RunError
        With a message that names the remedy.
    """
    from featx.compare import compare
    from featx.errors import SpecError
    from featx.finetune.request import name_row, plan_tunings, record_params
    from featx.finetune.trunk import Trunks
    from featx.progress import Bars
    from featx.store import local_cache
    from featx.training import (
        FitSpec,
        NetworkPlan,
        checkpoint_folder,
        load_images,
        parse_augment,
        parse_optimizer,
        train_networks,
        training_policy,
    )

    for name, value in (("epochs", epochs), ("patience", patience), ("batch_size", batch_size)):
        if value < 1:
            raise SpecError(f"{name} is {value}: give 1 or more.")
    # Whatever is wrong with the request is told before any image is read.
    fit = FitSpec(
        optimizer=parse_optimizer(optimizer),
        augment=parse_augment(augment),
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        precision=precision,
        keep_start=True,
    )
    training_policy(precision)
    tunings = plan_tunings(
        backbones=backbones,
        weights=weights,
        default_weights="auto" if os.fspath(data) == "digits" else "imagenet",
        image_size=image_size,
        unfreeze=unfreeze,
        head=head,
        pooling=pooling,
        start=start,
        drop_last=drop_last,
        add_conv=add_conv,
        trunk=trunk,
        augmented=bool(fit.augment),
    )
    cache_dir = local_cache(cache_dir)
    features = _extract_features(data, tunings, target, cache_dir, progress)
    records = []
    checkpoints = checkpoint_folder(runs_dir, resume=resume)
    with Bars(progress) as bars:
        trunks = Trunks(data, cache_dir, bars)
        for size in dict.fromkeys(tuning.image_size for tuning in tunings):
            images = load_images(
                data, image_size=size, target=target, cache_dir=cache_dir, progress=bars
            )
            records += train_networks(
                [
                    NetworkPlan(
                        "finetune",
                        name_row(tuning, fit),
                        partial(tuning.build, features=features.get(tuning.tap), trunks=trunks),
                        fit,
                        backbone=tuning.label,
                        params=record_params(tuning),
                        identity={"weights": tuning.weights.digest, "trunk": tuning.trunk},
                    )
                    for tuning in tunings
                    if tuning.image_size == size
                ],
                images,
                shots=shots,
                draws=draws,
                seed=seed,
                test_fraction=test_fraction,
                runs_dir=runs_dir,
                checkpoints=checkpoints,
                progress=bars,
            )
    checkpoints.forget()
    return compare(records)


def _extract_features(
    data: str | os.PathLike[str],
    tunings: Sequence[TuningSpec],
    target: str | None,
    cache_dir: str | os.PathLike[str],
    progress: bool,
) -> dict[Any, CachedFeatures]:
    """Extract what the cache lacks of the features that heads start from; by `TuningSpec.tap`."""
    from featx.extract import extract
    from featx.finetune.network import CachedFeatures
    from featx.store import load_features

    found: dict[Any, CachedFeatures] = {}
    for tuning in tunings:
        if not tuning.warm or tuning.tap in found:
            continue
        spec, (_, tap) = tuning.backbone, tuning.tap
        report = extract(
            data,
            backbone=spec.text,
            pooling=tap,
            weights=spec.weights,
            image_size=tuning.image_size,
            cache_dir=cache_dir,
            progress=progress,
        )
        features: FeatureSet = load_features(
            report.caches[0]["path"], tap, target=target, lazy=True
        )
        found[tuning.tap] = CachedFeatures(features)
    return found
