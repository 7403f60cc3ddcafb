"""The Newton direction: preconditioned conjugate gradients, or Cholesky where that is cheaper."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featx.heads.linear.design import AnyDesign
from featx.heads.linear.device import Array, beside, cast, dots, host, namespace, precision
from featx.heads.linear.losses import Loss

COUPLED_LIMIT = np.array([500])
"""Iterations for a loss whose columns are one problem, which is too large to factorise."""


def dot(loss: Loss, A: Array, B: Array) -> np.ndarray:
    """Return the inner products a problem, an ndarray: (K,), or (1,) where the columns are one."""
    if loss.separable:
        return host(dots(A, B, "ij,ij->j"))
    return host(dots(A, B, "ij,ij->")[None])


def newton_direction(
    design: AnyDesign,
    loss: Loss,
    curvature: Array,
    C: float,
    G: Array,
    diagonal: Array,
    accuracy: np.ndarray,
    hard: NDArray[np.bool_],
) -> tuple[Array, NDArray[np.bool_], int]:
    """Solve ``H P = -G``.

    Conjugate gradients are given the iterations that a factorisation costs; a problem that takes
    more is factorised, and factorised from then on, so that neither choice costs much more than the
    better one.

    Parameters
    ----------
    design, loss, C
        Of the objective.
    curvature : ndarray of shape (n, K)
        `loss.curvature` of the decision values.
    G, diagonal : ndarray of shape (r, K)
        Gradient, and diagonal of the Hessian.
    accuracy : ndarray of shape (K,) or (1,)
        Residual to reach over the first, a problem.
    hard : ndarray of shape (K,) or (1,), bool
        Problems to factorise at once; of coupled columns, to iterate on in float64.

    Returns
    -------
    P : ndarray of shape (r, K), float64
    hard : ndarray of bool
        With the problems added that took too many iterations.
    used : int
        Iterations.
    """
    P = namespace(G).zeros_like(G)
    if not loss.separable:
        dtype = np.float64 if hard.any() else np.float32
        P, solved, used = conjugate_gradients(
            design, loss, cast(curvature, dtype), C, G, diagonal, accuracy, COUPLED_LIMIT
        )
        return P, hard | ~solved, used
    hard = hard.copy()
    iterate = np.flatnonzero(~hard)
    used = 0
    if len(iterate):
        part = curvature[:, iterate]
        P[:, iterate], solved, used = conjugate_gradients(
            design,
            loss.take(iterate),
            cast(part, np.float32),
            C,
            G[:, iterate],
            diagonal[:, iterate],
            accuracy[iterate],
            _cost_ratio(design, part),
        )
        hard[iterate[~solved]] = True
    if hard.any():
        P[:, hard] = design.newton_steps(curvature[:, hard], C, G[:, hard])
    return P, hard, used


def _cost_ratio(design: AnyDesign, curvature: Array) -> np.ndarray:
    """Conjugate-gradient iterations that one factorisation costs, a problem.

    An iteration reads the float32 matrix and multiplies it, twice, by a column a problem.
    """
    problems = curvature.shape[1]
    active = host(namespace(curvature).count_nonzero(curvature, axis=0)).astype(float)
    iteration = design.rows * design.width * (2e-10 + problems * 2e-11) / problems
    return np.maximum(10.0, design.newton_step_seconds(active) / iteration)


def conjugate_gradients(
    design: AnyDesign,
    loss: Loss,
    curvature: Array,
    C: float,
    G: Array,
    diagonal: Array,
    accuracy: np.ndarray,
    limit: np.ndarray,
) -> tuple[Array, NDArray[np.bool_], int]:
    """Solve ``H P = -G``, preconditioned by `diagonal`, in the precision of `curvature`.

    Parameters are those of `newton_direction`, and `limit`, the iterations allowed a problem.

    Returns
    -------
    P : ndarray of shape (r, K), float64
    solved : ndarray of shape (K,) or (1,), bool
        False where the limit came first.
    used : int
        Iterations.
    """
    problems, dtype = len(accuracy), precision(curvature)
    zero, one = dtype(0.0), dtype(1.0)
    xp = namespace(G)
    unit = np.sqrt(dot(loss, G, G))
    unit[unit == 0] = 1.0
    product = design.hessian(loss, curvature, C)
    inverse = cast(1.0 / diagonal, dtype)
    R = cast(-G / beside(unit, G), dtype)
    result = xp.zeros_like(R)
    X = xp.zeros_like(R)
    P = S = inverse * R
    rs = dot(loss, R, S)
    target = accuracy**2 * rs
    solved = np.zeros(problems, dtype=bool)
    here = np.arange(problems)
    used = 0
    while True:
        HP = product(P)
        curve = dot(loss, P, HP)
        step = beside((rs / np.where(curve > 0, curve, np.inf)).astype(dtype), P)
        X += step * P
        R -= step * HP
        S = inverse * R
        before, rs = rs, dot(loss, R, S)
        used += 1
        done = (rs <= target) | (curve <= 0)
        solved[here[done]] = True
        going = ~done & (used < limit)
        if not going.any():
            break
        if loss.separable and going.mean() < 0.8:
            result[:, here] = X
            keep = np.flatnonzero(going)
            here, limit, target = here[keep], limit[keep], target[keep]
            X, R, P, S = X[:, keep], R[:, keep], P[:, keep], S[:, keep]
            inverse, before, rs = inverse[:, keep], before[keep], rs[keep]
            done, product = done[keep], product.take(keep)
        # A problem that is done waits for the others with a direction of zero.
        turn = np.where(done, 0.0, rs / np.maximum(before, np.finfo(dtype).tiny)).astype(dtype)
        P = P * beside(turn, P)
        P += beside(np.where(done, zero, one), P) * S
    if loss.separable:
        result[:, here] = X
    else:
        result = X
    return result * beside(unit, result), solved, used
