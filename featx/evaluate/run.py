"""One run: choose, fit, freeze, test, and write it all down."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from featx import __version__
from featx.errors import HeadError
from featx.evaluate.draws import Draw
from featx.evaluate.sealed import TestRows, in_memory, row_blocks
from featx.evaluate.tested import keep_confidence
from featx.heads import HEADS, make_head
from featx.heads.steps import make_pipeline
from featx.memory import peak_memory
from featx.metrics import score, softmax
from featx.records import FeatureSet, HeadSpec, RunRecord, Split, to_json
from featx.selection import Choice, SteppedRows, choose_params, head_scores, warning_texts
from featx.split import find_leaks

MAX_FULL_SCORES = 100
"""Up to so many classes a record keeps all scores, beyond it the ten best a row."""


def run_head(
    spec: HeadSpec,
    draw: Draw,
    X: Any,
    y: np.ndarray,
    stepped: SteppedRows,
    features: FeatureSet,
    test: TestRows,
    about: Mapping[str, Any],
    *,
    scored: bool = False,
) -> tuple[RunRecord, np.ndarray | None]:
    """Choose and fit `spec` on one draw, then score it on the test rows.

    Parameters
    ----------
    spec : HeadSpec
        As asked for.
    draw : Draw
    X, y : ndarray
        Features and labels of `draw.train`, then of `draw.val`.
    stepped : SteppedRows
        X after the head's steps, with the folds to choose on.
    features : FeatureSet
        For names alone; its rows are reached through X and `test`.
    test : TestRows
    about : mapping
        `about_split`.
    scored : bool
        As `choose_params`.

    Returns
    -------
    record : RunRecord
    probabilities : ndarray of shape (n_test, n_classes), float64, or None
        Calibrated, of the test rows; None where nothing could be held out to calibrate on.

    Raises
    ------
    HeadError
        The head cannot be fitted on these rows.
    """
    try:
        on = "validation" if len(draw.val) else "folds"
        started = time.perf_counter()
        rows = stepped.X if HEADS.get(spec.name).streams else in_memory(stepped.X)
        step_seconds = time.perf_counter() - started
        choice = choose_params(spec, rows, y, stepped.spaces, on=on, seed=draw.seed, scored=scored)
        started = time.perf_counter() - step_seconds
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            head = fit_head(choice.spec, draw, rows, y, stepped)
        fit_seconds = time.perf_counter() - started
        run = f"{spec.text}, {draw.shots or 'all'} shots, draw {draw.number}"
        test.freeze(run, choice.spec.params)
        X_test, y_test = test.hand_out(run)
        started = time.perf_counter()
        found, probabilities = apply_head(head, choice, X_test)
        found = mean_of_copies(found, len(y_test))
        if probabilities is not None:
            probabilities = mean_of_copies(probabilities, len(y_test))
        predict_seconds = time.perf_counter() - started
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise HeadError(
            f"{spec.text} cannot be used on {features.tap or 'these features'}: {reason}"
        ) from error
    n_classes = len(features.classes)
    scores = all_columns(found, head.classes_, n_classes, -np.inf)
    if probabilities is not None:
        probabilities = all_columns(probabilities, head.classes_, n_classes, 0.0)
    record = head_record(
        features,
        spec,
        draw,
        about,
        params=choice.spec.params,
        rows=test.rows,
        y_test=y_test,
        scores=scores,
        probabilities=probabilities,
        selection=choice.record,
        seconds={"select": choice.seconds, "fit": fit_seconds, "predict": predict_seconds},
        cost={
            **feature_cost(X, y, draw.copies),
            **head_cost(head),
            "warnings": warning_texts(caught),
        },
    )
    return record, probabilities


def head_record(
    features: FeatureSet,
    spec: HeadSpec,
    draw: Draw,
    about: Mapping[str, Any],
    *,
    params: Mapping[str, Any],
    rows: np.ndarray,
    y_test: np.ndarray,
    scores: np.ndarray,
    probabilities: np.ndarray | None,
    selection: Mapping[str, Any],
    seconds: Mapping[str, float],
    cost: Mapping[str, Any],
) -> RunRecord:
    """Score a head's outcome on the test rows, and write it all down.

    Parameters
    ----------
    features : FeatureSet
        For names alone.
    spec, params
        The head as asked for, and the parameters chosen.
    draw : Draw
    about : mapping
        `about_split`.
    rows, y_test : ndarray of shape (n_test,), int
        Row numbers of the test side, and their labels.
    scores : ndarray of shape (n_test, n_classes)
        The highest is the prediction; -inf for a class that was not fitted.
    probabilities : ndarray of shape (n_test, n_classes) or None
    selection, cost : mapping
        Of the record.
    seconds : mapping
        "select", "fit" and "predict".
    """
    y_pred = scores.argmax(axis=1)
    metrics = score(
        y_test,
        y_pred,
        n_classes=len(features.classes),
        scores=scores,
        probabilities=probabilities,
        seed=draw.seed,
    )
    return RunRecord(
        kind="head",
        dataset=features.dataset,
        key=features.key,
        backbone=str(features.provenance.get("backbone", "")),
        tap=features.tap,
        head=spec,
        params={**HEADS.get(spec.name).defaults, **params},
        shots=draw.shots,
        draw=draw.number,
        split={
            **about,
            "n_train": len(draw.train) // draw.copies,
            "n_val": len(draw.val) // draw.copies,
        },
        metrics=to_json(metrics),
        selection=to_json(selection),
        seconds={
            "extract": float(features.provenance.get("extract_seconds") or 0.0),
            **seconds,
        },
        cost=to_json(cost),
        environment=environment(),
        classes=features.classes,
        arrays={
            "test_rows": rows.astype(np.int64),
            "y_true": y_test.astype(np.int32),
            "y_pred": y_pred.astype(np.int32),
            **keep_scores(scores),
            **keep_confidence(probabilities),
        },
        parts=tuple(features.provenance.get("parts", ())),
    )


def about_split(features: FeatureSet, split: Split) -> dict[str, Any]:
    """Return what a record says of the split: seed, test rows, and images on both sides.

    "drawn_by" is there where another label column guided the split and the draws. What the
    features' provenance has under "split" is taken over.

    "test_digest" is the SHA-256 over each test row's image digest (its path where there is none)
    and class name, in order: equal for runs on the same images with the same labels, only.
    """
    names = features.digests or features.paths
    text = "\n".join(f"{names[i]}\t{features.classes[features.y[i]]}" for i in split.test)
    leaks = find_leaks(split, features.digests) if features.digests else ()
    strata = features.strata
    drawn_by = {}
    if strata is not None and strata.target != features.target:
        drawn_by = {"column": strata.target, "classes": len(strata.classes)}
    return {
        "seed": split.seed,
        "target": features.target,
        **({"drawn_by": drawn_by} if drawn_by else {}),
        **features.provenance.get("split", {}),
        "n_test": len(split.test),
        "test_digest": hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest(),
        "train_test_duplicates": len(leaks),
    }


def fit_head(spec: HeadSpec, draw: Draw, X: Any, y: np.ndarray, stepped: SteppedRows) -> Any:
    """Fit on all rows; a head that stops early fits on the training rows and stops on the rest."""
    head = make_head(replace(spec, steps=()), seed=draw.seed)
    n = len(draw.train) if HEADS.get(spec.name).stops_early else len(y)
    steps: list[Any] = []
    if spec.steps:
        steps, X = stepped.fit(np.arange(n))
    if n < len(y):
        head = head.fit(X[:n], y[:n], validation_data=(X[n:], y[n:]))
    elif hasattr(head, "fit_path") and head.standardize:
        values = [getattr(head, head.path_param)]
        head = head.fit_path(X, y, values, space=stepped.spaces.of_all())[0]
    else:
        head = head.fit(X, y)
    return make_pipeline(spec.steps, steps, head) if steps else head


def apply_head(head: Any, choice: Choice, X: Any) -> tuple[np.ndarray, np.ndarray | None]:
    """Return scores, and probabilities: the head's own, or the softmax of its scores, or None."""
    scores = np.concatenate([head_scores(head, block) for block in row_blocks(X)])
    if HEADS.get(choice.spec.name).calibrated:
        own = [np.asarray(head.predict_proba(block), np.float64) for block in row_blocks(X)]
        return scores, np.concatenate(own)
    return scores, None if choice.temperature is None else softmax(scores, choice.temperature)


