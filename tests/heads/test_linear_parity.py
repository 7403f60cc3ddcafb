"""The linear heads against scikit-learn's estimators of the same names, over a grid of problems."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from sklearn import linear_model, svm
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from featx.heads.linear_svc import LinearSVC
from featx.heads.logreg import LogisticRegression
from featx.heads.ridge import Ridge

SHAPES = {"tall": (150, 12), "square": (40, 40), "wide": (45, 130)}
KINDS = ("separable", "noisy", "unbalanced", "degenerate")
CS = (1e-6, 1e-3, 1.0, 1e3, 1e6)


def make_data(shape: str, kind: str, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    n, d = SHAPES[shape]
    rng = np.random.default_rng(seed)
    p = 1.0 / np.arange(1, classes + 1) ** 2 if kind == "unbalanced" else np.ones(classes)
    y = rng.choice(classes, size=n, p=p / p.sum())
    y[: 2 * classes] = np.tile(np.arange(classes), 2)
    centres = rng.standard_normal((classes, d)) * {"separable": 4.0, "noisy": 0.3}.get(kind, 1.0)
    X = np.maximum(centres[y] + rng.standard_normal((n, d)) + 0.5, 0.0)
    if kind == "degenerate":
        X[:, 1], X[:, 2], X[:, 3] = 7.3, X[:, 0], 2.0 * X[:, 0]
    return X, y


def objective(head: Any, X: np.ndarray, y: np.ndarray, coef: Any, intercept: Any) -> np.ndarray:
    """What `head` minimises, a problem, from the definition."""
    Z = X @ coef.T + intercept
    columns = Z.shape[1]
    Y = np.where(y[:, None] == (np.arange(columns) if columns > 1 else 1), 1.0, -1.0)
    penalty = 0.5 * (coef**2).sum(axis=1)
    if isinstance(head, LinearSVC):
        slack = np.maximum(1.0 - Y * Z, 0.0)
        weights = np.ones_like(Z)
        if head.class_weight is not None:
            factor = compute_class_weight(head.class_weight, classes=np.unique(y), y=y)
            weights = factor[y][:, None] * np.ones_like(Z)
            if columns > 1:
                weights[Y < 0] = 1.0
        if head.fit_intercept:
            penalty += 0.5 * (intercept / head.intercept_scaling) ** 2
        power = 2 if head.loss == "squared_hinge" else 1
        return penalty + head.C * (weights * slack**power).sum(axis=0)
    weights = compute_sample_weight(head.class_weight, y)
    if isinstance(head, Ridge):
        return weights @ (Y - Z) ** 2 + 2 * head.alpha * penalty
    if columns == 1 or head.multi_class == "ovr":
        return penalty + head.C * (weights @ np.logaddexp(0.0, -Y * Z))
    own = np.take_along_axis(Z, y[:, None], axis=1)
    loss = np.logaddexp.reduce(Z, axis=1) - own[:, 0]
    return np.array([penalty.sum() + head.C * weights @ loss])


def assert_same(ours: Any, theirs: Any, X: np.ndarray, y: np.ndarray, exact: bool) -> None:
    """`theirs` is a Pipeline of a StandardScaler and an estimator, or an estimator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's: not converged, no more precision
        theirs.fit(X, y)
    ours.fit(X, y)
    assert ours.converged_, ours.optimality_
    inner, inverse, mean, rows = theirs, np.ones(X.shape[1]), np.zeros(X.shape[1]), X
    if ours.standardize:
        scaler, inner = theirs[0], theirs[-1]
        inverse, mean, rows = 1.0 / scaler.scale_, scaler.mean_, scaler.transform(X)
    coef, bias = ours.coef_ / inverse, ours.intercept_ + ours.coef_ @ mean
    value = objective(ours, rows, y, coef, bias)
    reference = objective(
        ours, rows, y, np.atleast_2d(inner.coef_), np.atleast_1d(inner.intercept_)
    )
    assert (value <= reference * (1 + 1e-6) + 1e-12).all(), (value / reference - 1).max()
    a, b = ours.decision_function(X), theirs.decision_function(X)
    if exact or (reference <= value * (1 + 1e-9)).all():
        scale = np.abs(b).max()
        assert np.abs(a - b).max() <= 1e-3 * scale
        top = np.abs(b) if b.ndim == 1 else np.diff(np.sort(b, axis=1)[:, -2:], axis=1)[:, 0]
        clear = top > 2e-3 * scale
        assert (ours.predict(X) == theirs.predict(X))[clear].all()


