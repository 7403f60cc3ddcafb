"""Draws of one head put together, and paired tests between what results."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from featx.metrics import bootstrap_mean, holm, paired_bootstrap, sign_flip_test
from featx.records import RunRecord

LEVEL = 0.05
"""A difference is called shown where its corrected p-value is below this."""

NETWORKS = ("baseline", "finetune")
"""Kinds of runs that train a network on images."""

Group = Mapping[str, Any]


def group_runs(records: Sequence[RunRecord]) -> tuple[dict[str, Any], ...]:
    """Put the draws of each head, tap and number of shots together, or those of each network.

    Parameters
    ----------
    records : sequence of RunRecord
        On the same test rows.

    Returns
    -------
    tuple of dict
        In the order of first appearance, each with "name", "kind", "backbone" (with image size or
        precision where the same backbone is there with several), "tap", "head", "shots", "draws"
        (how many), "members" (indices into `records`), "feature_dim", "n_classes", "accuracy" and
        "macro_f1" (means over draws), "accuracy_spread" (standard deviation over draws, None for
        one draw), "accuracy_ci" (95% over test rows, of the mean over draws), mean seconds
        "extract_seconds", "select_seconds", "fit_seconds", "predict_seconds", and of networks
        "epochs" and "epoch_seconds" (means over draws), "parameters_trained", and "unfinished"
        (whether the last epoch allowed was the best in some draw).
    """
    found: dict[tuple[Any, ...], list[int]] = {}
    for i, record in enumerate(records):
        found.setdefault(identify_group(record), []).append(i)
    variants = _variants(records)
    groups = [
        _group([records[i] for i in members], members, variants[members[0]])
        for members in found.values()
    ]
    names = [g["name"] for g in groups]
    for group in groups:
        key = records[group["members"][0]].key
        if names.count(group["name"]) > 1 and key:
            group["name"] += f" ({key.weights[:12]} weights, key {key.digest()[:12]})"
    return tuple(groups)


def identify_group(record: RunRecord) -> tuple[Any, ...]:
    """Return what the draws of one group have in common, and no run of another group has."""
    key = record.key.digest() if record.key else str([p["key"] for p in record.parts])
    if record.kind in NETWORKS:
        key = str(sorted(_settings(record).items()))
    return record.kind, record.backbone, key, record.tap, record.head.text, record.shots


def _variants(records: Sequence[RunRecord]) -> list[str]:
    """Name what sets each record apart from others of the same backbone and kind, if anything."""
    told = [_settings(record) for record in records]
    texts = []
    for record, mine in zip(records, told, strict=True):
        alike = [
            t
            for r, t in zip(records, told, strict=True)
            if (r.backbone, r.kind) == (record.backbone, record.kind)
        ]
        differ = [name for name in mine if len({t.get(name) for t in alike}) > 1]
        texts.append(" ".join(mine[name] for name in differ))
    return texts


def _settings(record: RunRecord) -> dict[str, str]:
    """Return in words what features were made with, or a network was trained with."""
    if (key := record.key) is not None:
        size = f"{key.image.height}x{key.image.width}"
        return {"image": size, "precision": key.precision, "stored": key.stored}
    if record.kind not in NETWORKS:
        return {}
    words: dict[str, Callable[[Any], str]] = {
        "image_size": lambda v: "x".join(map(str, v)),
        "optimizer": str,
        "augment": lambda v: f"augment {v}",
        "batch_size": lambda v: f"batch {v}",
        "epochs": lambda v: f"{v} epochs",
        "patience": lambda v: f"patience {v}",
        "precision": str,
    }
    return {k: word(record.params[k]) for k, word in words.items() if k in record.params}


def _group(runs: Sequence[RunRecord], members: Sequence[int], variant: str) -> dict[str, Any]:
    first = runs[0]
    accuracies = [r.metrics["accuracy"] for r in runs]
    shots = "all images" if first.shots is None else f"{first.shots} images a class"
    backbone = f"{first.backbone} {variant}".strip()
    words = [backbone, first.tap, first.head.text or first.kind]
    interval = tuple(first.metrics["accuracy_ci"])
    if len(runs) > 1 and all("y_pred" in r.arrays for r in runs):
        interval = bootstrap_mean(_times_right(runs) / len(runs))
    seconds = ("extract", "select", "fit", "predict")
    return {
        "name": f"{' '.join(w for w in words if w)}, {shots}",
        "kind": first.kind,
        "backbone": backbone,
        "tap": first.tap,
        "head": first.head.text,
        "shots": first.shots,
        "draws": len(runs),
        "members": tuple(members),
        "feature_dim": first.cost.get("feature_dim"),
        "n_classes": len(first.classes),
        "accuracy": float(np.mean(accuracies)),
        "accuracy_ci": interval,
        "accuracy_spread": float(np.std(accuracies, ddof=1)) if len(runs) > 1 else None,
        "macro_f1": float(np.mean([r.metrics["macro_f1"] for r in runs])),
        **{
            f"{step}_seconds": float(np.mean([r.seconds.get(step) or 0.0 for r in runs]))
            for step in seconds
        },
        **(_training(runs) if first.kind in NETWORKS else {}),
    }


def _training(runs: Sequence[RunRecord]) -> dict[str, Any]:
    """Return epochs and seconds an epoch of networks, and the parameters that were trained."""
    return {
        "epochs": float(np.mean([r.cost.get("epochs") or 0 for r in runs])),
        "epoch_seconds": float(np.mean([r.cost.get("epoch_seconds") or 0.0 for r in runs])),
        "parameters_trained": runs[0].cost.get("parameters_trained"),
        "unfinished": any(r.cost.get("best_epoch") == r.params.get("epochs") for r in runs),
    }


def best_group(groups: Sequence[Group]) -> Group:
    """Return the most accurate group among those with the most training rows a class.

    The one that took less time to choose, fit and predict wins a tie.
    """
    most = max(_shots(g) for g in groups)
    return min((g for g in groups if _shots(g) == most), key=_rank)


def test_against_best(
    records: Sequence[RunRecord], groups: Sequence[Group]
) -> tuple[dict[str, Any], ...]:
    """Test every group against the best at its number of shots, on the same test rows.

    The p-value is of the exact paired permutation test over test rows (McNemar's where each has one
    draw), corrected by Holm for all tests of the comparison. It says nothing of other draws.

    Parameters
    ----------
    records : sequence of RunRecord
    groups : sequence of dict
        `group_runs(records)`.

    Returns
    -------
    tuple of dict
        "shots", "best", "other" (indices into `groups`), "difference" (best minus other),
        "difference_ci" (paired bootstrap, 95%), "only_best", "only_other" (rows right in one
        alone; None where there are several draws), "p", "p_holm", "shown". Groups whose records
        lack predictions are left out.
    """
    tests: list[dict[str, Any]] = []
    for shots in dict.fromkeys(g["shots"] for g in groups):
        level = [g for g in groups if g["shots"] == shots]
        best = min(level, key=_rank)
        for other in level:
            if other is not best:
                test = _test(records, best, other)
                if test:
                    places = {"best": groups.index(best), "other": groups.index(other)}
                    tests.append({"shots": shots, **places, **test})
    for test, corrected in zip(tests, holm([t["p"] for t in tests]), strict=True):
        test["p_holm"], test["shown"] = corrected, corrected < LEVEL
    return tuple(tests)


test_against_best.__test__ = False  # type: ignore[attr-defined]  # not a pytest function


def _test(records: Sequence[RunRecord], best: Group, other: Group) -> dict[str, Any] | None:
    mine, theirs = ([records[i] for i in g["members"]] for g in (best, other))
    if not all("y_pred" in r.arrays for r in (*mine, *theirs)):
        return None
    right_a, right_b = _times_right(mine), _times_right(theirs)
    # Over a common denominator, so that the test can count in whole numbers.
    common = math.lcm(len(mine), len(theirs))
    gaps = right_a * (common // len(mine)) - right_b * (common // len(theirs))
    single = common == 1
    difference, low, high = paired_bootstrap(gaps / common)
    return {
        "difference": difference,
        "difference_ci": (low, high),
        "only_best": int((gaps > 0).sum()) if single else None,
        "only_other": int((gaps < 0).sum()) if single else None,
        "p": sign_flip_test(gaps),
    }


def _times_right(runs: Sequence[RunRecord]) -> np.ndarray:
    """How many of the runs have each test row right; int64."""
    right = np.stack([r.arrays["y_pred"] == r.arrays["y_true"] for r in runs])
    return right.sum(axis=0, dtype=np.int64)


def _shots(group: Group) -> float:
    return math.inf if group["shots"] is None else group["shots"]


def _rank(group: Group) -> tuple[float, float]:
    spent = group["select_seconds"] + group["fit_seconds"] + group["predict_seconds"]
    return -round(group["accuracy"], 12), spent
