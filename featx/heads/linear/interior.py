"""The hinge losses, by a primal-dual interior-point method.

The dual of one two-class problem is ``min 0.5 ‖Aᵀ(y∘α)‖² + 0.5 Σ ridge α² - Σα`` over
``0 <= α <= c``: with ridge 0 that of the hinge loss; with ``1 / (2c)``, and a bound beyond what α
can reach, that of the squared hinge. Its Newton systems are ``(Θ + B Bᵀ)`` with a positive diagonal
Θ and ``B = y∘A``, solved through a matrix the size of the design's width (Ferris and Munson 2002,
"Interior-point methods for massive support vector machines"), with Mehrotra's predictor and
corrector. The number of steps hardly depends on C.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from featx.errors import HeadError

Array = NDArray[Any]


def solve_hinge(
    A: Array, signs: Array, weights: Array, *, tol: float, max_iter: int, squared: bool = False
) -> tuple[Array, float, int]:
    """Minimise ``0.5 ‖w‖² + Σ weights · max(0, 1 - signs · A w)``, or with the maximum squared.

    Parameters
    ----------
    A : ndarray of shape (n, r), float64
    signs : ndarray of shape (n,)
        ±1.
    weights : ndarray of shape (n,)
        Of each row's loss; rows of weight 0 are left out.
    tol : float
        The duality gap over the objective to reach.
    max_iter : int
        Newton steps at most.
    squared : bool
        Minimise the squared hinge loss.

    Returns
    -------
    w : ndarray of shape (r,)
    gap : float
        Duality gap over the objective.
    n_iter : int
    """
    kept = weights > 0
    B, c = A[kept] * signs[kept, None], weights[kept]
    ridge = np.zeros_like(c)
    if squared:
        # At the optimum the loss is at most that of w = 0, which bounds each α = 2 c slack.
        ridge, c = 0.5 / c, 2.1 * np.sqrt(c * c.sum())
    alpha, room = 0.5 * c, 0.5 * c  # room is c - alpha, kept by itself for its last digits
    w = B.T @ alpha
    slack = 1.0 - B @ w - ridge * alpha
    # Multipliers of alpha >= 0 (low) and alpha <= c (high): low - high = B w - 1.
    low, high = np.maximum(-slack, 0.0) + 1.0, np.maximum(slack, 0.0) + 1.0
    best, best_gap, steps = B.T @ alpha, np.inf, 0
    while True:
        w, gap = _certify(B, c, ridge, alpha)
        stalled = gap > 0.5 * best_gap
        if gap < best_gap:
            best, best_gap = w, gap
        if stalled and best_gap > tol:
            w, gap = _polish(B, c, ridge, alpha, room, low, high)
            if gap < best_gap:
                best, best_gap = w, gap
        if best_gap <= tol or steps == max_iter:
            return best, best_gap, steps
        slack = 1.0 - B @ (B.T @ alpha) - ridge * alpha
        steps += 1
        residual = -slack - low + high
        mu = (alpha @ low + room @ high) / (2 * len(alpha))
        theta = low / alpha + high / room + ridge
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
            target = scaled.T @ rhs
            d_w = cho_solve(factor, target, check_finite=False)
            for _ in range(2):  # refined, since theta spans all magnitudes near the end
                d_w += cho_solve(factor, target - d_w - scaled.T @ (B @ d_w), check_finite=False)
            d_alpha = (rhs - B @ d_w) / theta
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
        alpha, room = alpha + reach_p * d_alpha, room - reach_p * d_alpha
        low, high = low + reach_d * d_low, high + reach_d * d_high


def _certify(B: Array, c: Array, ridge: Array, alpha: Array) -> tuple[Array, float]:
    """Return the coefficients of a feasible `alpha` and their duality gap over the objective."""
    w = B.T @ alpha
    slack = np.maximum(1.0 - B @ w, 0.0)
    loss = 0.5 * (slack**2 / ridge).sum() if ridge.any() else c @ slack
    primal, dual = 0.5 * w @ w + loss, alpha.sum() - 0.5 * w @ w - 0.5 * ridge @ alpha**2
    if primal <= 0:
        return w, 0.0
    return w, max(0.0, float((primal - dual) / primal))


def _polish(
    B: Array, c: Array, ridge: Array, alpha: Array, room: Array, low: Array, high: Array
) -> tuple[Array, float]:
    """Solve for the `alpha` inside their bounds, as the iterate tells them from those at one.

    Interior points lose their last digits where the margin is almost hard; the rows on the margin
    are known by then, and their multipliers are the solution of a linear system.
    """
    typical = alpha.mean()
    inside = (alpha / typical > low) & (room / typical > high)
    alpha = np.where(room / typical > high, 0.0, c)
    best = _certify(B, c, ridge, alpha)
    for _ in range(10):
        rows = np.flatnonzero(inside)
        if not len(rows):
            break
        A = B[rows]
        rest = np.where(inside, 0.0, alpha)
        S = A @ A.T + np.diag(ridge[rows])
        exact = np.linalg.lstsq(S, 1.0 - A @ (B.T @ rest), rcond=1e-14)[0]
        alpha = rest
        alpha[rows] = np.clip(exact, 0.0, c[rows])
        w, gap = _certify(B, c, ridge, alpha)
        if gap < best[1]:
            best = w, gap
        inside[rows] = (exact > 0) & (exact < c[rows])
        if inside[rows].all():
            break
    return best


def _factorise(H: Array) -> tuple:
    """Return Cholesky factors of `H`, its diagonal lifted as far as rounding asks for."""
    for lift in 1e-15, 1e-13, 1e-11, 1e-9, 1e-7:
        try:
            return cho_factor(H + lift * np.diag(np.diag(H)), check_finite=False)
        except LinAlgError:
            continue
    raise HeadError("The hinge loss's Newton system is not positive definite: scale the features.")


def _reach(value: Array, change: Array) -> float:
    """Return the longest step, up to 1/0.995, that keeps `value` positive."""
    falling = change < 0
    if not falling.any():
        return 1.0 / 0.995
    return float(min(1.0 / 0.995, (-value[falling] / change[falling]).min()))
