"""An ImageNet classifier on the test rows of a data set: probabilities of its classes, a record."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.errors import SpecError
from featx.evaluate import seal, split_rows
from featx.evaluate.run import about_split, environment, keep_scores
from featx.evaluate.sealed import TrainingRows
from featx.evaluate.tested import keep_confidence
from featx.extraction.request import make_key
from featx.memory import peak_memory
from featx.metrics import score, top_k_accuracy
from featx.records import BackboneSpec, FeatureSet, HeadSpec, RunRecord, WeightsRecord, to_json
from featx.training.network import count_parameters, predict
from featx.zeroshot.mapping import OverlapSpec
from featx.zeroshot.synsets import imagenet_classes

RULE = "sum"
"""How the probabilities of the ImageNet classes that a class is make its own."""

TAKEN_IMAGES = 20
"""Training images a class that are looked at for what they are taken for."""


def check_overlap(overlap: OverlapSpec, dataset: str) -> None:
    """Raise where there is nothing to score.

    Raises
    ------
    SpecError
        No class overlaps ImageNet.
    """
    if overlap.overlapping:
        return
    told = ", ".join(overlap.others[:6])
    if overlap.source == "names":
        raise SpecError(
            f"No class of {dataset} has the name of an ImageNet class ({told}). If some are ones "
            "by another name, write them down: --write-mapping map.csv, edit it, --mapping map.csv."
        )
    raise SpecError(f"{overlap.source!r} gives none of the classes ({told}) an ImageNet class.")


def class_probabilities(probabilities: np.ndarray, overlap: OverlapSpec) -> np.ndarray:
    """Return the probability of each class of a data set, given that the image is of one of them.

    That of a class is the sum of the probabilities of its ImageNet classes; all are then divided by
    their sum. A class without any has 0.

    Parameters
    ----------
    probabilities : ndarray of shape (n, 1000)
    overlap : OverlapSpec

    Returns
    -------
    ndarray of shape (n, n_classes), float64
        Rows sum to one; alike for all overlapping classes where ImageNet gives them none.
    """
    columns = [probabilities[:, list(numbers)].sum(axis=1) for numbers in overlap.outputs.values()]
    found = np.stack(columns, axis=1).astype(np.float64)
    total = found.sum(axis=1, keepdims=True)
    known = np.array([bool(numbers) for numbers in overlap.outputs.values()])
    alike = np.broadcast_to(known / known.sum(), found.shape)
    return np.where(total > 0, found / np.maximum(total, np.finfo(np.float64).tiny), alike)


def score_classifier(
    classifier: Any,
    spec: BackboneSpec,
    weights: WeightsRecord,
    images: FeatureSet,
    overlap: OverlapSpec,
    *,
    test_fraction: float,
    seed: int,
) -> RunRecord:
    """Test a pretrained classifier on the test rows, once.

    Parameters
    ----------
    classifier : keras.Model
        Of `featx.backbones.classifier.build_classifier(spec)`.
    spec, weights
        What it is.
    images : FeatureSet
        Of `featx.training.load_images`.
    overlap : OverlapSpec
        Of the classes of `images`.
    test_fraction, seed
        Of the split.

    Returns
    -------
    RunRecord
        Of kind "zeroshot". The metrics are over all test rows, those of other classes counting as
        wrong; `cost["overlap"]` has the figures of the overlapping classes alone.
    """
    split = split_rows(images, seed=seed, test_fraction=test_fraction)
    training, test = seal(images, split)
    taken = _taken_for(classifier, training, overlap, seed)
    run = f"{spec.text} zeroshot"
    named = {name: overlap.names(name) for name in overlap.overlapping}
    test.freeze(run, named)
    X_test, y_test = test.hand_out(run)
    started = time.perf_counter()
    found = class_probabilities(predict(classifier, X_test), overlap)
    predict_seconds = time.perf_counter() - started
    y_pred = found.argmax(axis=1)
    known = np.array([bool(numbers) for numbers in overlap.outputs.values()])
    metrics = score(y_test, y_pred, n_classes=len(images.classes), probabilities=found, seed=seed)
    metrics |= _top_k(y_test, found, known)
    return RunRecord(
        kind="zeroshot",
        dataset=images.dataset,
        key=make_key(spec, weights, "float32", "float32"),
        backbone=spec.text,
        tap="",
        head=_head(overlap),
        params={"rule": RULE},
        shots=0,
        draw=0,
        split={**about_split(images, split), "n_train": 0, "n_val": 0},
        metrics=to_json(metrics),
        selection={
            "on": "given",
            "parameter": None,
            "curve": [],
            "mapping": {name: _ids(numbers) for name, numbers in overlap.outputs.items()},
            "mapping_source": overlap.source,
        },
        seconds={
            "extract": float(images.provenance.get("decode_seconds") or 0.0),
            "select": 0.0,
            "fit": 0.0,
            "predict": predict_seconds,
        },
        cost=to_json(
            {
                "feature_dim": None,
                "overlap": {
                    **_overlap_figures(overlap, known, y_test, y_pred, found, seed),
                    "taken_for": taken,
                },
                **count_parameters(classifier),
                "weights": {"kind": weights.kind, "path": weights.path},
                "peak_memory_bytes": peak_memory(),
                "warnings": [],
            }
        ),
        environment=environment(),
        classes=images.classes,
        arrays={
            "test_rows": test.rows.astype(np.int64),
            "y_true": y_test.astype(np.int32),
            "y_pred": y_pred.astype(np.int32),
            **keep_scores(found),
            **keep_confidence(found),
        },
    )


def _head(overlap: OverlapSpec) -> HeadSpec:
    """Name the row: with the mapping file, where there is one, so that two are told apart."""
    if overlap.source == "names":
        return HeadSpec("zeroshot")
    return HeadSpec("zeroshot", {"mapping": os.path.basename(overlap.source)})


def _overlap_figures(
    overlap: OverlapSpec,
    known: np.ndarray,
    y_test: np.ndarray,
    y_pred: np.ndarray,
    found: np.ndarray,
    seed: int,
) -> dict[str, Any]:
    """Return the figures of the overlapping classes alone."""
    inside = known[y_test]
    figures: dict[str, Any] = {
        "classes": overlap.overlapping,
        "others": overlap.others,
        "text": overlap.describe(),
        "n_test": int(inside.sum()),
        "n_test_others": int((~inside).sum()),
        "accuracy": None,
        "accuracy_ci": None,
        "macro_f1": None,
    }
    if inside.any():
        place = np.cumsum(known) - 1  # number of a class among the overlapping
        own = score(
            place[y_test[inside]],
            place[y_pred[inside]],
            n_classes=int(known.sum()),
            probabilities=found[inside][:, known],
            seed=seed,
        )
        figures |= {name: own[name] for name in ("accuracy", "accuracy_ci", "macro_f1")}
    return figures


def _taken_for(
    classifier: Any, training: TrainingRows, overlap: OverlapSpec, seed: int, most: int = 3
) -> Mapping[str, list[tuple[str, float]]]:
    """Return what some training images of each class are taken for, among all 1,000 classes.

    For whoever edits a mapping: it must not be made after the test images.

    Returns
    -------
    mapping of str to list of (str, float)
        The commonest first choices, and their share of the class's images.
    """
    rng, names = np.random.default_rng([seed, 2]), imagenet_classes()
    drawn = [
        rng.permutation(np.flatnonzero(training.y == number))[:TAKEN_IMAGES]
        for number in range(len(overlap.outputs))
    ]
    rows = np.concatenate(drawn)
    first = predict(classifier, training.take(rows)).argmax(axis=1)
    taken = {}
    for number, name in enumerate(overlap.outputs):
        counts = np.bincount(first[training.y[rows] == number], minlength=len(names))
        best = [i for i in np.argsort(-counts, kind="stable")[:most] if counts[i]]
        taken[name] = [(names[i].names[0], float(counts[i] / counts.sum())) for i in best]
    return taken


def _top_k(y: np.ndarray, found: np.ndarray, known: np.ndarray) -> dict[str, float | None]:
    """Return "top5" and "top10"; a row of a class that does not overlap is never right."""
    inside = known[y]
    result: dict[str, float | None] = {}
    for k in (5, 10):
        value = None
        if found.shape[1] > k:
            value = 0.0
            if inside.any():
                place = np.cumsum(known) - 1
                own = top_k_accuracy(place[y[inside]], found[inside][:, known], k)
                value = float(inside.mean() * (1.0 if own is None else own))
        result[f"top{k}"] = value
    return result


def _ids(numbers: tuple[int, ...]) -> list[str]:
    known = imagenet_classes()
    return [known[number].id for number in numbers]
