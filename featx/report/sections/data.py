"""The data: images a class and a split, sizes, duplicates, and what was set aside."""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np

from featx.errors import ImageError
from featx.records import FeatureSet
from featx.report.blocks import Block, Chart, Column, Facts, Section, Table, Text
from featx.report.figures import axis, figure, plain, shorten
from featx.report.numbers import count_of
from featx.report.photos import measure_image
from featx.report.subject import Subject

MAX_MEASURED = 1_000
"""Photos whose size is looked up: evenly many of more."""

MAX_LISTED = 100
MAX_BARS = 24
_SIDES = (("train", "@c0"), ("val", "@c4"), ("test", "@c1"))


def show_data(subject: Subject) -> Section:
    """Show what the models learnt from and were tested on."""
    split = subject.winning_run.split
    facts = [
        ("Test images", f"{subject.n_test:,}"),
        (
            "Test images that are also training images",
            f"{split.get('train_test_duplicates', 0):,}",
        ),
        ("Classes", f"{len(subject.classes):,}"),
        ("Label column", str(split.get("target", "class"))),
    ]
    features, view = subject.features, subject.view
    blocks: list[Block] = []
    if features is None or view is None:
        blocks.append(
            Text(
                "The cached features of these runs are not there any more, so that only the test "
                "images are known. --cache-dir names their folder."
            )
        )
        blocks += _test_counts(subject)
    else:
        copies = copies_of(features)
        n_copies = sum(len(paths) - 1 for paths in copies)
        facts = [
            ("Images", f"{len(features.y):,}"),
            *facts,
            ("Copies of other images", f"{n_copies:,}"),
            ("Set aside, since they could not be used", f"{len(view.quarantined):,}"),
        ]
        blocks += _counts(subject, features)
        blocks += _sizes(subject, features)
        blocks += _copies(copies)
        blocks += _set_aside(view.quarantined)
    return Section("data", "Data", (Facts("data", "At a glance", tuple(facts)), *blocks))


def copies_of(features: FeatureSet) -> list[list[str]]:
    """Return the paths of images that are byte for byte the same, a list each."""
    same: defaultdict[str, list[str]] = defaultdict(list)
    for path, digest in zip(features.paths, features.digests, strict=False):
        if digest:
            same[digest].append(path)
    return [paths for paths in same.values() if len(paths) > 1]


def _counts(subject: Subject, features: FeatureSet) -> list[Block]:
    tested = set(subject.test_set.paths) if subject.test_set else set()
    side = np.where(features.splits == "val", 1, 0)
    if tested:
        side[[path in tested for path in features.paths]] = 2
    else:
        side[features.splits == "test"] = 2
    n = len(features.classes)
    counts = np.stack([np.bincount(features.y[side == s], minlength=n) for s in range(3)])
    return _count_blocks(features.classes, counts)


def _test_counts(subject: Subject) -> list[Block]:
    support = subject.winning_run.metrics["per_class"]["support"]
    counts = np.zeros((3, len(support)), np.int64)
    counts[2] = support
    return _count_blocks(subject.classes, counts)


