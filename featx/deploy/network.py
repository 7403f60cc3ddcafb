"""A run as one Keras network, from pixels to probabilities."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from featx.backbones import build_graph
from featx.deploy.find import find_members
from featx.deploy.formats.keras import load_keras
from featx.deploy.head import build_head
from featx.deploy.source import PartSpec, find_parts, load_parts
from featx.deploy.spec import INPUT, OUTPUT
from featx.errors import DeployError, RunError
from featx.evaluate.refit import RefitRecord, refit_head
from featx.quiet import import_keras
from featx.records import BackboneSpec, ImageSpec, RunRecord, TapSpec, WeightsRecord
from featx.runs import network_path

NETWORKS = ("baseline", "finetune")
"""Kinds of run whose network lies beside its record."""


@dataclass(frozen=True)
class NetworkRecord:
    """A network, and what is known of its predictions.

    Attributes
    ----------
    network : keras.Model
        Takes uint8 RGB (n, height, width, 3), gives float32 (n, n_classes).
    image : ImageSpec
    expected : ndarray of shape (n_test, n_classes), or None
        Probabilities of the run's test rows by the cached features.
    calibrated : str
        Where the probabilities come from: "own", "temperature" or "none".
    notes : tuple of str
        What a user should know.
    """

    network: Any
    image: ImageSpec
    expected: np.ndarray | None
    calibrated: str
    notes: tuple[str, ...] = ()


def build_network(
    path: Path,
    record: RunRecord,
    *,
    cache_dir: str | os.PathLike[str],
    weights: Sequence[str] = (),
) -> NetworkRecord:
    """Build or load the network of a run.

    Parameters
    ----------
    path : Path
        Of the record, beside which a trained network lies, and the members of an average.
    record : RunRecord
    cache_dir : path
    weights : sequence of str
        Files to look for backbone weights in.

    Returns
    -------
    NetworkRecord

    Raises
    ------
    DeployError
        A run that cannot be exported; says why.
    RunError
        The cached features are not those of the run any more.
    """
    if record.kind in NETWORKS:
        return _load_network(path, record)
    if record.kind != "head":
        raise DeployError(
            f"A {record.kind} run has no head that was fitted: export a run of featx classify."
        )
    average = record.head.name == "average"
    runs = find_members(record, path.parent) if average else [record]
    members = [_refit(run, cache_dir) for run in runs]
    image = one_image([part for parts, _ in members for part in parts])
    expected = np.mean([refit.probabilities for _, refit in members], axis=0)
    if average and (expected.argmax(axis=1) != record.arrays["y_pred"]).sum() > len(expected) / 50:
        raise RunError(f"The members found of {record.head.text} give other predictions than it.")
    keras = import_keras()
    images = keras.Input((image.height, image.width, 3), dtype="uint8", name=INPUT)
    taps = _tap_tensors(images, [part for parts, _ in members for part in parts], weights)
    outputs = []
    for number, (run, (parts, refit)) in enumerate(zip(runs, members, strict=True)):
        features = [taps[part.key.digest(), part.tap] for part in parts]
        joined = keras.layers.Concatenate()(features) if len(features) > 1 else features[0]
        name = f"{run.head.name}_{number}" if average else run.head.name
        head = build_head(run.head, refit, joined.shape[-1], len(run.classes), name)
        outputs.append(head(joined))
    output = keras.layers.Average(name=OUTPUT)(outputs) if average else outputs[0]
    return NetworkRecord(
        keras.Model(images, output, name="featx"),
        image,
        expected,
        _calibration(runs, members),
        _notes(runs, members),
    )


_Member = tuple[list[PartSpec], RefitRecord]


def _refit(record: RunRecord, cache_dir: str | os.PathLike[str]) -> _Member:
    if record.params.get("joint"):
        raise DeployError(
            f"{record.head.text} learns several label columns at once, which cannot be exported "
            "yet. Run featx classify with mlp on the one column."
        )
    error: RunError | None = None
    for parts in find_parts(record, cache_dir):  # several data sets may have one name
        try:
            return parts, refit_head(load_parts(parts, record), record)
        except RunError as wrong:
            error = wrong
    assert error is not None
    raise error


def one_image(parts: Sequence[PartSpec]) -> ImageSpec:
    """Return the pixels that all parts take.

    Raises
    ------
    DeployError
        They differ.
    """
    images = {part.key.image: part.key.backbone for part in parts}
    if len(images) > 1:
        told = ", ".join(f"{name} {i.height}x{i.width}" for i, name in images.items())
        raise DeployError(
            f"The backbones take images of different sizes ({told}), and an exported model takes "
            "one. Extract them at one size (--image-size) and classify again."
        )
    return next(iter(images))


def _tap_tensors(images: Any, parts: Sequence[PartSpec], weights: Sequence[str]) -> dict[Any, Any]:
    """Return the features by (key digest, tap); each backbone is built once, with all its taps."""
    found: dict[str, tuple[BackboneSpec, WeightsRecord, list[TapSpec]]] = {}
    for part in parts:
        spec, record, tap = part.backbone(weights)
        taps = found.setdefault(part.key.digest(), (spec, record, []))[2]
        if tap not in taps:
            taps.append(tap)
    tensors = {}
    for number, (digest, (spec, record, taps)) in enumerate(found.items()):
        graph = build_graph(spec, record, taps)
        if len(found) > 1:
            graph.name = f"{graph.name}_{number}"
        for name, tensor in graph(images).items():
            tensors[digest, name] = tensor
    return tensors


def _load_network(path: Path, record: RunRecord) -> NetworkRecord:
    keras = import_keras()
    file = network_path(path)
    if not file.is_file():
        raise DeployError(
            f"The network of this {record.kind} run is not at {file}. Run featx {record.kind} "
            "again, or put it there."
        )
    network = load_keras(file)
    height, width = network.input_shape[1:3]
    if network.output_shape[-1] != len(record.classes) or not height or not width:
        raise DeployError(
            f"{file} gives {network.output_shape[-1]} values of {height}x{width} images, where the "
            f"run has {len(record.classes)} classes: it is of another run."
        )
    image = record.key.image if record.key else ImageSpec(height, width)
    image = replace(image, height=height, width=width, view="")
    images = keras.Input((height, width, 3), dtype="uint8", name=INPUT)
    model = keras.Model(images, network(images, training=False), name="featx")
    return NetworkRecord(model, image, None, "own")


def _calibration(runs: Sequence[RunRecord], members: Sequence[_Member]) -> str:
    from featx.heads import HEADS

    kinds = {
        "own" if HEADS.get(run.head.name).calibrated else
        "none" if refit.temperature is None else "temperature"
        for run, (_, refit) in zip(runs, members, strict=True)
    }  # fmt: skip
    return kinds.pop() if len(kinds) == 1 else "temperature" if "none" not in kinds else "none"


def _notes(runs: Sequence[RunRecord], members: Sequence[_Member]) -> tuple[str, ...]:
    notes = []
    for run, (parts, refit) in zip(runs, members, strict=True):
        if refit.differing:
            notes.append(
                f"{run.head.text} was trained again and gives {refit.differing} of "
                f"{len(refit.probabilities)} test images another class than the run did."
            )
        for part in parts:
            if part.key.precision != "float32" or part.key.stored != "float32":
                notes.append(
                    f"{part.key.backbone} was extracted in {part.key.precision} and stored as "
                    f"{part.key.stored}; the model computes in float32, so that its probabilities "
                    "differ a little."
                )
    return tuple(dict.fromkeys(notes))
