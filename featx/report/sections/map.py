"""A map of the embeddings: test images with similar features stand close together."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from featx.errors import CacheError
from featx.records import FeatureSet
from featx.report.blocks import Chart, Column, Section, Table, Text
from featx.report.figures import COLOURS, colour, figure, plain
from featx.report.numbers import count_of
from featx.report.subject import Subject

MAX_POINTS = 1_000
"""Test images on the map: a seeded sample of more."""

MAX_WIDTH = 50
"""Principal components that neighbours are looked for in."""

THUMBNAIL = 72


def show_map(subject: Subject) -> Section | None:
    """Draw test images in two dimensions; says why where that cannot be done."""
    features = subject.features
    if features is None or subject.test_set is None:
        missing = "the cached features" if features is None else "the list of test images"
        text = f"There is no map: {missing} of these runs are not there any more."
        return Section("map", "Map of the embeddings", (Text(text),))
    place = {path: row for row, path in enumerate(features.paths)}
    found = [(i, place[p]) for i, p in enumerate(subject.test_set.paths) if p in place]
    if len(found) < 5:
        text = "There is no map: the cache has other images than were tested on."
        return Section("map", "Map of the embeddings", (Text(text),))
    rng = np.random.default_rng(0)
    kept = np.sort(rng.permutation(len(found))[:MAX_POINTS])
    tests, rows = (np.array([found[i][side] for i in kept]) for side in (0, 1))
    try:
        points, method = project(read_rows(features, rows), seed=0)
    except CacheError as error:
        return Section("map", "Map of the embeddings", (Text(f"There is no map: {error}"),))
    return Section("map", "Map of the embeddings", (_chart(subject, tests, points, method),))


def read_rows(features: FeatureSet, rows: np.ndarray) -> np.ndarray:
    """Return features of some rows, (len(rows), width) float32."""
    X = features.X
    return np.asarray(X.rows(rows) if hasattr(X, "rows") else X[rows], np.float32)


def project(X: np.ndarray, *, seed: int) -> tuple[np.ndarray, str]:
    """Return rows in two dimensions, and the name of the method.

    Standardised columns go to their first principal components, and those through t-SNE (van der
    Maaten and Hinton, Visualizing data using t-SNE, 2008), which keeps neighbours together. With
    fewer than 50 rows the first two components are shown as they are.

    Parameters
    ----------
    X : ndarray of shape (n_rows, n_features)
    seed : int

    Returns
    -------
    points : ndarray of shape (n_rows, 2)
    method : str
    """
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    deviation = X.std(axis=0)
    Z = (X - X.mean(axis=0)) / np.where(deviation > 0, deviation, 1)
    width = min(MAX_WIDTH, len(Z) - 1, Z.shape[1])
    small = len(Z) < 50
    pca = PCA(
        min(2 if small else width, width),
        svd_solver="full" if small else "randomized",
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of features that are all equal
        components = pca.fit_transform(Z)
    if components.shape[1] < 2:
        components = np.column_stack([components, np.zeros(len(components))])
    if small:
        return components, "principal components"
    scaled = components / max(float(components[:, 0].std()), 1e-12) * 1e-4
    # More threads only wait for each other where the processor is busy with something else.
    with threadpool_limits(1, user_api="openmp"):
        return np.asarray(_tsne(len(Z), scaled, seed).fit_transform(components)), "t-SNE"


def _tsne(n: int, start: np.ndarray, seed: int) -> Any:
    from sklearn.manifold import TSNE

    return TSNE(
        2,
        perplexity=min(30, n / 4),
        init=start[:, :2].astype(np.float32),
        learning_rate="auto",
        max_iter=500,
        random_state=seed,
    )


def _chart(subject: Subject, tests: np.ndarray, points: np.ndarray, method: str) -> Chart:
    arrays, names = subject.winning_run.arrays, subject.classes
    y_true = subject.test_set.labels[tests] if subject.test_set else tests
    y_pred = arrays["y_pred"][tests] if "y_pred" in arrays else y_true
    wrong = y_true != y_pred
    coloured = len(names) <= COLOURS
    parts: list[tuple[str, str, np.ndarray]] = (
        [(name, colour(c), y_true == c) for c, name in enumerate(names)]
        if coloured
        else [("right", "@muted", ~wrong), ("wrong", "@bad", wrong)]
    )
    traces: list[dict[str, Any]] = []
    thumbnails: list[str] = []
    for name, tint, mine in parts:
        if not mine.any():
            continue
        traces.append(
            {
                "type": "scatter",
                "name": plain(name),
                "mode": "markers",
                "x": [round(float(v), 2) for v in points[mine, 0]],
                "y": [round(float(v), 2) for v in points[mine, 1]],
                "customdata": [
                    [plain(names[t]), plain(names[p]), len(thumbnails) + i]
                    for i, (t, p) in enumerate(zip(y_true[mine], y_pred[mine], strict=True))
                ],
                "hovertemplate": "%{customdata[0]}<br>predicted: %{customdata[1]}<extra></extra>",
                "marker": {
                    "color": tint,
                    "size": 7,
                    "opacity": 0.85,
                    "line": {
                        "color": "@ink",
                        "width": [1.6 if w and coloured else 0 for w in wrong[mine].tolist()],
                    },
                },
            }
        )
        thumbnails += [subject.photos.thumbnail(int(row), THUMBNAIL) for row in tests[mine]]
    bare = {"visible": False}
    sample = f", a sample of {subject.n_test:,}" if len(tests) < subject.n_test else ""
    source = f"{subject.view.provenance['backbone']} {subject.tap}" if subject.view else ""
    ring = "Ringed ones the best model has wrong. " if coloured else ""
    return Chart(
        "map",
        f"{count_of(len(tests), 'test image')} by their features",
        f"{count_of(len(tests), 'test image')}{sample}, placed by {method} of {source}; "
        f"{int(wrong.sum())} of them the best model has wrong.",
        figure(traces, {**bare}, {**bare, "scaleanchor": "x"}, hovermode="closest"),
        table=_neighbours(subject, tests, points),
        note=f"Features of {source}, by {method}: near points are similar images, distances far "
        f"apart mean nothing. {ring}Point at one to see its photo.",
        height=560,
        thumbnails=tuple(thumbnails) if any(thumbnails) else (),
    )


def _neighbours(subject: Subject, tests: np.ndarray, points: np.ndarray) -> Table | None:
    """Say for each class how many nearest neighbours on the map are of the same class."""
    if subject.test_set is None or len(tests) < 10:
        return None
    from sklearn.neighbors import NearestNeighbors

    labels = subject.test_set.labels[tests]
    near = NearestNeighbors(n_neighbors=6).fit(points).kneighbors(return_distance=False)
    same = (labels[near] == labels[:, None]).mean(axis=1)
    rows = [
        (name, int((labels == c).sum()), float(same[labels == c].mean()))
        for c, name in enumerate(subject.classes)
        if (labels == c).any()
    ]
    return Table(
        "map",
        "Neighbours of the same class",
        (
            Column("Class"),
            Column("Images", "count"),
            Column("Same class", "percent", "of the six nearest on the map"),
        ),
        tuple(sorted(rows, key=lambda row: row[2])),
    )
