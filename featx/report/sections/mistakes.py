"""What the winner gets wrong: classes, confusions, and the photos themselves."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.metrics import per_class_counts
from featx.report.blocks import Block, Chart, Column, Gallery, Photo, Section, Table, Text
from featx.report.figures import axis, figure, plain, shorten
from featx.report.numbers import count_of, write_percent
from featx.report.sections.confusion import show_confusion
from featx.report.subject import Subject

MAX_PAIRS = 12
"""Most confused pairs in the table."""

PAIRS_WITH_PHOTOS, PHOTOS_A_PAIR = 8, 4
MAX_MISTAKES = 24
"""Photos in the gallery of the surest mistakes."""

PHOTO_SIZE = 192
MAX_BARS = 15
"""Classes at either end of the bars of F1."""


def show_mistakes(subject: Subject) -> Section | None:
    """Show the winner's mistakes, class by class, pair by pair, photo by photo."""
    confusion = subject.confusion
    if confusion is None:
        text = "The predictions of the best model were not kept, so its mistakes cannot be shown."
        return Section("mistakes", "Mistakes", (Text(text),))
    wrong = int(confusion.sum() - np.trace(confusion))
    run = subject.winning_run
    draw = f", its first of {subject.winner['draws']} draws" if subject.winner["draws"] > 1 else ""
    blocks: list[Block] = [
        Text(
            f"Of {count_of(subject.n_test, 'test image')} {subject.winner['name']}{draw}, has "
            f"{wrong:,} wrong ({write_percent(wrong / subject.n_test)})."
        )
    ]
    classes = _classes(subject, confusion)
    blocks += [_class_bars(subject, classes), show_confusion(run.classes, confusion), classes]
    pairs = confused_pairs(confusion)
    if pairs:
        blocks.append(_pair_table(subject, confusion, pairs))
        blocks += _pair_galleries(subject, pairs)
        blocks.append(_surest(subject))
    if subject.photos.asked and not subject.photos.shown:
        blocks.insert(
            1,
            Text(
                "The photos are not where they were when the models were tested, or have changed. "
                "Where they moved as a whole, --photos names their folder."
            ),
        )
    return Section("mistakes", "Mistakes", tuple(blocks))


def _classes(subject: Subject, confusion: np.ndarray) -> Table:
    counts = per_class_counts(confusion)
    kept = subject.winning_run.metrics["per_class"].get("entropy_bits")
    entropy = kept or [None] * len(confusion)
    order = np.argsort(counts["f1"], kind="stable")
    order = order[counts["support"][order] > 0]
    rows = tuple(
        (
            subject.classes[c],
            int(counts["support"][c]),
            float(counts["f1"][c]),
            float(counts["precision"][c]),
            float(counts["recall"][c]),
            entropy[c],
        )
        for c in order.tolist()
    )
    return Table(
        "classes",
        "Class by class",
        (
            Column("Class"),
            Column("Test images", "count"),
            Column("F1", "share", "harmonic mean of precision and recall"),
            Column("Precision", "share", "of what was called this class, what is"),
            Column("Recall", "share", "of this class, what was found"),
            Column("Entropy", "number", "mean of the class's test images, in bits: 0 is sure"),
        ),
        rows,
        note="The hardest first. Entropy is that of the predicted probabilities: how undecided the "
        "model was.",
        folded=len(rows) > 30,
    )


def _class_bars(subject: Subject, classes: Table) -> Chart:
    rows = classes.rows
    cut = len(rows) > 2 * MAX_BARS
    shown = [*rows[:MAX_BARS], *rows[-MAX_BARS:]] if cut else list(rows)
    names = [shorten(plain(str(r[0])), 28) for r in shown]
    keys = list(range(len(shown)))
    worst, best = rows[0], rows[-1]
    return Chart(
        "f1",
        f"The {MAX_BARS} hardest and {MAX_BARS} easiest classes" if cut else "F1 of each class",
        f"F1 of {len(shown)} classes. Hardest: {worst[0]} ({worst[2]:.3f}); easiest: {best[0]} "
        f"({best[2]:.3f}).",
        figure(
            [
                {
                    "type": "bar",
                    "orientation": "h",
                    "y": keys,
                    "x": [r[2] for r in shown],
                    "text": [f"{r[2]:.2f}" for r in shown],
                    "textposition": "outside",
                    "cliponaxis": False,
                    "customdata": [[plain(str(r[0])), r[3], r[4], r[1]] for r in shown],
                    "hovertemplate": "%{customdata[0]}<br>F1 %{x:.3f}<br>precision "
                    "%{customdata[1]:.3f}, recall %{customdata[2]:.3f}<br>%{customdata[3]} test "
                    "images<extra></extra>",
                    "marker": {"color": "@c0"},
                }
            ],
            axis("F1", range=[0, 1.08], tickformat=".1f"),
            {
                "tickvals": keys,
                "ticktext": names,
                "autorange": "reversed",
                "showgrid": False,
                "ticks": "",
            },
            showlegend=False,
            bargap=0.35,
        ),
        height=max(180, 90 + 24 * len(shown)),
        half=True,
    )


