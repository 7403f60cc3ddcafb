"""A head of a run record fitted again, and held against what the record says of the test rows.

Split, draws and seeds are in the record, so that the same rows give the same head.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featx.errors import RunError
from featx.evaluate.draws import list_jobs
from featx.evaluate.run import about_split, all_columns, apply_head, fit_head
from featx.evaluate.sealed import in_memory, seal
from featx.heads import HEADS
from featx.records import FeatureSet, RunRecord, Split
from featx.selection import Choice, SteppedRows

SEEDED_SHARE = 0.02
"""Test rows that a network fitted again may call otherwise: other processors round otherwise."""

TIED = 1e-5
"""Two classes count as tied where their scores differ by less than this share of the spread of all
scores of the row."""


@dataclass(frozen=True)
class RefitRecord:
    """A head fitted again.

    Attributes
    ----------
    head : estimator
        Fitted; a Pipeline where the run has steps.
    temperature : float or None
        What its scores are divided by before the softmax; None for a head with probabilities of its
        own, or where nothing could be held out to find one.
    probabilities : ndarray of shape (n_test, n_classes), float64
        Of the test rows, in the record's order.
    differing : int
        Test rows whose class is another than in the record, but for ties.
    """

    head: Any
    temperature: float | None
    probabilities: np.ndarray
    differing: int


def refit_head(features: FeatureSet, record: RunRecord) -> RefitRecord:
    """Fit the head of `record` again on the rows that it was fitted on.

    Parameters
    ----------
    features : FeatureSet
        What the run was made on: of its key, tap and target, with its strata.
    record : RunRecord
        Of kind "head", with its arrays.

    Returns
    -------
    RefitRecord

    Raises
    ------
    RunError
        The features are not those of the run any more: other images, other training rows, or
        other predictions of the test rows.
    """
    spec = replace(record.head, params=dict(record.params))
    split = _same_split(features, record)
    training, test = seal(features, split)
    (draw,) = [
        job.draw
        for job in list_jobs(
            [spec],
            features,
            training,
            shots=[record.shots],
            draws=record.draw + 1,
            seed=split.seed,
        )
        if job.draw.number == record.draw
    ]
    counts = {"n_train": len(draw.train), "n_val": len(draw.val)}
    for name, count in counts.items():
        if count != record.split[name]:
            raise _changed(f"{count} images to fit on, where the run had {record.split[name]}")
    rows = np.concatenate([draw.train, draw.val])
    X, y = training.take(rows), training.y[rows]
    stepped = SteppedRows(spec.steps, X, [])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the record has them
        values = stepped.X if HEADS.get(spec.name).streams else in_memory(stepped.X)
        head = fit_head(spec, draw, values, y, stepped)
    run = f"{spec.text}, fitted again"
    test.freeze(run, spec.params)
    X_test, _ = test.hand_out(run)
    temperature = record.selection.get("temperature")
    found, probabilities = apply_head(head, Choice(spec, {}, temperature or 1.0), X_test)
    n = len(features.classes)
    scores = all_columns(found, head.classes_, n, -np.inf)
    assert probabilities is not None
    probabilities = all_columns(probabilities, head.classes_, n, 0.0)
    differing = _count_differing(scores, record.arrays["y_pred"])
    if differing > (SEEDED_SHARE * len(scores) if HEADS.get(spec.name).seeded else 0):
        raise _changed(f"{differing} of {len(scores)} test images are given another class")
    return RefitRecord(head, temperature, probabilities, differing)


def _same_split(features: FeatureSet, record: RunRecord) -> Split:
    """Return the split of the run, by the test rows in its record."""
    rows = record.arrays["test_rows"]
    n = len(features.y)
    if features.classes != record.classes or (len(rows) and rows.max() >= n):
        raise _changed(
            f"{n} images of {len(features.classes)} classes, where the run had "
            f"{len(record.classes)} classes"
        )
    val = np.setdiff1d(np.flatnonzero(np.asarray(features.splits, str) == "val"), rows)
    train = np.setdiff1d(np.arange(n), np.concatenate([val, rows]))
    split = Split(train, val, rows, int(record.split["seed"]))
    about: Mapping[str, Any] = about_split(features, split)
    if about["test_digest"] != record.split["test_digest"]:
        raise _changed("other test images, or other labels of them")
    return split


def _count_differing(scores: np.ndarray, y_pred: np.ndarray) -> int:
    """Count the rows whose best class is not the record's, nor tied with it."""
    finite = np.where(np.isfinite(scores), scores, np.nan)
    spread = np.nanmax(finite, axis=1) - np.nanmin(finite, axis=1)
    theirs = np.take_along_axis(scores, y_pred[:, None].astype(np.int64), axis=1)[:, 0]
    return int((scores.max(axis=1) - theirs > TIED * spread).sum())


def _changed(what: str) -> RunError:
    return RunError(
        f"The cached features are not those that the run was made on: {what}. Run featx classify "
        "again, and take the run that it makes."
    )
