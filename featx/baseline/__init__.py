"""CNNs trained from scratch on the image files: what a pretrained backbone is held against."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from featx.records import Comparison

SAMPLE_SIZE = 32
"""Input size for the embedded sample, whose images have 8×8 pixels."""


def baseline(
    data: str | os.PathLike[str] = "digits",
    *,
    nets: Sequence[str] = ("simple_cnn",),
    image_size: int | tuple[int, int] | None = None,
    shots: Sequence[int | None] = (None,),
    draws: int = 1,
    epochs: int = 60,
    patience: int = 10,
    optimizer: str = "adam",
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
    """Train networks from scratch on the images of `data`, test each once, and compare them.

    Split, draws and test images are those of `featx.classify` with the same `seed` and
    `test_fraction`, so that their rows can stand side by side.

    Parameters
    ----------
    data : str or path
        What `featx.extract` takes.
    nets : sequence of str
        Spec strings: "simple_cnn", "small_cnn", "scratch(mobilenet_v2)".
    image_size : int or (height, width), optional
        Input size in pixels; default: a backbone's own, 224 for other networks, 32 for the
        embedded sample.
    shots : sequence of int or None
        Training images a class; None is all.
    draws : int
        Draws at each number of shots; each is a network of its own.
    epochs, patience : int
        At most so many epochs, and after how many without a lower validation loss to stop. The
        weights of the best epoch are kept. The learning rate is halved after half as many.
    optimizer : str
        Spec string: "adam(1e-5)", "sgd(1e-4, momentum=0.9)".
    augment : str
        Spec string: "flip+rotation(0.1)"; or "none", "light", "heavy".
    batch_size : int
        Images a step.
    precision : str
        "float32" or "mixed".
    seed, test_fraction, target
        As `featx.classify`.
    resume : bool
        Go on where an interrupted call of the same kind stopped.
    cache_dir : path
        Where images out of archives, and the files' digests, are kept.
    runs_dir : path, optional
        Where records, networks (.keras) and checkpoints are written; None writes nothing.
    progress : bool
        Show progress on stderr.

    Returns
    -------
    Comparison

    Raises
    ------
    DatasetError, SplitError, SpecError, ImageSizeError, EngineError, RunError
        With a message that names the remedy.
    """
    from featx.backend import require_backend
    from featx.baseline.nets import parse_net
    from featx.compare import compare
    from featx.errors import SpecError
    from featx.progress import Bars
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
    if image_size is None and os.fspath(data) == "digits":
        image_size = SAMPLE_SIZE
    # Whatever is wrong with the request is told before any image is read.
    specs = list({s.head.text: s for s in (parse_net(text, image_size) for text in nets)}.values())
    if not specs:
        raise SpecError("No network to train: name at least one, such as simple_cnn.")
    fit = FitSpec(
        optimizer=parse_optimizer(optimizer),
        augment=parse_augment(augment),
        epochs=epochs,
        patience=patience,
        batch_size=batch_size,
        precision=precision,
    )
    require_backend()
    training_policy(precision)
    records = []
    checkpoints = checkpoint_folder(runs_dir, resume=resume)
    with Bars(progress) as bars:
        for size in dict.fromkeys(spec.image_size for spec in specs):
            images = load_images(
                data, image_size=size, target=target, cache_dir=cache_dir, progress=bars
            )
            records += train_networks(
                [
                    NetworkPlan("baseline", spec.head, spec.build, fit)
                    for spec in specs
                    if spec.image_size == size
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
