"""What a report is about: the runs, their comparison, the winner in detail, and its data."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from featx.compare import compare
from featx.errors import CacheError, RunError
from featx.metrics import confusion_matrix, softmax
from featx.records import Comparison, FeatureSet, Finding, RunRecord, TestSetRecord
from featx.report.choose import ChosenRuns
from featx.report.photos import Photos, list_roots
from featx.runs import load_run
from featx.store import ViewInfo, about_view, entry_name, load_features

Group = Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """All that the sections draw on.

    Attributes
    ----------
    records : tuple of RunRecord
        Comparable runs, without scores.
    comparison : Comparison
    winner : Group
        The best group at the most training images.
    winning_run : RunRecord
        Its first draw, with scores.
    files : tuple of str
        Names of the records' files.
    test_set : TestSetRecord or None
    view : ViewInfo or None
        A cache entry of the data set, the winner's where it has one.
    tap : str
        Tap of that entry to draw a map of.
    photos : Photos
    findings : tuple of Finding
        Of choosing the runs, then of comparing them.
    """

    records: tuple[RunRecord, ...]
    comparison: Comparison
    winner: Group
    winning_run: RunRecord
    files: tuple[str, ...]
    test_set: TestSetRecord | None
    view: ViewInfo | None
    tap: str
    photos: Photos
    findings: tuple[Finding, ...]

    @classmethod
    def gather(
        cls, chosen: ChosenRuns, *, photos: str | os.PathLike[str] | None, cache_dir: Path
    ) -> Subject:
        """Compare the runs, and find the winner's scores, the cache and the photos.

        `photos` is where photos are looked for first, if it is a folder.
        """
        comparison = compare(chosen.records)
        groups = comparison.groups
        winner = next(g for g in groups if g["name"] == comparison.baseline)
        first = min(winner["members"], key=lambda i: chosen.records[i].draw)
        tested = chosen.test_set
        view, tap = _find_view(chosen.records, groups, winner, cache_dir)
        return cls(
            records=chosen.records,
            comparison=comparison,
            winner=winner,
            winning_run=_with_scores(chosen.paths[first], chosen.records[first]),
            files=tuple(path.name for path in chosen.paths),
            test_set=tested,
            view=view,
            tap=tap,
            photos=Photos(
                tested.paths if tested else (),
                tested.digests if tested else (),
                list_roots(photos, tested.source, tested.root) if tested else (),
            ),
            findings=(*chosen.findings, *comparison.findings),
        )

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names."""
        return self.winning_run.classes

    @property
    def n_test(self) -> int:
        """Test images."""
        return int(self.winning_run.split["n_test"])

    @cached_property
    def confusion(self) -> np.ndarray | None:
        """Of the winning run, (classes, classes) int64; None where predictions were not kept."""
        arrays = self.winning_run.arrays
        if not {"y_true", "y_pred"} <= arrays.keys():
            kept = self.winning_run.metrics.get("confusion")
            return None if kept is None else np.asarray(kept, np.int64)
        return confusion_matrix(arrays["y_true"], arrays["y_pred"], len(self.classes))

    @cached_property
    def confidence(self) -> np.ndarray | None:
        """The largest probability of each test row in the winning run; None if not known."""
        return find_confidence(self.winning_run)

    @property
    def ranked(self) -> bool:
        """Whether the winner was surer of some test images than of others; 1 neighbour is not."""
        return self.confidence is not None and float(np.ptp(self.confidence)) > 1e-6

    @cached_property
    def features(self) -> FeatureSet | None:
        """Cached features of the map, left on the disk; None where there are none."""
        if self.view is None or not self.tap:
            return None
        target = self.winning_run.split.get("target")
        try:
            return load_features(self.view.path, self.tap, target=target, lazy=True)
        except (CacheError, ValueError):  # removed or damaged meanwhile, or another label column
            return None

    def level(self, shots: int | None) -> list[int]:
        """Return the groups at a number of shots, best first; indices."""
        found = [i for i, g in enumerate(self.comparison.groups) if g["shots"] == shots]
        return sorted(found, key=lambda i: -self.comparison.groups[i]["accuracy"])

    def first_run(self, group: Group) -> RunRecord:
        """Return the record of a group's first draw."""
        return min((self.records[i] for i in group["members"]), key=lambda r: r.draw)


def total_seconds(group: Group) -> float:
    """Return what a group took from photos to predictions: extract, choose, fit, predict."""
    return float(sum(group[f"{step}_seconds"] for step in ("extract", "select", "fit", "predict")))


def find_confidence(record: RunRecord) -> np.ndarray | None:
    """Return the largest probability of each test row, (n_test,); None where it is not known.

    Older records have scores alone: probabilities, or what becomes them at the temperature chosen.
    """
    arrays, n_classes = record.arrays, len(record.classes)
    if "confidence" in arrays:
        return np.asarray(arrays["confidence"], np.float64)
    scores = arrays.get("scores")
    if scores is None:
        return None
    temperature = record.selection.get("temperature")
    if temperature and scores.shape[1] == n_classes:
        return np.asarray(softmax(scores, temperature).max(axis=1))
    finite = scores[np.isfinite(scores)]
    if finite.min(initial=0) >= 0 and finite.max(initial=0) <= 1 + 1e-6:
        return np.asarray(scores.max(axis=1), np.float64)
    return None


def _with_scores(path: Path, record: RunRecord) -> RunRecord:
    try:
        return replace(record, arrays=load_run(path).arrays)
    except RunError:  # removed meanwhile
        return record


def _find_view(
    records: Sequence[RunRecord], groups: Sequence[Group], winner: Group, cache_dir: Path
) -> tuple[ViewInfo | None, str]:
    """Return the cache entry and tap of the winner, else of the best group that has one."""
    ranked = sorted(groups, key=lambda g: (g is not winner, -g["accuracy"]))
    for group in ranked:
        record = records[group["members"][0]]
        for key, tap in _keys(record):
            for folder in sorted(cache_dir.glob(f"*/{entry_name(key)}")):
                view = about_view(folder)
                if view and view.dataset == record.dataset and tap in view.taps:
                    return view, tap
    return None, ""


def _keys(record: RunRecord) -> list[tuple[Any, str]]:
    from featx.records import ExtractionKey

    if record.key is not None:
        return [(record.key, record.tap)]
    return [(ExtractionKey.from_json(p["key"]), p["tap"]) for p in record.parts if p.get("key")]
