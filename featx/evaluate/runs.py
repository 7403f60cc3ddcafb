"""All runs of some heads on one feature set, in pieces that any process can make in any order.

A piece is what shares its work: the rows of one draw, and on them the heads that use the same
principal axes or the same fitted steps. Splits, draws, folds and seeds are computed from the
features' labels and the seed alone, so that every process comes to the same pieces.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.errors import SpecError, SplitError
from featx.evaluate.draws import (
    Draw,
    Job,
    choice_folds,
    distinct_heads,
    list_jobs,
    split_rows,
    with_copies,
)
from featx.evaluate.run import about_split, run_head
from featx.evaluate.sealed import TrainingRows, seal
from featx.heads import HEADS
from featx.records import FeatureSet, HeadSpec, RunRecord
from featx.selection import Fold, SteppedRows


@dataclass(frozen=True)
class Piece:
    """Some heads on one draw.

    Attributes
    ----------
    job : int
        Number of the draw.
    heads : tuple of int
        Numbers of the heads among those of the draw.
    """

    job: int
    heads: tuple[int, ...]


@dataclass(frozen=True)
class Run:
    """A run that was made.

    Attributes
    ----------
    place : int
        Its number among all runs, which are by draw and then by head.
    record : RunRecord
    probabilities : ndarray of shape (n_test, n_classes), float64, or None
        Of the test rows, where runs are to be averaged.
    """

    place: int
    record: RunRecord
    probabilities: np.ndarray | None = None


class HeadRuns:
    """The runs of heads that learn one label column.

    Parameters
    ----------
    features : FeatureSet
    heads, shots, draws, seed, test_fraction, folds
        As `featx.evaluate.evaluate`.
    scored : bool
        Score every head on held-out training rows, and give its probabilities of the test rows.

    Attributes
    ----------
    target : str
        The label column.
    total : int
        Runs in all.
    test_rows : ndarray of int
        Row numbers of the test side.
    test_digests : tuple of str
        The one that their records have.

    Raises
    ------
    SpecError, SplitError
        As `evaluate`.
    """

    def __init__(
        self,
        features: FeatureSet,
        heads: Sequence[HeadSpec | str],
        *,
        shots: Sequence[int | None] = (None,),
        draws: int = 1,
        seed: int = 0,
        test_fraction: float = 0.3,
        folds: int = 5,
        scored: bool = False,
    ) -> None:
        specs = distinct_heads(heads)
        for spec in specs:
            if spec.params.get("joint"):
                raise SpecError(
                    f"{spec.text} learns several label columns at once: name two or more, such as "
                    "--target class,recyclable."
                )
        split = split_rows(features, seed=seed, test_fraction=test_fraction)
        self._features, self._n_folds, self._scored = features, folds, scored
        self._training, self._test = seal(features, split)
        self._about = about_split(features, split)
        self._jobs = list_jobs(specs, features, self._training, shots=shots, draws=draws, seed=seed)
        self._starts = first_places(self._jobs)
        self._held: tuple[int, Any] | None = None
        for job in self._jobs if scored else ():
            if not choice_folds(job.draw, self._training, folds):
                amount = f"{job.draw.shots} shots" if job.draw.shots else "all training images"
                raise SplitError(
                    f"The heads to average are chosen on held-out training images, but {amount} "
                    "leave a class without any. Take more shots, or no average."
                )
        self.target = features.target
        self.total = sum(len(job.specs) for job in self._jobs)
        self.test_rows = self._test.rows
        self.test_digests: tuple[str, ...] = (self._about["test_digest"],)

    def draws(self) -> list[Piece]:
        """Return a piece a draw, with all its heads."""
        return whole_draws(self._jobs)

    def pieces(self) -> list[Piece]:
        """Return the smallest pieces that share no work but reading their rows."""
        found = []
        for number, job in enumerate(self._jobs):
            shared: dict[str, list[int]] = {}
            for i, spec in enumerate(job.specs):
                # The heads that stream are the linear ones, which share principal axes.
                alone = not spec.steps and not HEADS.get(spec.name).streams
                name = spec.text if alone else "+".join(step.text for step in spec.steps)
                shared.setdefault(name, []).append(i)
            found += [Piece(number, tuple(heads)) for heads in shared.values()]
        return found

    def run(self, piece: Piece) -> Iterator[Run]:
        """Make the runs of a piece; its rows are read once, and held until those of another draw.

        Raises
        ------
        HeadError
            A head that cannot be fitted.
        """
        job = self._jobs[piece.job]
        draw, folds, X, y = self._rows(piece.job)
        plain = stepped = SteppedRows((), X, folds)
        for i in piece.heads:
            spec = job.specs[i]
            if spec.steps != stepped.specs:  # of the rows after steps one set is held at a time
                stepped = SteppedRows(spec.steps, X, folds) if spec.steps else plain
            record, found = run_head(
                spec,
                draw,
                X,
                y,
                stepped,
                self._features,
                self._test,
                self._about,
                scored=self._scored,
            )
            yield Run(self._starts[piece.job] + i, record, found if self._scored else None)

    def _rows(self, number: int) -> tuple[Draw, Sequence[Fold], Any, np.ndarray]:
        """Return a draw with its views, its folds, features and labels."""
        if self._held is None or self._held[0] != number:
            self._held = None  # freed before others are read
            draw = self._jobs[number].draw
            folds = choice_folds(draw, self._training, self._n_folds)
            self._held = (number, rows_of(draw, folds, self._training))
        return self._held[1]


def rows_of(
    draw: Draw, folds: Sequence[Fold], training: TrainingRows
) -> tuple[Draw, Sequence[Fold], Any, np.ndarray]:
    """Read the rows of a draw, with their views; return draw, folds, features and labels."""
    if training.copies > 1:
        return with_copies(draw, folds, training)
    rows = np.concatenate([draw.train, draw.val])
    return draw, folds, training.take(rows), training.y[rows]


def whole_draws(jobs: Sequence[Job]) -> list[Piece]:
    """Return a piece a draw, with all its heads."""
    return [Piece(number, tuple(range(len(job.specs)))) for number, job in enumerate(jobs)]


def first_places(jobs: Sequence[Job]) -> list[int]:
    """Return the place of each draw's first run."""
    return np.cumsum([0] + [len(job.specs) for job in jobs])[:-1].tolist()
