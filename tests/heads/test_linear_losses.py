"""The derivatives of the losses: a wrong Hessian still ends at the optimum, only later."""

from __future__ import annotations

import numpy as np
import pytest

from featx.heads.linear.losses import Logistic, Loss, Softmax, Targets


@pytest.mark.parametrize("weights", ["equal", "unequal"])
@pytest.mark.parametrize("kind", [Softmax, Logistic])
def test_derivatives_are_those_of_the_value(kind: type[Loss], weights: str) -> None:
    rng = np.random.default_rng(0)
    n, k, step = 12, 4, 1e-5
    w = np.ones((n, 1)) if weights == "equal" else rng.uniform(0.2, 3.0, (n, 1))
    loss = kind(Targets(rng.integers(0, k, n), k), w)
    Z, V = rng.normal(size=(n, k)), rng.normal(size=(n, k))
    change = loss.value(Z + step * V).sum() - loss.value(Z - step * V).sum()
    assert change / (2 * step) == pytest.approx(float((loss.gradient(Z) * V).sum()), rel=1e-6)
    slope = (loss.gradient(Z + step * V) - loss.gradient(Z - step * V)) / (2 * step)
    rows = slice(3, 9)  # asked for by blocks of rows
    found = loss.hessian_times(loss.curvature(Z), V[rows].copy(), rows)
    np.testing.assert_allclose(found, slope[rows], rtol=1e-6, atol=1e-9)
