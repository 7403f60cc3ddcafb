"""The linear heads on PyTorch tensors find what they find in NumPy."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

from featx.errors import HeadError
from featx.heads.linear import classifier, device
from featx.heads.linear.losses import Logistic, Softmax, SquaredHinge, Targets
from featx.heads.linear_svc import LinearSVC
from featx.heads.logreg import LogisticRegression
from featx.heads.ridge import Ridge

HEADS = [
    LinearSVC(0.1, tol=1e-6),
    LinearSVC(100.0, standardize=True, class_weight="balanced", tol=1e-6),
    LinearSVC(0.1, loss="hinge", tol=1e-3),
    LogisticRegression(0.1, tol=1e-6),
    LogisticRegression(10.0, multi_class="ovr", standardize=True, tol=1e-6),
    Ridge(0.1),
    Ridge(10.0, standardize=True, class_weight="balanced"),
]


@pytest.fixture(autouse=True)
def numpy_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(device.VARIABLE, raising=False)
    device._device.cache_clear()


@pytest.fixture
def tensors(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what switches to tensors."""
    pytest.importorskip("torch", reason="PyTorch is not installed")
    return lambda: monkeypatch.setenv(device.VARIABLE, "torch:cpu")


def digits(rows: int, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    X, y = load_digits(return_X_y=True)
    keep = np.flatnonzero(y < classes)[:rows]
    return X[keep] / 16.0, y[keep]


def objective(head: Any, X: np.ndarray, y: np.ndarray) -> float:
    """The objective of a head that neither standardises nor weighs classes."""
    Z = X @ head.coef_.T + head.intercept_
    Y = np.where(y[:, None] == head.classes_, 1.0, -1.0)
    norm = 0.5 * (head.coef_**2).sum()
    if isinstance(head, Ridge):
        return head.alpha * 2.0 * norm + ((Y - Z) ** 2).sum()
    if isinstance(head, LinearSVC):
        slack = np.maximum(1.0 - Y * Z, 0.0)
        loss = slack.sum() if head.loss == "hinge" else (slack**2).sum()
        return norm + 0.5 * (head.intercept_**2).sum() + head.C * loss
    if head.multi_class == "ovr":
        return norm + head.C * np.logaddexp(0.0, -Y * Z).sum()
    return norm + head.C * (np.logaddexp.reduce(Z, axis=1) - Z[Y > 0]).sum()


def close(found: np.ndarray, wanted: np.ndarray, tol: float) -> None:
    assert np.linalg.norm(found - wanted) <= tol * np.linalg.norm(wanted)


@pytest.mark.parametrize("space", ["rows", "columns", "streamed", "two-classes"])
@pytest.mark.parametrize("head", HEADS, ids=repr)
def test_tensors_find_what_arrays_find(
    head: Any, space: str, tensors: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = digits(50 if space == "columns" else 200, 2 if space == "two-classes" else 10)
    if space == "streamed":
        if getattr(head, "loss", "") == "hinge":
            pytest.skip("the hinge loss is not streamed")
        monkeypatch.setattr(classifier, "HELD_BYTES", 0)
    wanted = clone(head).fit(X, y)
    tensors()
    found = clone(head).fit(X, y)
    assert isinstance(found.coef_, np.ndarray)
    assert found.converged_
    close(found.coef_, wanted.coef_, 1e-4)
    close(found.intercept_, wanted.intercept_, 1e-4)
    if not head.standardize and space != "two-classes":
        ratio = objective(found, X, y) / objective(wanted, X, y)
        assert abs(ratio - 1.0) <= 1e-6


def test_paths_and_their_decisions(tensors: Any) -> None:
    X, y = digits(120)
    rows, held = np.arange(40), np.arange(40, 120)  # fewer rows than features: the Gram matrix
    head, values = LinearSVC(standardize=True, tol=1e-6), [1e-4, 1e-2, 1e4]
    wanted = head.path_decisions(X, y, values, rows=rows, held=held)
    tensors()
    found = head.path_decisions(X, y, values, rows=rows, held=held)
    for a, b in zip(found, wanted, strict=True):
        close(a, b, 1e-4)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [SquaredHinge, Logistic, Softmax])
def test_losses(kind: Any, dtype: Any, tensors: Any) -> None:
    rng = np.random.default_rng(0)
    Z, V = (rng.normal(size=(30, 4)).astype(dtype) for _ in range(2))
    targets, weights = Targets(rng.integers(0, 4, 30), 4), rng.uniform(size=(30, 1))

    def everything() -> list[np.ndarray]:
        loss, z, v = kind(targets, weights), device.place(Z), device.place(V)
        curvature = loss.curvature(z)
        times = loss.hessian_times(curvature, device.copied(v), slice(None))
        all_of_it = loss.value(z), loss.gradient(z), curvature, loss.diagonal(curvature), times
        return [device.host(A) for A in all_of_it]

    wanted = everything()
    tensors()
    for found, want in zip(everything(), wanted, strict=True):
        assert found.dtype == want.dtype
        np.testing.assert_allclose(found, want, rtol=1e-5 if dtype is np.float32 else 1e-12)


def test_without_the_variable_pytorch_is_not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)  # makes importing it an error
    X, y = digits(100)
    assert all(A is X for A in (device.place(X), device.beside(X, X), device.host(X)))
    assert LinearSVC(0.1).fit(X, y).converged_


def test_pytorch_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setenv(device.VARIABLE, "torch:cpu")
    with pytest.raises(HeadError, match=r"'torch:cpu' needs PyTorch.*pip install torch"):
        LinearSVC(0.1).fit(*digits(100))


@pytest.mark.parametrize("name", ["cuda", "torch", "torch:", "jax:gpu"])
def test_no_such_choice(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, name)
    with pytest.raises(HeadError, match=rf"FEATX_HEADS_DEVICE='{name}' is no device.*'torch:cuda'"):
        Ridge().fit(*digits(100))


@pytest.mark.parametrize("name", ["torch:toaster", "torch:meta", "torch:cuda:99"])
def test_no_such_device(name: str, tensors: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, name)
    with pytest.raises(HeadError, match=rf"'{name}' is no device that PyTorch computes on"):
        Ridge().fit(*digits(100))
