"""Fewer images and more label columns: what a study took of a data set."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from featx.recipe.model import PARTS, DataSpec
from featx.records import DatasetIndex, Sample, Samples

COLUMN_VALUES = ("no", "yes")
"""What an added label column says."""


def add_columns(spec: DataSpec, index: DatasetIndex) -> tuple[DatasetIndex, dict[str, str]]:
    """Add the label columns of `spec` to the images of `index`.

    Returns
    -------
    index : DatasetIndex
        With the columns that can be made.
    lacks : dict of str to str
        Those that cannot, with the reason.
    """
    lacks: dict[str, str] = {}
    for column, named in spec.columns.items():
        if column in index.targets:
            continue  # the data set says it itself
        held = set(index.classes[0])
        if not held & set(named) or not held - set(named):
            kind = "none" if not held & set(named) else "all"
            lacks[column] = (
                f"{kind} of the classes of this data set are listed for the label {column!r}: add "
                "them to the recipe, or give a manifest with that column"
            )
            continue
        index = replace(
            index,
            targets=(*index.targets, column),
            classes=(*index.classes, COLUMN_VALUES),
            samples=Samples.of(
                replace(s, labels=(*s.labels, COLUMN_VALUES[s.labels[0] in named]))
                for s in index.samples
            ),
        )
    return index, lacks


def choose_images(
    index: DatasetIndex, subset: Mapping[str, int], limit: int | None, seed: int
) -> list[Sample]:
    """Return the samples to keep, with their splits, in the order of their paths."""
    if not subset and limit is None:
        return list(index.samples)
    own_test = any(s.split == "test" for s in index.samples)
    kept: list[Sample] = []
    by_class: dict[str, list[Sample]] = {}
    for sample in index.samples:
        by_class.setdefault(sample.labels[0], []).append(sample)
    for number, name in enumerate(index.classes[0]):
        mine = _shuffled(by_class.get(name, []), seed, number)
        if subset:
            kept += _take_parts(mine, subset, own_test, limit)
        elif limit is not None:
            kept += _take_share(mine, limit)
    return sorted(kept, key=lambda s: s.relpath)


def _shuffled(samples: Sequence[Sample], seed: int, number: int) -> list[Sample]:
    """Put samples in a drawn order that is that of their contents, each image once."""
    distinct = list(
        {s.digest: s for s in sorted(samples, key=lambda s: (s.digest, s.relpath))}.values()
    )
    order = np.random.default_rng([seed, number]).permutation(len(distinct))
    return [distinct[i] for i in order]


def _take_parts(
    samples: Sequence[Sample], subset: Mapping[str, int], own_test: bool, limit: int | None
) -> list[Sample]:
    """Take so many images a part; where there are too few, every part gives up its share."""
    asked = {part: subset[part] for part in PARTS if subset.get(part)}
    pools = {
        "test": [s for s in samples if s.split == "test"] if own_test else list(samples),
        "val": [s for s in samples if s.split == "val"],
        "train": [s for s in samples if s.split in ("train", "")],
    }
    shared = not own_test  # then all parts come out of one pool
    have = len(samples)
    if not shared:
        if len(pools["val"]) < asked.get("val", 0):
            pools["train"], pools["val"] = [*pools["val"], *pools["train"]], []
        have = _most(asked, pools)
    counts = _scaled(asked, min(have, sum(asked.values()), limit or have))
    taken: list[Sample] = []
    if shared:
        rest = list(samples)
        for part in ("test", "val", "train"):
            taken += [replace(s, split=part) for s in rest[: counts.get(part, 0)]]
            rest = rest[counts.get(part, 0) :]
        return taken
    if "val" in counts and not pools["val"]:
        pools["val"], pools["train"] = (
            pools["train"][: counts["val"]],
            pools["train"][counts["val"] :],
        )
    for part, count in counts.items():
        taken += [replace(s, split=part) for s in pools[part][:count]]
    return taken


def _most(asked: Mapping[str, int], pools: Mapping[str, Sequence[Sample]]) -> int:
    """Return the largest total that the pools allow at the proportions asked for."""
    total = sum(asked.values())
    share = min(1.0, len(pools["test"]) / asked["test"])
    learn = sum(count for part, count in asked.items() if part != "test")
    share = min(share, (len(pools["train"]) + len(pools["val"])) / learn)
    return int(share * total)


def _scaled(asked: Mapping[str, int], total: int) -> dict[str, int]:
    """Divide `total` in the proportions of `asked`, at least one each, the rest to train."""
    whole = sum(asked.values())
    counts = {part: max(1, count * total // whole) for part, count in asked.items()}
    counts["train"] = max(1, total - sum(n for part, n in counts.items() if part != "train"))
    return counts


def _take_share(samples: Sequence[Sample], limit: int) -> list[Sample]:
    """Take at most `limit` of a class, each split its share and at least one."""
    if len(samples) <= limit:
        return list(samples)
    sizes = Counter(s.split for s in samples)
    counts = {split: max(1, limit * n // len(samples)) for split, n in sizes.items()}
    largest = max(sizes, key=lambda split: sizes[split])
    counts[largest] = max(1, limit - sum(n for split, n in counts.items() if split != largest))
    return [s for split, n in counts.items() for s in [t for t in samples if t.split == split][:n]]