def all_columns(
    values: np.ndarray, classes: np.ndarray, n_classes: int, missing: float
) -> np.ndarray:
    """Spread a column a fitted class over all classes."""
    if len(classes) == n_classes:
        return values
    full = np.full((len(values), n_classes), missing)
    full[:, classes] = values
    return full


def keep_scores(scores: np.ndarray) -> dict[str, np.ndarray]:
    """Return the arrays of a record that hold scores: all, or the ten best of many classes."""
    if scores.shape[1] <= MAX_FULL_SCORES:
        return {"scores": scores.astype(np.float32)}
    best = np.argsort(-scores, axis=1, kind="stable")[:, :10]
    kept = np.take_along_axis(scores, best, axis=1).astype(np.float32)
    return {"scores": kept, "score_classes": best.astype(np.int32)}


def mean_of_copies(values: np.ndarray, rows: int) -> np.ndarray:
    """Average what an image and its views were given, which stand below each other in blocks."""
    return values.reshape(-1, rows, values.shape[1]).mean(axis=0)


def feature_cost(X: Any, y: np.ndarray, copies: int) -> dict[str, Any]:
    """Width, rows a class, and the spread that tells a collapsed embedding.

    "spread" is the standard deviation of the rows around their mean over the rows' length (root
    mean squares): near 0 where all images give nearly the same features.
    """
    total, squares = np.zeros(X.shape[1]), 0.0
    for block in row_blocks(X):
        total += block.sum(axis=0, dtype=np.float64)
        squares += float(np.einsum("ij,ij->", block, block, dtype=np.float64))
    length, mean = squares / len(y), total / len(y)
    around = max(length - float(mean @ mean), 0.0)
    counts = np.unique(y, return_counts=True)[1] // copies
    return {
        "feature_dim": X.shape[1],
        "spread": (around / length) ** 0.5 if length else 0.0,
        "rows_a_class": [int(counts.min()), int(counts.max())],
    }


