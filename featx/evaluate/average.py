"""The best heads together: their calibrated probabilities averaged.

Which heads are the best is decided by their scores on held-out training rows. `TestOutcomes` keeps
what the heads said of the test rows behind the same wall as `TestRows` keeps these rows: the choice
sees `Candidate`s, and the probabilities of the chosen are handed out once, after it is frozen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from featx.errors import ProtocolError, SpecError
from featx.evaluate.run import keep_scores
from featx.evaluate.tested import keep_confidence
from featx.metrics import score
from featx.records import HeadSpec, RunRecord, to_json

Draw = tuple[int | None, int]
"""Shots and number of a draw."""


@dataclass(frozen=True)
class Candidate:
    """A run as the choice of members sees it: nothing in it comes from the test rows.

    Attributes
    ----------
    backbone, tap, head : str
        Texts of its record.
    params : mapping
        As chosen.
    score : float
        Accuracy on held-out training rows, of the parameters chosen.
    on : str
        What it was taken on: "validation" or "folds".
    select_seconds : float
    extract_seconds : mapping of str to float
        Of each cache entry that its features come from.
    """

    backbone: str
    tap: str
    head: str
    params: Mapping[str, Any]
    score: float
    on: str
    select_seconds: float
    extract_seconds: Mapping[str, float]

    @property
    def name(self) -> str:
        """ "vgg16 avg linear_svc"."""
        return " ".join(w for w in (self.backbone, self.tap, self.head) if w)


class TestOutcomes:
    """What heads said of the test rows, locked until members are frozen.

    Parameters
    ----------
    most : int
        Members of the largest average to be made. Of each draw only so many of the best-scored
        runs have their probabilities kept.
    """

    __test__ = False  # not a test class, whatever its name

    def __init__(self, most: int) -> None:
        self._most = most
        self.__candidates: dict[Draw, list[Candidate]] = {}
        self.__runs: dict[Draw, dict[int, tuple[RunRecord, np.ndarray]]] = {}
        self.__frozen: dict[str, tuple[Draw, tuple[int, ...]]] = {}
        self.__handed_out: set[str] = set()

    def add(self, record: RunRecord, probabilities: np.ndarray) -> None:
        """Take in a run.

        Parameters
        ----------
        record : RunRecord
            Its selection has a "score".
        probabilities : ndarray of shape (n_test, n_classes)

        Raises
        ------
        ProtocolError
            It is on other test rows than the runs before.
        """
        draw = (record.shots, record.draw)
        runs = self.__runs.setdefault(draw, {})
        candidates = self.__candidates.setdefault(draw, [])
        for other, _ in runs.values():
            if other.split["test_digest"] != record.split["test_digest"]:
                raise ProtocolError(
                    f"{_candidate(record).name} and {_candidate(other).name} were tested on "
                    "different images and cannot be averaged. Extract both from the same images."
                )
        runs[len(candidates)] = (record, probabilities.astype(np.float32))
        candidates.append(_candidate(record))
        kept = choose_members(candidates, self._most)
        self.__runs[draw] = {number: run for number, run in runs.items() if number in kept}

    def draws(self) -> list[Draw]:
        """Return the draws in which every head has run.

        With all training rows only heads that differ by seed are fitted more than once.
        """
        whole = {shots: len(c) for (shots, draw), c in self.__candidates.items() if draw == 0}
        return [d for d, c in self.__candidates.items() if len(c) == whole.get(d[0])]

    def candidates(self, draw: Draw) -> tuple[Candidate, ...]:
        """Return the runs of a draw to choose from, in the order in which they were added."""
        return tuple(self.__candidates[draw])

    def freeze(self, run: str, draw: Draw, members: Sequence[int]) -> None:
        """Declare the members of an average: indices into `candidates`.

        Raises
        ------
        ProtocolError
            It was frozen before.
        """
        if run in self.__frozen:
            raise ProtocolError(f"The members of {run!r} are frozen already.")
        self.__frozen[run] = (draw, tuple(members))

    def hand_out(self, run: str) -> list[tuple[RunRecord, np.ndarray]]:
        """Return the members' records and probabilities of the test rows.

        Raises
        ------
        ProtocolError
            The members are not frozen, or have been handed out, or are not among the best.
        """
        if run not in self.__frozen:
            raise ProtocolError(
                f"{run!r} asked for test outcomes before its members were frozen: freeze it first."
            )
        if run in self.__handed_out:
            raise ProtocolError(f"{run!r} asked for test outcomes a second time.")
        self.__handed_out.add(run)
        draw, members = self.__frozen[run]
        missing = [m for m in members if m not in self.__runs[draw]]
        if missing:
            raise ProtocolError(
                f"{run!r} has {self.__candidates[draw][missing[0]].name} among its members, which "
                f"is not among the {self._most} best by score: nothing is kept of it."
            )
        return [self.__runs[draw][m] for m in members]


def choose_members(candidates: Sequence[Candidate], n: int) -> list[int]:
    """Return the indices of the n best scores, best first; the earlier of equals wins."""
    order = sorted(range(len(candidates)), key=lambda i: (-round(candidates[i].score, 12), i))
    return order[:n]


def average_best(outcomes: TestOutcomes, n: int) -> list[RunRecord]:
    """Average the probabilities of the n best heads of each draw that every head has run in.

    Parameters
    ----------
    outcomes : TestOutcomes
    n : int
        At least 2.

    Returns
    -------
    list of RunRecord
        Of kind "head", named "average(n=3)", with backbone and tap where all candidates share
        them. `params` has the members' names, `selection` their
        scores and parameters and the scores of all candidates; seconds are those of extracting
        and choosing among all candidates, and of fitting and predicting with the members.

    Raises
    ------
    SpecError
        There are fewer heads than that.
    """
    records = []
    for draw in outcomes.draws():
        candidates = outcomes.candidates(draw)
        check_count(n, len(candidates))
        members = choose_members(candidates, n)
        run = f"average of {n}, {draw[0] or 'all'} shots, draw {draw[1]}"
        outcomes.freeze(run, draw, members)
        chosen = [candidates[m] for m in members]
        records.append(_average(outcomes.hand_out(run), chosen, candidates))
    return records


def check_count(n: int, available: int) -> None:
    """Raise where `n` heads cannot be averaged.

    Raises
    ------
    SpecError
    """
    if not 2 <= n <= available:
        fewer = f", or a number from 2 to {available}" if available > 1 else ""
        raise SpecError(
            f"Cannot average the best {n} heads: {available} {'are' if available > 1 else 'is'} "
            f"compared (heads times sets of features). Name more of them{fewer}."
        )


def _average(
    runs: Sequence[tuple[RunRecord, np.ndarray]],
    chosen: Sequence[Candidate],
    candidates: Sequence[Candidate],
) -> RunRecord:
    first = runs[0][0]
    started = time.perf_counter()
    mean = np.stack([p for _, p in runs]).mean(axis=0, dtype=np.float64)
    y_pred = mean.argmax(axis=1)
    seconds = time.perf_counter() - started
    y_true = first.arrays["y_true"]
    metrics = score(
        y_true,
        y_pred,
        n_classes=len(first.classes),
        scores=mean,
        probabilities=mean,
        seed=int(first.split["seed"]),
    )
    one_set = len({(c.backbone, c.tap) for c in candidates}) == 1
    entries = {k: s for c in candidates for k, s in c.extract_seconds.items()}
    widths = {(r.backbone, r.tap, r.key and r.key.digest()): r.cost["feature_dim"] for r, _ in runs}
    return replace(
        first,
        key=None,
        backbone=first.backbone if one_set else "",
        tap=first.tap if one_set else "",
        head=HeadSpec("average", {"n": len(runs)}),
        params={"n": len(runs), "members": tuple(c.name for c in chosen)},
        metrics=to_json(metrics),
        selection={
            "on": chosen[0].on,
            "metric": "accuracy",
            "members": [
                {
                    "backbone": c.backbone,
                    "tap": c.tap,
                    "head": c.head,
                    "params": to_json(c.params),
                    "score": c.score,
                }
                for c in chosen
            ],
            "candidates": [{"name": c.name, "score": c.score} for c in candidates],
        },
        seconds={
            "extract": sum(entries.values()),
            "select": sum(c.select_seconds for c in candidates),
            "fit": sum(r.seconds["fit"] for r, _ in runs),
            "predict": sum(r.seconds["predict"] for r, _ in runs) + seconds,
        },
        cost={
            "feature_dim": sum(widths.values()),
            "rows_a_class": first.cost["rows_a_class"],
            "parameters_trained": sum(r.cost["parameters_trained"] for r, _ in runs),
            "parameters_frozen": None,
            "warnings": [],
        },
        arrays={
            "test_rows": first.arrays["test_rows"],
            "y_true": y_true,
            "y_pred": y_pred.astype(np.int32),
            **keep_scores(mean),
            **keep_confidence(mean),
        },
        parts=(),
    )


def _candidate(record: RunRecord) -> Candidate:
    own = {
        "key": to_json(record.key),
        "backbone": record.backbone,
        "extract_seconds": record.seconds["extract"],
    }
    return Candidate(
        backbone=record.backbone,
        tap=record.tap,
        head=record.head.text,
        params=record.params,
        score=record.selection["score"],
        on=record.selection["score_on"],
        select_seconds=record.seconds["select"],
        extract_seconds={
            str(p["key"] or p["backbone"]): p["extract_seconds"] for p in record.parts or (own,)
        },
    )