def confused_pairs(confusion: np.ndarray, most: int = MAX_PAIRS) -> list[tuple[int, int]]:
    """Return the (true, predicted) pairs with most mistakes, most first."""
    wrong = confusion.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:most]
    pairs = [divmod(int(place), len(wrong)) for place in order]
    return [(t, p) for t, p in pairs if wrong[t, p]]


def _pair_table(subject: Subject, confusion: np.ndarray, pairs: list[tuple[int, int]]) -> Table:
    names = subject.classes
    return Table(
        "confused-pairs",
        "Most confused pairs",
        (
            Column("True class"),
            Column("Taken for"),
            Column("Images", "count"),
            Column("Of the class", "percent", "share of the true class's test images"),
            Column("The other way", "count", "images of the second taken for the first"),
        ),
        tuple(
            (
                names[t],
                names[p],
                int(confusion[t, p]),
                float(confusion[t, p] / confusion[t].sum()),
                int(confusion[p, t]),
            )
            for t, p in pairs
        ),
    )


def _pair_galleries(subject: Subject, pairs: list[tuple[int, int]]) -> list[Block]:
    """Show photos of the first pairs; nothing where there are no photos."""
    arrays, galleries = subject.winning_run.arrays, []
    for number, (t, p) in enumerate(pairs[:PAIRS_WITH_PHOTOS]):
        rows = np.flatnonzero((arrays["y_true"] == t) & (arrays["y_pred"] == p))
        photos = [_photo(subject, row) for row in _surest_first(subject, rows)[:PHOTOS_A_PAIR]]
        shown = tuple(photo for photo in photos if photo.image)
        if shown:
            title = f"{subject.classes[t]} taken for {subject.classes[p]}"
            galleries.append(Gallery(f"pair-{number + 1}", title, shown, half=True))
    return list[Block](galleries)


def _surest(subject: Subject) -> Block:
    """Show the mistakes that the model was surest of: often wrong labels."""
    arrays = subject.winning_run.arrays
    rows = np.flatnonzero(arrays["y_true"] != arrays["y_pred"])
    photos = tuple(_photo(subject, row) for row in _surest_first(subject, rows)[:MAX_MISTAKES])
    title, note = "Mistakes", "How sure the model was is not known: the first mistakes are shown."
    if subject.ranked:
        title = "Surest mistakes"
        note = "The mistakes that the model was surest of. Look here for wrong labels first."
    elif subject.confidence is not None:
        note = "The model is as sure of one image as of another: the first mistakes are shown."
    if any(photo.image for photo in photos):
        return Gallery("mistakes", title, photos, note)
    return Table(
        "mistakes",
        title,
        (
            Column("Photo", "code"),
            Column("True class"),
            Column("Taken for"),
            Column("Confidence", "percent"),
        ),
        tuple((p.path or None, p.true, p.predicted, p.confidence) for p in photos),
        note=note,
    )


def _surest_first(subject: Subject, rows: np.ndarray) -> list[int]:
    if subject.confidence is None or not subject.ranked:
        return [int(row) for row in rows]
    order = np.argsort(-subject.confidence[rows], kind="stable")
    return [int(row) for row in rows[order]]


def _photo(subject: Subject, row: int) -> Photo:
    arrays: Any = subject.winning_run.arrays
    confidence = subject.confidence
    return Photo(
        path=subject.photos.path(row),
        true=subject.classes[arrays["y_true"][row]],
        predicted=subject.classes[arrays["y_pred"][row]],
        confidence=None if confidence is None else float(confidence[row]),
        image=subject.photos.thumbnail(row, PHOTO_SIZE),
    )
