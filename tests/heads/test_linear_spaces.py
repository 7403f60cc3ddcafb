"""Paths, row sets, streaming: the ways of reaching one and the same fit."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from featx.errors import HeadError
from featx.heads.linear import classifier, sources
from featx.heads.linear.gram import gram_spaces
from featx.heads.linear.space import FeatureSpace, HeldSpace
from featx.heads.linear.streaming import StreamedSpace
from featx.heads.linear_svc import LinearSVC
from featx.heads.logreg import LogisticRegression
from featx.heads.ridge import Ridge

HEADS = [
    LinearSVC(0.3, standardize=True, class_weight="balanced"),
    LinearSVC(1e-3, intercept_scaling=3.0),
    LogisticRegression(0.1, standardize=True),
    LogisticRegression(1e-3, multi_class="ovr", class_weight="balanced"),
    Ridge(10.0, standardize=True),
    Ridge(10.0, class_weight="balanced"),
    Ridge(10.0, fit_intercept=False),
]


class LazyMatrix:
    """Features as the cache gives them: no array, only rows and columns; counts what is read."""

    def __init__(self, X: np.ndarray) -> None:
        self._X, self.shape, self.dtype = X, X.shape, X.dtype
        self.largest, self.values_read = 0, 0

    def _count(self, part: np.ndarray) -> np.ndarray:
        self.largest = max(self.largest, part.size)
        self.values_read += part.size
        return part.copy()

    def rows(self, indices: np.ndarray) -> np.ndarray:
        return self._count(self._X[indices])

    def columns(self, start: int, stop: int) -> np.ndarray:
        return self._count(self._X[:, start:stop])


def make_data(n: int, d: int, classes: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    X = rng.standard_normal((classes, d))[y] + 2.0 * rng.standard_normal((n, d)) + 0.5
    X[:, 1], X[:, 2] = 1.7, X[:, 0]
    return np.maximum(X, 0.0).astype(np.float32), y


def assert_close(a: np.ndarray, b: np.ndarray, tol: float = 2e-4) -> None:
    assert a.shape == b.shape
    assert np.abs(a - b).max() <= tol * np.abs(b).max()


@pytest.mark.parametrize("n", [40, 150], ids=["wide", "tall"])
@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_a_path_is_the_fits_one_by_one(head: Any, n: int) -> None:
    X, y = make_data(n, 60)
    values = [1.0, 1e-3, 30.0, 0.1]
    for fitted, value in zip(head.fit_path(X, y, values), values, strict=True):
        assert getattr(fitted, head.path_param) == value
        alone = clone(head).set_params(**{head.path_param: value}).fit(X, y)
        assert_close(fitted.decision_function(X), alone.decision_function(X))
        assert fitted.n_features_in_ == 60
    assert not hasattr(head, "coef_")
    assert head.fit_path(X, y, []) == []


@pytest.mark.parametrize("lazy", [False, True], ids=["array", "lazy"])
@pytest.mark.parametrize("d", [25, 300], ids=["tall", "wide"])
@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_rows_and_held_rows(head: Any, d: int, lazy: bool) -> None:
    X, y = make_data(120, d)
    rng = np.random.default_rng(1)
    order = rng.permutation(120)
    rows, held = order[:70], order[70:]
    values = [0.01, 1.0]
    expected = [
        clone(head).set_params(**{head.path_param: v}).fit(X[rows], y[rows]) for v in values
    ]
    source = LazyMatrix(X) if lazy else X
    fitted = head.fit_path(source, y, values, rows=rows)
    scores = head.path_decisions(source, y, values, rows=rows, held=held)
    for one, score, other in zip(fitted, scores, expected, strict=True):
        assert_close(one.coef_, other.coef_)
        assert_close(one.decision_function(X[held]), other.decision_function(X[held]))
        assert_close(score, other.decision_function(X[held]))


def test_many_row_sets_take_one_pass_and_keep_to_their_own_scale() -> None:
    X, y = make_data(90, 400)
    X[:30] *= 5.0
    rng = np.random.default_rng(0)
    sets = [np.sort(rng.choice(90, size, replace=False)) for size in (20, 45, 60)]
    held = [np.setdiff1d(np.arange(90), rows) for rows in sets]
    lazy = LazyMatrix(X)
    spaces = gram_spaces(lazy, sets, held, standardize=True, centred=True)
    assert lazy.values_read == X.size
    for rows, others, space in zip(sets, held, spaces, strict=True):
        scaler = StandardScaler().fit(X[rows].astype(np.float64))
        A, B = (scaler.transform(X[r].astype(np.float64)) for r in (rows, others))
        np.testing.assert_allclose(space.axes @ space.axes.T, A @ A.T, atol=1e-9 * 400)
        np.testing.assert_allclose(space.held_axes @ space.axes.T, B @ A.T, atol=1e-9 * 4000)
        head = LinearSVC(0.01, standardize=True)
        (scores,) = head.path_decisions(X, y, [0.01], rows=rows, held=others, space=space)
        alone = make_pipeline(StandardScaler(), LinearSVC(0.01))
        alone.fit(X[rows].astype(np.float64), y[rows])
        assert_close(scores, alone.decision_function(X[others].astype(np.float64)))
    with pytest.raises(HeadError, match="other rows"):
        spaces[0].project(X, held[1])


@pytest.mark.parametrize("standardize", [False, True])
@pytest.mark.parametrize("centred", [False, True])
def test_a_streamed_space_is_the_held_one(standardize: bool, centred: bool) -> None:
    X, _ = make_data(500, 30)
    X += 100.0
    rows = np.arange(0, 500, 2)
    options = {"standardize": standardize, "centred": centred}
    held, streamed = HeldSpace(X, rows, **options), StreamedSpace(LazyMatrix(X), rows, **options)
    np.testing.assert_allclose(streamed.mean, held.mean, rtol=1e-12)
    np.testing.assert_allclose(streamed.inverse, held.inverse, rtol=1e-9)
    rng = np.random.default_rng(0)
    W = rng.standard_normal((30, 3))
    a, b = (s.design().forward(s.directions.T @ W, np.float64) for s in (held, streamed))
    np.testing.assert_allclose(a, b, atol=1e-9 * np.abs(a).max())


@pytest.mark.parametrize("classes", [2, 3, 40])
def test_a_fit_without_axes_is_the_fit_with_them(classes: int) -> None:
    X, y = make_data(200, 150, classes)
    head = LogisticRegression(0.1, standardize=True, tol=1e-6)
    rows = np.arange(len(y))
    for fits, most in ((1, 9), (25, 1)):  # columns up to which a fit, or a path, has no axes
        space = head._problem(X, y, fits=fits).space
        columns = classes if classes > 2 else 1
        assert isinstance(space, FeatureSpace) == (columns <= most)
    plain = FeatureSpace(X, rows, standardize=True, centred=True)
    without = clone(head).fit_path(X, y, [0.1], space=plain)[0]
    axes = HeldSpace(X, rows, standardize=True, centred=True)
    with_axes = clone(head).fit_path(X, y, [0.1], space=axes)[0]
    assert_close(without.coef_, with_axes.coef_)
    assert_close(without.decision_function(X), with_axes.decision_function(X))
    assert_close(plain.project(X, rows), plain.axes)


@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_rows_that_do_not_fit_in_memory(head: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = make_data(3000, 24)
    expected = clone(head).fit(X, y)
    monkeypatch.setattr(classifier, "HELD_BYTES", 1000)
    monkeypatch.setattr(sources, "BLOCK_BYTES", 8 * 24 * 256)
    lazy = LazyMatrix(X)
    fitted = clone(head).fit(lazy, y)
    assert lazy.largest <= 24 * 256
    assert fitted.converged_
    assert_close(fitted.coef_, expected.coef_)
    assert_close(fitted.decision_function(X), expected.decision_function(X))


@pytest.mark.parametrize("head", [LinearSVC(100.0), LogisticRegression(1e4)], ids=repr)
def test_hard_problems_are_streamed_too(head: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    X, y = make_data(600, 24)
    expected = clone(head).fit(X, y)
    monkeypatch.setattr(classifier, "HELD_BYTES", 1000)
    assert_close(clone(head).fit(LazyMatrix(X), y).coef_, expected.coef_, 1e-3)


def test_wide_features_are_never_held() -> None:
    n, d = 100, 100_000

    class Made:
        shape, dtype = (n, d), np.dtype(np.float32)

        def columns(self, start: int, stop: int) -> np.ndarray:
            made = np.random.default_rng(start).standard_normal((n, stop - start))
            return np.maximum(made, 0.0).astype(np.float32)

        def rows(self, indices: np.ndarray) -> np.ndarray:
            raise AssertionError("wide features are read by columns")

    y = np.arange(n) % 3
    sources_block, sources.BLOCK_BYTES = sources.BLOCK_BYTES, 2**20
    tracemalloc.start()
    try:
        head = LinearSVC(1e-4, standardize=True).fit(Made(), y)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        sources.BLOCK_BYTES = sources_block
    assert head.coef_.shape == (3, d)
    assert peak < 0.6 * 8 * n * d
    # mean, scale, coefficients a class twice, and blocks
    assert peak < 12 * 8 * d + 10 * 2**20
    X = Made().columns(0, d)
    assert np.isfinite(head.decision_function(X)).all()


def test_fewer_labels_than_rows_are_named() -> None:
    X, y = make_data(30, 50)
    with pytest.raises(HeadError, match="30 rows of features but 29 labels"):
        LinearSVC().fit(LazyMatrix(X), y[:-1])
