"""The Newton direction: preconditioned conjugate gradients, or Cholesky where that is cheaper."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.heads.linear.design import AnyDesign
from featx.heads.linear.losses import Loss

Array = NDArray[Any]

COUPLED_LIMIT = np.array([500])
"""Iterations for a loss whose columns are one problem, which is too large to factorise."""


def dot(loss: Loss, A: Array, B: Array) -> Array:
    """Return the inner products a problem: (K,), or (1,) where the columns are one problem."""
    if loss.separable:
        return np.einsum("ij,ij->j", A, B)
    return np.einsum("ij,ij->", A, B)[None]


def newton_direction(
    design: AnyDesign,
    loss: Loss,
    curvature: Array,
    C: float,
    G: Array,
    diagonal: Array,
    accuracy: Array,
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
    P = np.zeros_like(G)
    if not loss.separable:
        dtype = np.float64 if hard.any() else np.float32
        P, solved, used = conjugate_gradients(
            design, loss, curvature.astype(dtype), C, G, diagonal, accuracy, COUPLED_LIMIT
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
            part.astype(np.float32),
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


def _cost_ratio(design: AnyDesign, curvature: Array) -> Array:
    """Conjugate-gradient iterations that one factorisation costs, a problem.

    An iteration reads the float32 matrix and multiplies it, twice, by a column a problem.
    """
    problems = curvature.shape[1]
    active = np.count_nonzero(curvature, axis=0).astype(float)
    iteration = design.rows * design.width * (2e-10 + problems * 2e-11) / problems
    return np.maximum(10.0, design.newton_step_seconds(active) / iteration)


def conjugate_gradients(
    design: AnyDesign,
    loss: Loss,
    curvature: Array,
    C: float,
    G: Array,
    diagonal: Array,
    accuracy: Array,
    limit: Array,
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
    problems, dtype = len(accuracy), curvature.dtype
    zero, one = dtype.type(0.0), dtype.type(1.0)
    unit = np.sqrt(dot(loss, G, G))
    unit[unit == 0] = 1.0
    product = design.hessian(loss, curvature, C)
    inverse = (1.0 / diagonal).astype(dtype)
    R = (-G / unit).astype(dtype)
    result = np.zeros(G.shape, dtype=dtype)
    X = np.zeros_like(R)
    P = S = inverse * R
    rs = dot(loss, R, S)
    target = accuracy**2 * rs
    solved = np.zeros(problems, dtype=bool)
    here = np.arange(problems)
    used = 0
    while True:
        HP = product(P)
        curve = dot(loss, P, HP)
        step = (rs / np.where(curve > 0, curve, np.inf)).astype(dtype)
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
        P = P * np.where(done, 0.0, rs / np.maximum(before, np.finfo(dtype).tiny)).astype(dtype)
        P += np.where(done, zero, one) * S
    if loss.separable:
        result[:, here] = X
    else:
        result = X
    return result * unit, solved, used
