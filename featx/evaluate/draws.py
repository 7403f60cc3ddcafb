"""Which rows each run is fitted and tested on: the split, and the draws inside its training side.

Both are stratified by the labels to learn, or by `FeatureSet.strata` where there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from featx.errors import SpecError, SplitError
from featx.evaluate.sealed import TrainingRows
from featx.heads import HEADS, parse_head
from featx.records import FeatureSet, HeadSpec, Split, StrataRecord
from featx.selection import Fold, inner_folds
from featx.split import draw_shots, make_split


@dataclass(frozen=True)
class Draw:
    """The rows of one draw, as positions in the `TrainingRows`.

    Attributes
    ----------
    shots : int or None
        Rows a class; None is all.
    number : int
    train, val : ndarray of int
        Rows to fit on, and rows to choose on (empty: folds of `train` are used).
    seed : int
        Of the heads and folds.
    copies : int
        How often each image is among the rows: once, and once a view.
    """

    shots: int | None
    number: int
    train: np.ndarray
    val: np.ndarray
    seed: int
    copies: int = 1


@dataclass(frozen=True)
class Job:
    """One draw, and the heads to fit on it."""

    specs: tuple[HeadSpec, ...]
    draw: Draw


def split_rows(features: FeatureSet, *, seed: int, test_fraction: float) -> Split:
    """Split the rows of a feature set.

    Parameters
    ----------
    features : FeatureSet
        Its features are not touched.
    seed, test_fraction
        As `featx.split.make_split`.

    Returns
    -------
    Split

    Raises
    ------
    SplitError
        As `make_split`, or a class of the labels to learn has test rows only.
    """
    # A split that the data set brings needs no strata.
    own = features.strata is None or (np.asarray(features.splits) == "test").any()
    strata = features if own else features.strata or features
    split = make_split(
        strata.y,
        splits=features.splits,
        digests=features.digests,
        groups=features.groups,
        seed=seed,
        test_fraction=test_fraction,
        classes=strata.classes,
    )
    if features.strata is not None and not own:
        _check_both_sides(features, features.strata, split)
    return split


def list_jobs(
    specs: Sequence[HeadSpec],
    features: FeatureSet,
    training: TrainingRows,
    *,
    shots: Sequence[int | None],
    draws: int,
    seed: int,
) -> list[Job]:
    """Draw training rows, and say which heads are fitted on each draw.

    With all rows there is one draw, but for heads that differ by seed, which get one fit a draw.

    Raises
    ------
    SplitError
        As `featx.split.draw_shots`.
    """
    seeded = tuple(s for s in specs if HEADS.get(s.name).seeded)
    jobs = []
    for draw in list_draws(features, training, shots=shots, draws=draws, seed=seed):
        again = draw.shots is None and draw.number > 0  # the same rows with another seed
        mine = seeded if again else tuple(specs)
        if mine:
            jobs.append(Job(mine, draw))
    return jobs


def list_draws(
    features: FeatureSet,
    training: TrainingRows,
    *,
    shots: Sequence[int | None],
    draws: int,
    seed: int,
) -> list[Draw]:
    """Draw training rows; with all of them, draws differ by their seed only.

    Raises
    ------
    SplitError
        As `featx.split.draw_shots`.
    """
    strata = features.strata or features
    none, train, found = np.array([], np.int64), training.train, []
    for count in dict.fromkeys(shots):
        if count is None:
            found += [Draw(None, i, train, training.val, seed + i) for i in range(draws)]
            continue
        drawn = draw_shots(
            training.strata[train],
            train,
            count,
            draws=draws,
            seed=seed,
            digests=training.pick(training.digests, train),
            classes=strata.classes,
            totals=np.bincount(strata.y[strata.y >= 0]),
        )
        found += [Draw(count, i, rows, none, seed + i) for i, rows in enumerate(drawn)]
    return found


def choice_folds(draw: Draw, training: TrainingRows, folds: int) -> list[Fold]:
    """Return what to choose on in a draw, by positions in its training rows, then its others."""
    rows = np.concatenate([draw.train, draw.val])
    if len(draw.val):
        return [(np.arange(len(draw.train)), np.arange(len(draw.train), len(rows)))]
    return inner_folds(
        training.y[rows],
        folds=folds,
        seed=draw.seed,
        digests=training.pick(training.digests, rows),
        groups=training.pick(training.groups, rows),
    )


def with_copies(
    draw: Draw, folds: Sequence[Fold], training: TrainingRows
) -> tuple[Draw, list[Fold], np.ndarray, np.ndarray]:
    """Return draw, folds, features and labels with each row's views as rows of their own.

    Training rows still come before validation rows, and an image's copies stay on one side.
    """
    n, n_train, n_val = training.copies, len(draw.train), len(draw.val)
    X = np.concatenate([training.take_copies(part) for part in (draw.train, draw.val)])
    repeated = replace(draw, train=np.tile(draw.train, n), val=np.tile(draw.val, n), copies=n)
    y = training.y[np.concatenate([repeated.train, repeated.val])]
    place = np.concatenate(  # of each row, where its copies are
        [
            np.arange(n * n_train).reshape(n, n_train).T,
            n * n_train + np.arange(n * n_val).reshape(n, n_val).T,
        ]
    )
    wide = [(place[train].ravel(order="F"), place[held].ravel(order="F")) for train, held in folds]
    return repeated, wide, X, y


def distinct_heads(heads: Sequence[HeadSpec | str]) -> list[HeadSpec]:
    """Return the heads asked for, each once.

    Raises
    ------
    SpecError
        None, or one that cannot be read.
    """
    asked = [parse_head(h) if isinstance(h, str) else h for h in heads]
    specs = list({spec.text: spec for spec in asked}.values())
    if not specs:
        raise SpecError("No head to evaluate: name at least one, such as linear_svc.")
    return specs


def _check_both_sides(features: FeatureSet, strata: StrataRecord, split: Split) -> None:
    """Raise where the labels to learn, which did not guide the split, have a class in test only."""
    for c in np.setdiff1d(features.y[split.test], features.y[split.train]).tolist():
        raise SplitError(
            f"Class {features.classes[c]!r} of {features.target!r} has test images but none to "
            f"train on in the split by {strata.target!r}: name {features.target!r} first among the "
            "targets, or add images."
        )
