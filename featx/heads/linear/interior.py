"""The hinge loss, by a primal-dual interior-point method.

The dual of one two-class problem is ``min 0.5 ‖Aᵀ(y∘α)‖² - Σα`` over ``0 <= α <= c``. Its Newton
systems are ``(Θ + B Bᵀ)`` with a positive diagonal Θ and ``B = y∘A``, solved through a matrix the
size of the design's width (Ferris and Munson 2002, "Interior-point methods for massive support
vector machines"), with Mehrotra's predictor and corrector. The number of steps hardly depends on C.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from featx.errors import HeadError

Array = NDArray[Any]


def solve_hinge(
    A: Array, signs: Array, bound: Array, *, tol: float, max_iter: int
) -> tuple[Array, float, int]:
    """Minimise ``0.5 ‖w‖² + Σ bound · max(0, 1 - signs · A w)``.

    Parameters
    ----------
    A : ndarray of shape (n, r), float64
    signs : ndarray of shape (n,)
        ±1.
    bound : ndarray of shape (n,)
        Weight of each row's loss; rows of weight 0 are left out.
    tol : float
        The duality gap over the objective to reach.
    max_iter : int
        Newton steps at most.

    Returns
    -------
    w : ndarray of shape (r,)
    gap : float
        Duality gap over the objective.
    n_iter : int
    """
    kept = bound > 0
    B, c = A[kept] * signs[kept, None], bound[kept]
    alpha = 0.5 * c
    w = B.T @ alpha
    slack = 1.0 - B @ w
    # Multipliers of alpha >= 0 (low) and alpha <= c (high): low - high = B w - 1.
    low, high = np.maximum(-slack, 0.0) + 1.0, np.maximum(slack, 0.0) + 1.0
    gap, steps = np.inf, 0
    best, best_gap = w, np.inf
    while True:
        w = B.T @ alpha
        slack = 1.0 - B @ w
        primal = 0.5 * w @ w + c @ np.maximum(slack, 0.0)
        gap = float((primal - (alpha.sum() - 0.5 * w @ w)) / primal) if primal > 0 else 0.0
        if gap < best_gap:
            best, best_gap = w, gap
        if best_gap <= tol or steps == max_iter:
            return best, max(best_gap, 0.0), steps
        steps += 1
        room = c - alpha
        residual = -slack - low + high
        mu = (alpha @ low + room @ high) / (2 * len(alpha))
        theta = low / alpha + high / room
        scaled = B / theta[:, None]
        H = B.T @ scaled
        H[np.diag_indices_from(H)] += 1.0
        factor = _factorise(H)

        def step(
            low_target: Array,
            high_target: Array,
            *,
            theta: Array = theta,
            scaled: Array = scaled,
            factor: tuple = factor,
            residual: Array = residual,
            alpha: Array = alpha,
            room: Array = room,
            low: Array = low,
            high: Array = high,
        ) -> tuple[Array, Array, Array]:
            """Solve for targets of ``alpha low`` and ``room high``."""
            rhs = (
                -residual + (low_target - alpha * low) / alpha - (high_target - room * high) / room
            )
            d_alpha = rhs / theta - scaled @ cho_solve(
                factor, B.T @ (rhs / theta), check_finite=False
            )
            d_low = (low_target - alpha * low - low * d_alpha) / alpha
            d_high = (high_target - room * high + high * d_alpha) / room
            return d_alpha, d_low, d_high

        zero = np.zeros_like(alpha)
        d_alpha, d_low, d_high = step(zero, zero)
        reach_p = min(_reach(alpha, d_alpha), _reach(room, -d_alpha))
        reach_d = min(_reach(low, d_low), _reach(high, d_high))
        ahead = (
            (alpha + reach_p * d_alpha) @ (low + reach_d * d_low)
            + (room - reach_p * d_alpha) @ (high + reach_d * d_high)
        ) / (2 * len(alpha))
        centre = (ahead / mu) ** 3 * mu
        d_alpha, d_low, d_high = step(centre - d_alpha * d_low, centre + d_alpha * d_high)
        reach_p = 0.995 * min(_reach(alpha, d_alpha), _reach(room, -d_alpha))
        reach_d = 0.995 * min(_reach(low, d_low), _reach(high, d_high))
        reach_p, reach_d = min(reach_p, 1.0), min(reach_d, 1.0)
        alpha = np.clip(alpha + reach_p * d_alpha, 1e-300, c * (1 - 1e-15))
        low, high = low + reach_d * d_low, high + reach_d * d_high


def _factorise(H: Array) -> tuple:
    """Cholesky factors of `H`, of which more is added to the diagonal where rounding asks for it."""
    for lift in 1e-15, 1e-13, 1e-11, 1e-9, 1e-7:
        try:
            return cho_factor(H + lift * np.diag(np.diag(H)), check_finite=False)
        except LinAlgError:
            continue
    raise HeadError("The hinge loss's Newton system is not positive definite: scale the features.")


def _reach(value: Array, change: Array) -> float:
    """The longest step, up to 1/0.995, that keeps `value` positive."""
    falling = change < 0
    if not falling.any():
        return 1.0 / 0.995
    return float(min(1.0 / 0.995, (-value[falling] / change[falling]).min()))