def head_cost(head: Any) -> dict[str, Any]:
    """Parameters trained, epochs and convergence, as far as the head has them."""
    last = head[-1] if hasattr(head, "steps") else head
    cost: dict[str, Any] = {"parameters_trained": 0, "parameters_frozen": None}
    if last is not head:
        cost["head_dim"] = last.n_features_in_
    if hasattr(last, "n_parameters_"):
        cost["parameters_trained"] = last.n_parameters_
    elif hasattr(last, "coef_"):
        cost["parameters_trained"] = int(np.size(last.coef_) + np.size(last.intercept_))
    if hasattr(last, "history_"):
        seconds = last.history_["seconds"]
        cost |= {"history": last.history_, "epochs": len(seconds), "best_epoch": last.best_epoch_}
        cost["epoch_seconds"] = float(np.mean(seconds))
    if hasattr(last, "converged_"):
        cost["converged"] = bool(np.all(last.converged_))
    cost["peak_memory_bytes"] = peak_memory()
    return cost


def environment() -> dict[str, Any]:
    """Return versions, machine, command and time, for a record."""
    import sklearn

    return {
        "featx": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scikit-learn": sklearn.__version__,
        "machine": platform.machine(),
        "system": platform.system(),
        "processors": len(os.sched_getaffinity(0)),
        "command": sys.argv,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