@pytest.mark.parametrize("standardize", [False, True], ids=["raw", "standardized"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_svc(shape: str, kind: str, standardize: bool) -> None:
    for classes, C in zip((2, 3, 5, 4, 2), CS, strict=True):
        X, y = make_data(shape, kind, classes)
        theirs = svm.LinearSVC(C=C, dual=C > 1 and shape == "wide", tol=1e-9, max_iter=3000)
        theirs.set_params(random_state=0)
        ours = LinearSVC(C, standardize=standardize)
        assert_same(ours, _scaled(theirs, standardize), X, y, exact=C <= 1)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_linear_svc_with_hinge_loss(shape: str, kind: str) -> None:
    for classes, C in zip((2, 3, 5, 4, 2), CS, strict=True):
        X, y = make_data(shape, kind, classes)
        theirs = svm.LinearSVC(C=C, loss="hinge", tol=1e-8, max_iter=20000, random_state=0)
        ours = LinearSVC(C, loss="hinge", standardize=True)
        assert_same(ours, _scaled(theirs, True), X, y, exact=C <= 1e-3)


@pytest.mark.parametrize("multi_class", ["multinomial", "ovr"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_logistic_regression(shape: str, kind: str, multi_class: str) -> None:
    from sklearn.multiclass import OneVsRestClassifier

    for classes, C in zip((2, 3, 5, 4, 2), CS, strict=True):
        X, y = make_data(shape, kind, classes)
        theirs = linear_model.LogisticRegression(
            C=C, solver="newton-cholesky", tol=1e-9, max_iter=300
        )
        ours = LogisticRegression(C, multi_class=multi_class, standardize=True)
        if multi_class == "multinomial" or classes == 2:
            assert_same(ours, _scaled(theirs, True), X, y, exact=C <= 1)
            continue
        pipeline = _scaled(OneVsRestClassifier(theirs), True).fit(X, y)
        a, b = ours.fit(X, y).decision_function(X), pipeline.decision_function(X)
        assert ours.converged_
        if C <= 1:
            assert np.abs(a - b).max() <= 1e-3 * np.abs(b).max()


@pytest.mark.parametrize("standardize", [False, True], ids=["raw", "standardized"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", SHAPES)
def test_ridge(shape: str, kind: str, standardize: bool) -> None:
    for classes, alpha in zip((2, 3, 5, 4, 2), CS, strict=True):
        X, y = make_data(shape, kind, classes)
        theirs = linear_model.RidgeClassifier(alpha=alpha, solver="svd")
        ours = Ridge(alpha, standardize=standardize)
        assert_same(ours, _scaled(theirs, standardize), X, y, exact=alpha >= 1e-3)


@pytest.mark.parametrize("fit_intercept", [True, False])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("shape", SHAPES)
def test_options(shape: str, classes: int, fit_intercept: bool) -> None:
    X, y = make_data(shape, "unbalanced", classes)
    for weight in ("balanced", {0: 3.0, 1: 0.5, 2: 1.0, 3: 2.0}):
        if classes == 2 and isinstance(weight, dict):
            weight = {0: 3.0, 1: 0.5}
        shared = {"class_weight": weight, "fit_intercept": fit_intercept}
        for scaling in (1.0, 10.0):
            options = {**shared, "intercept_scaling": scaling}
            theirs = svm.LinearSVC(C=0.1, tol=1e-9, dual=False, max_iter=5000, **options)
            assert_same(LinearSVC(0.1, **options), theirs, X, y, exact=True)
        theirs = linear_model.LogisticRegression(
            C=0.3, solver="newton-cholesky", tol=1e-9, **shared
        )
        assert_same(LogisticRegression(0.3, **shared), theirs, X, y, exact=True)
        theirs = linear_model.RidgeClassifier(3.0, solver="cholesky", **shared)
        assert_same(Ridge(3.0, **shared), theirs, X, y, exact=True)


def test_many_classes() -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(100), 6)
    X = np.maximum(rng.standard_normal((100, 64))[y] + 0.7 * rng.standard_normal((600, 64)), 0.0)
    theirs = _scaled(svm.LinearSVC(C=0.1, dual=False, tol=1e-8), True)
    assert_same(LinearSVC(0.1, standardize=True), theirs, X, y, exact=True)
    theirs = _scaled(linear_model.LogisticRegression(C=0.1, tol=1e-9, max_iter=2000), True)
    assert_same(LogisticRegression(0.1, standardize=True), theirs, X, y, exact=True)


@pytest.mark.slow
@pytest.mark.parametrize(("C", "width"), [(1e-6, 48), (1e-2, 48), (1.0, 24), (1e6, 12)])
def test_a_thousand_classes_are_certified_optimal(C: float, width: int) -> None:
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(1000), 2)
    centres = rng.standard_normal((1000, width))
    X = np.maximum(centres[y] + 0.7 * rng.standard_normal((2000, width)), 0.0)
    head = LinearSVC(C, standardize=True).fit(X, y)
    assert head.converged_
    for k in (0, 499, 999):
        theirs = _scaled(svm.LinearSVC(C=C, dual=False, tol=1e-9, max_iter=3000), True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            theirs.fit(X, y == k)
        inner, scale = theirs[-1], theirs[0].scale_
        one = LinearSVC(C)
        rows, target = theirs[0].transform(X), (y == k).astype(int)
        bias = head.intercept_[k : k + 1] + head.coef_[k : k + 1] @ theirs[0].mean_
        ours = objective(one, rows, target, head.coef_[k : k + 1] * scale, bias)
        assert ours <= objective(one, rows, target, inner.coef_, inner.intercept_) * (1 + 1e-6)


def _scaled(estimator: Any, standardize: bool) -> Any:
    return make_pipeline(StandardScaler(), estimator) if standardize else estimator
