"""What makes paths and choices fast must not change what comes out."""

from __future__ import annotations

import threading

import numpy as np
import pytest
from threadpoolctl import threadpool_info

from featx.heads.linear.gram import gram_spaces
from featx.heads.linear.newton import Path
from featx.heads.linear.space import HeldSpace
from featx.heads.linear.threads import product_threads, side_by_side
from featx.heads.linear_svc import LinearSVC
from featx.heads.logreg import LogisticRegression


def make_data(n: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(n) % 4
    X = rng.standard_normal((4, d))[y] + 2.0 * rng.standard_normal((n, d))
    return X.astype(np.float32), y


def test_a_path_goes_on_as_its_polynomial_says() -> None:
    def solution(C: float) -> np.ndarray:
        x = np.log10(C)
        return np.array([[1.0 + 2.0 * x - 3.0 * x**2]])

    path = Path(np.array([[7.0]]), np.log10, 2)
    assert path.predict(1.0) == 7.0
    for C in (1.0, 1.0, 10.0, 100.0):  # one twice
        path.add(C, solution(C))
    np.testing.assert_allclose(path.predict(1e3), solution(1e3))
    np.testing.assert_array_equal(path.predict(1e5), solution(100.0))  # too far to tell
    np.testing.assert_array_equal(path.predict(100.0), solution(100.0))


@pytest.mark.parametrize("head", [LinearSVC, LogisticRegression])
def test_a_path_takes_fewer_steps_than_fits_on_their_own(head: type) -> None:
    X, y = make_data(300, 20)
    values = np.logspace(-4, 2, 13)
    along = head(standardize=True).fit_path(X, y, values)
    alone = [head(C, standardize=True).fit(X, y) for C in values]
    assert sum(h.n_iter_ for h in along) < sum(h.n_iter_ for h in alone)
    for one, other in zip(along, alone, strict=True):
        scores, others = one.decision_function(X), other.decision_function(X)
        assert np.abs(scores - others).max() <= 3e-4 * np.abs(others).max()


@pytest.mark.parametrize("width", [20, 400], ids=["tall", "wide"])
@pytest.mark.parametrize("head", [LinearSVC, LogisticRegression])
def test_a_float32_space_gives_nearly_the_scores_of_a_float64_one(head: type, width: int) -> None:
    X, y = make_data(200, width)
    train, held = np.arange(150), np.arange(150, 200)
    found = []
    for dtype in (np.float32, np.float64):
        how = {"standardize": True, "centred": True, "dtype": dtype}
        if width > 150:
            (space,) = gram_spaces(X, [train], [held], **how)
        else:
            space = HeldSpace(X, train, **how)
        found.append(
            head(standardize=True).path_decisions(X, y, rows=train, held=held, space=space)
        )
    for single, double in zip(*found, strict=True):
        assert np.abs(single - double).max() <= 1e-3 * np.abs(double).max()


def test_tasks_run_in_order_side_by_side_and_leave_the_threads_as_they_were(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("featx.heads.linear.threads.cpu_count", lambda: 2)
    before = [library["num_threads"] for library in threadpool_info()]
    both = threading.Barrier(2, timeout=10)  # breaks where one waits for the other's end

    def task(number: int) -> int:
        both.wait()
        with product_threads(10):
            return number

    assert side_by_side([lambda: task(0), lambda: task(1)]) == [0, 1]
    with pytest.raises(ZeroDivisionError):
        side_by_side([lambda: 1 // 0, lambda: 1])
    assert [library["num_threads"] for library in threadpool_info()] == before