def _count_blocks(classes: tuple[str, ...], counts: np.ndarray) -> list[Block]:
    sides = [s for s in range(3) if counts[s].any()]
    names = {"train": "Training", "val": "Validation", "test": "Test"}
    total = counts.sum(axis=0)
    order = np.argsort(-total, kind="stable")
    table = Table(
        "class-counts",
        "Images a class",
        (
            Column("Class"),
            *(Column(names[_SIDES[s][0]], "count") for s in sides),
            Column("All", "count"),
        ),
        tuple((classes[c], *(int(counts[s, c]) for s in sides), int(total[c])) for c in order),
        folded=True,
    )
    cut = len(classes) > MAX_BARS
    half = MAX_BARS // 2
    shown = [*order[:half], *order[-half:]] if cut else order
    keys = list(range(len(shown)))
    chart = Chart(
        "class-counts",
        f"Images a class, the {half} largest and {half} smallest" if cut else "Images a class",
        f"{count_of(len(classes), 'class', 'classes')} of {int(total.min()):,} to "
        f"{int(total.max()):,} images.",
        figure(
            [
                {
                    "type": "bar",
                    "orientation": "h",
                    "name": names[_SIDES[s][0]].lower(),
                    "y": keys,
                    "x": [int(counts[s, c]) for c in shown],
                    "customdata": [plain(classes[c]) for c in shown],
                    "hovertemplate": f"%{{customdata}}<br>{names[_SIDES[s][0]].lower()}: %{{x:,}}"
                    "<extra></extra>",
                    "marker": {"color": _SIDES[s][1]},
                }
                for s in sides
            ],
            axis("images", rangemode="tozero"),
            {
                "tickvals": keys,
                "ticktext": [shorten(plain(classes[c]), 28) for c in shown],
                "autorange": "reversed",
                "showgrid": False,
                "ticks": "",
            },
            barmode="stack",
            bargap=0.35,
        ),
        height=max(190, 120 + 24 * len(shown)),
    )
    return [chart, table]


def _sizes(subject: Subject, features: FeatureSet) -> list[Block]:
    """Measure photos where they lie; nothing is shown where they are gone."""
    sizes = []
    step = max(1, len(features.paths) // MAX_MEASURED)
    for path in features.paths[::step]:
        file = subject.photos.find(path)
        if file is None:
            continue
        try:
            sizes.append((*measure_image(file), os.path.getsize(file)))
        except (ImageError, OSError):
            continue
    if not sizes:
        return [Text("The photos are not where they were, so that their sizes are not known.")]
    values = np.array(sizes)
    quantiles = np.quantile(values, [0, 0.5, 1], axis=0, method="nearest").astype(int)
    common, count = Counter((w, h) for w, h, _ in sizes).most_common(1)[0]
    suffixes = Counter(Path(path).suffix.lower().lstrip(".") or "none" for path in features.paths)
    kinds = ", ".join(f"{name} ({n:,})" for name, n in suffixes.most_common(4))
    sampled = f" of a sample of {len(sizes):,}" if step > 1 else ""
    return [
        Table(
            "sizes-of-images",
            "Sizes",
            (
                Column("Of"),
                Column("Smallest", "count"),
                Column("Median", "count"),
                Column("Largest", "count"),
            ),
            tuple(
                (what, *(int(quantiles[q, i]) for q in range(3)))
                for i, what in enumerate(("width, pixels", "height, pixels", "file, bytes"))
            ),
            note=f"{count:,}{sampled or f' of {len(sizes):,}'} photos are {common[0]}×{common[1]}. "
            f"Kinds of file: {kinds}.",
            sort=False,
        )
    ]


def _copies(copies: list[list[str]]) -> list[Block]:
    if not copies:
        return []
    shown = sorted(copies, key=len, reverse=True)[:MAX_LISTED]
    more = f"The first {len(shown)} of {len(copies):,}." if len(shown) < len(copies) else ""
    return [
        Table(
            "copies",
            "Images that are byte for byte the same",
            (Column("Images", "code"), Column("Copies", "count")),
            tuple((_paths(paths), len(paths)) for paths in shown),
            note=f"A split that featx makes keeps them on one side. {more}".rstrip(),
            folded=len(shown) > 5,
        )
    ]


def _paths(paths: list[str], most: int = 6) -> str:
    text = ", ".join(paths[:most]) + (f" and {len(paths) - most} more" if len(paths) > most else "")
    return text.encode("utf-8", "replace").decode()


def _set_aside(quarantined: tuple[tuple[str, str], ...]) -> list[Block]:
    if not quarantined:
        return []
    shown = quarantined[:MAX_LISTED]
    more = (
        f"The first {len(shown)} of {len(quarantined):,}." if len(shown) < len(quarantined) else ""
    )
    return [
        Table(
            "set-aside",
            "Set aside",
            (Column("Image", "code"), Column("Reason")),
            tuple((_paths([path]), reason) for path, reason in shown),
            note=more,
            folded=len(shown) > 5,
        )
    ]
