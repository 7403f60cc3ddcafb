"""The confusion matrix: classes that are confused stand side by side where there are many."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.report.blocks import Chart
from featx.report.figures import axis, figure, plain, shorten

MAX_CLASSES = 200
"""Of more classes those with most mistakes are shown."""

CLUSTERED = 12
"""From so many classes on they are put in the order of a clustering."""

WRITTEN = 20
"""Up to so many classes the counts are written into the cells."""


def show_confusion(classes: Sequence[str], confusion: np.ndarray) -> Chart:
    """Return the confusion matrix as a chart.

    Parameters
    ----------
    classes : sequence of str
    confusion : ndarray of shape (n_classes, n_classes), int
        Row: true class, column: predicted.
    """
    kept = choose_classes(confusion)
    matrix = confusion[np.ix_(kept, kept)]
    if len(kept) >= CLUSTERED:
        order = cluster_classes(matrix)
        kept, matrix = kept[order], matrix[np.ix_(order, order)]
    share = matrix / np.maximum(confusion[kept].sum(axis=1, keepdims=True), 1)
    names = [plain(classes[c]) for c in kept]
    ticks = {"type": "category", "showgrid": False, "ticks": ""}
    if len(kept) <= 40:
        ticks |= {"tickvals": names, "ticktext": [shorten(name, 18) for name in names]}
    else:
        ticks["showticklabels"] = False
    heat = {
        "type": "heatmap",
        "z": [[round(v, 4) if v else None for v in row] for row in share.tolist()],
        "x": names,
        "y": names,
        "text": [[str(n) if n else "" for n in row] for row in matrix.tolist()],
        "hovertemplate": "true: %{y}<br>taken for: %{x}<br>images: %{text}<extra></extra>",
        "zmin": 0,
        "zmax": 1,
        # Mistakes of a few per cent must be seen beside a diagonal near 1.
        "colorscale": [[0, "@surface"], [0.02, "@c0~0.12"], [0.2, "@c0~0.45"], [1, "@c0"]],
        "xgap": 1 if len(kept) <= 60 else 0,
        "ygap": 1 if len(kept) <= 60 else 0,
        "showscale": False,
        "hoverongaps": False,
    }
    if len(kept) <= WRITTEN:
        heat["texttemplate"] = "%{text}"
    wrong = int(confusion.sum() - np.trace(confusion))
    note = (
        "A row is a true class, a column what it was taken for; the colour is the share of the row."
    )
    if len(kept) >= CLUSTERED:
        note += (
            " Classes that are confused stand side by side. Drag over a part to see it large; "
            "double-click to go back."
        )
    if len(kept) < len(confusion):
        note += f" Shown are the {len(kept)} of {len(confusion)} classes with most mistakes."
    return Chart(
        "confusion",
        "Confusion matrix",
        f"{len(kept)} classes by {len(kept)}; {wrong} of {int(confusion.sum())} test images lie "
        "off the diagonal. The pairs with most mistakes are in the table below.",
        figure(
            [heat],
            axis("taken for", **ticks),
            axis("true class", autorange="reversed", **ticks),
        ),
        note=note,
        height=560 if len(kept) >= CLUSTERED else min(520, 150 + 48 * len(kept)),
        width=860,
        half=len(kept) < CLUSTERED,
    )


def choose_classes(confusion: np.ndarray, most: int = MAX_CLASSES) -> np.ndarray:
    """Return the classes with most mistakes, made of them or by them, in their own order."""
    if len(confusion) <= most:
        return np.arange(len(confusion))
    right = np.diagonal(confusion)
    wrong = confusion.sum(axis=0) + confusion.sum(axis=1) - 2 * right
    return np.sort(np.argsort(-wrong, kind="stable")[:most])


def cluster_classes(matrix: np.ndarray) -> np.ndarray:
    """Return an order of classes in which those that are confused are neighbours.

    Average linkage on one minus the share of either class that is taken for the other, leaves in
    optimal order (Bar-Joseph et al., Fast optimal leaf ordering for hierarchical clustering, 2001).
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    distance = 1 - (share + share.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(
        squareform(np.clip(distance, 0, 1), checks=False), "average", optimal_ordering=True
    )
    return np.asarray(leaves_list(tree))
