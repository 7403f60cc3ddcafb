"""Networks trained, tested and kept, one after another: what baselines and fine-tuning share."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import RunError
from featx.evaluate import list_tested, seal, split_rows
from featx.evaluate.draws import Draw, list_draws
from featx.evaluate.run import about_split
from featx.evaluate.sealed import TestRows, TrainingRows
from featx.progress import Bars
from featx.quiet import import_keras, many_networks
from featx.records import FeatureSet, HeadSpec, RunRecord, to_json
from featx.runs import load_run, save_run
from featx.training.augment import format_augment
from featx.training.checkpoint import Checkpoint, CheckpointFolder
from featx.training.fit import FitSpec, Rows, fit_network
from featx.training.network import count_parameters, save_network
from featx.training.precision import build_under, training_policy
from featx.training.record import network_record
from featx.training.rows import hold_out

log = logging.getLogger("featx")

CHECKPOINTS = "checkpoints"
"""Folder of checkpoints in the folder of runs."""


@dataclass(frozen=True)
class TrainingPart:
    """What a network may be built with: never a test row.

    Attributes
    ----------
    train : Rows
        The rows that it will learn from.
    classes : tuple of str
    image_size : (int, int)
    seed : int
        Of the draw.
    held : Rows, optional
        The rows that stopping is decided on.
    """

    train: Rows
    classes: tuple[str, ...]
    image_size: tuple[int, int]
    seed: int
    held: Rows | None = None


@dataclass(frozen=True)
class BuiltNetwork:
    """A fresh network, and what of it is to be trained on which rows.

    Attributes
    ----------
    network : keras.Model
        uint8 pixels to probabilities; what is tested and saved.
    tail : keras.Model, optional
        What is trained in its place: a network that shares its weights, and takes `train` and
        `held` instead of pixels.
    train, held : Rows, optional
        What the tail learns from and stops on, in the order of the part's own.
    seconds : mapping
        What building took: "extract" (features computed) and "select" (a head fitted).
    cost : mapping
        More to put among the costs of the record.
    """

    network: Any
    tail: Any = None
    train: Rows | None = None
    held: Rows | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkPlan:
    """One network to train on every draw.

    Attributes
    ----------
    kind : str
        "baseline" or "finetune".
    head : HeadSpec
        What its row is called.
    build : callable
        Takes a `TrainingPart` and returns a fresh network: uint8 pixels to probabilities, its
        last layer a softmax (`featx.training.classify`), `trainable` set as it is to be trained;
        or a `BuiltNetwork`. Equal parts must give equal networks.
    fit : FitSpec
    backbone : str
        Text of the pretrained backbone, where there is one.
    params : mapping
        What else it is trained with, for the record; JSON-able.
    identity : mapping
        What else decides the outcome, such as the digest of weights; JSON-able.
    """

    kind: str
    head: HeadSpec
    build: Callable[[TrainingPart], Any]
    fit: FitSpec
    backbone: str = ""
    params: Mapping[str, Any] = field(default_factory=dict)
    identity: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """ "mobilenet finetune(unfreeze='half')", "simple_cnn"."""
        return f"{self.backbone} {self.head.text}".strip()


def train_networks(
    plans: Sequence[NetworkPlan],
    features: FeatureSet,
    *,
    shots: Sequence[int | None] = (None,),
    draws: int = 1,
    seed: int = 0,
    test_fraction: float = 0.3,
    runs_dir: str | os.PathLike[str] | None = "runs",
    checkpoints: CheckpointFolder | None = None,
    progress: Bars | None = None,
) -> list[RunRecord]:
    """Train every network on every draw, test each once, and keep record and network.

    Split and draws are those of `featx.evaluate.evaluate` on the same images. After every epoch the
    state is kept below `runs_dir`. Run again after an interruption, it goes on after the last
    finished epoch, and trains no network twice whose record was written.

    Parameters
    ----------
    plans : sequence of NetworkPlan
    features : FeatureSet
        Of `load_images`.
    shots, draws, seed, test_fraction
        As `featx.evaluate.evaluate`; with all training rows, too, each draw is a network.
    runs_dir : path, optional
        Where records, networks and checkpoints are written; None writes nothing.
    checkpoints : CheckpointFolder, optional
        Of a command that calls this several times: it forgets them when all is done. Default: one
        below `runs_dir`, forgotten at the end of the call.
    progress : Bars, optional

    Returns
    -------
    list of RunRecord
        By shots, then draw, then plan. They are on the disk already.

    Raises
    ------
    SplitError
        Too few rows for the split or the shots.
    RunError
        Something cannot be written.
    """
    split = split_rows(features, seed=seed, test_fraction=test_fraction)
    training, test = seal(features, split)
    about = about_split(features, split)
    jobs = [
        (plan, draw)
        for draw in list_draws(features, training, shots=shots, draws=draws, seed=seed)
        for plan in plans
    ]
    kept = checkpoints or checkpoint_folder(runs_dir)
    records: list[RunRecord] = []
    for number, (plan, draw) in enumerate(jobs, 1):
        checkpoint = kept.checkpoint(_identity(plan, features, training, draw, about))
        if checkpoint and runs_dir is not None:
            known = _known_record(checkpoint, Path(runs_dir))
            if known is not None:
                log.info("%s, draw %d: trained before the interruption", plan.name, draw.number)
                records.append(known)
                continue
        label = f"{plan.name} {number}/{len(jobs)}" if len(jobs) > 1 else plan.name
        show = partial(_show, progress, label) if progress else None
        with many_networks():
            record, network = _train_one(
                plan, features, training, test, about, draw, checkpoint, show
            )
        records.append(record)
        if checkpoint and runs_dir is not None:
            path = save_run(
                record,
                runs_dir,
                test_set=list_tested(features, test.rows),
                network=partial(save_network, network),
            )
            checkpoint.finish(path)
    if checkpoints is None:
        kept.forget()
    return records


def checkpoint_folder(
    runs_dir: str | os.PathLike[str] | None, *, resume: bool = True
) -> CheckpointFolder:
    """Return the folder of checkpoints in a folder of runs; None keeps none."""
    folder = None if runs_dir is None else Path(runs_dir) / CHECKPOINTS
    return CheckpointFolder(folder, resume=resume)


def _train_one(
    plan: NetworkPlan,
    features: FeatureSet,
    training: TrainingRows,
    test: TestRows,
    about: Mapping[str, Any],
    draw: Draw,
    checkpoint: Checkpoint | None,
    show: Callable[[int, int, str], object] | None,
) -> tuple[RunRecord, Any]:
    import_keras().utils.clear_session(free_memory=True)
    rows = hold_out(training, draw)
    train = _rows(training, rows.fit)
    held = _rows(training, rows.held) if len(rows.held) else None
    size = tuple(features.X.shape[1:3])
    with build_under(training_policy(plan.fit.precision)):
        found = plan.build(TrainingPart(train, features.classes, size, draw.seed, held))
        built = found if isinstance(found, BuiltNetwork) else BuiltNetwork(found)
        network, tail = built.network, built.tail
        if tail is not None:
            assert built.train is not None
            train, held = built.train, built.held
        outcome = fit_network(
            network if tail is None else tail,
            train,
            held,
            plan.fit,
            seed=draw.seed,
            checkpoint=checkpoint,
            progress=show,
            name=plan.name,
        )
        outcome = replace(outcome, parameters=count_parameters(network))
    counts = np.unique(training.y[draw.train], return_counts=True)[1]
    record = network_record(
        plan.kind,
        network,
        outcome,
        features=features,
        test=test,
        about=about,
        draw=draw,
        rows=rows,
        head=plan.head,
        params={**fit_params(plan.fit, size), **plan.params},
        backbone=plan.backbone,
        extract_seconds=built.seconds.get("extract", 0.0),
        select_seconds=built.seconds.get("select", 0.0),
        cost={"rows_a_class": [int(counts.min()), int(counts.max())], **built.cost},
    )
    return record, network


def _rows(training: TrainingRows, positions: np.ndarray) -> Rows:
    digests = training.pick(training.digests, positions)
    return Rows(training.take(positions), training.y[positions], digests)


def fit_params(fit: FitSpec, image_size: tuple[int, int]) -> dict[str, Any]:
    """Return how a network is trained, as a record keeps it."""
    return {
        "image_size": list(image_size),
        "optimizer": fit.optimizer.text,
        "augment": format_augment(fit.augment),
        "epochs": fit.epochs,
        "patience": fit.patience,
        "batch_size": fit.batch_size,
        "precision": fit.precision,
    }


def _identity(
    plan: NetworkPlan,
    features: FeatureSet,
    training: TrainingRows,
    draw: Draw,
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Return all that decides the outcome but for the number of epochs, which may be raised."""
    keras = import_keras()
    rows = np.concatenate([draw.train, draw.val])
    fit = fit_params(plan.fit, tuple(features.X.shape[1:3]))
    del fit["epochs"]
    names = training.pick(training.digests, rows)
    return {
        "kind": plan.kind,
        "name": plan.name,
        "fit": to_json({**fit, "optimizer": plan.fit.optimizer.params}),
        "params": to_json(plan.params),
        "identity": to_json(plan.identity),
        "classes": list(features.classes),
        "rows": [[name, int(label)] for name, label in zip(names, training.y[rows], strict=True)],
        "n_val": len(draw.val),
        "test_digest": about["test_digest"],
        "draw": [draw.shots, draw.number, draw.seed],
        "backend": [keras.backend.backend(), keras.__version__],
    }


def _known_record(checkpoint: Checkpoint, runs_dir: Path) -> RunRecord | None:
    name = checkpoint.outcome()
    if not name:
        return None
    try:
        return load_run(runs_dir / name)
    except RunError:
        return None  # somebody removed it: train again


def _show(bars: Bars, label: str, done: int, total: int, word: str) -> None:
    bars(label, done, total)
    bars.note(word)
