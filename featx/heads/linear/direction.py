"""The Newton direction: preconditioned conjugate gradients, or Cholesky where that is cheaper."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featx.heads.linear.design import Design
from featx.heads.linear.losses import Loss

Array = NDArray[Any]

COUPLED_LIMIT = 500
"""Iterations for a loss whose columns are one problem, of which no factorisation is tried."""


def dot(loss: Loss, A: Array, B: Array) -> Array:
    """Return the inner products a problem: (K,), or (1,) where the columns are one problem."""
    if loss.separable:
        return np.einsum("ij,ij->j", A, B)
    return np.einsum("ij,ij->", A, B)[None]


def newton_direction(
    design: Design,
    loss: Loss,
    curvature: Array,
    C: float,
    G: Array,
    diagonal: Array,
    accuracy: Array,
    factorise: NDArray[np.bool_],
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
    factorise : ndarray of shape (K,) or (1,), bool
        Problems to factorise at once.

    Returns
    -------
    P : ndarray of shape (r, K), float64
    factorise : ndarray of bool
        With the problems added that were given up.
    used : int
        Iterations.
    """
    if not loss.separable:
        limit = np.array([COUPLED_LIMIT])
        P, _, used = conjugate_gradients(design, loss, curvature, C, G, diagonal, accuracy, limit)
        return P, factorise, used
    P = np.zeros_like(G)
    factorise = factorise.copy()
    iterate = np.flatnonzero(~factorise)
    used = 0
    if len(iterate):
        P[:, iterate], solved, used = conjugate_gradients(
            design,
            loss.take(iterate),
            curvature[:, iterate],
            C,
            G[:, iterate],
            diagonal[:, iterate],
            accuracy[iterate],
            _cost_ratio(design, curvature[:, iterate]),
        )
        factorise[iterate[~solved]] = True
    for k in np.flatnonzero(factorise):
        P[:, k] = design.newton_step(curvature[:, k], C, G[:, k])
    return P, factorise, used


def _cost_ratio(design: Design, curvature: Array) -> Array:
    """Conjugate-gradient iterations that one factorisation costs, a problem."""
    problems = curvature.shape[1]
    rows = np.count_nonzero(curvature, axis=0).astype(float)
    short, long = np.minimum(rows, design.width), np.maximum(rows, design.width)
    factorisation = 2.0 * (short**2 * long + short**3 / 3)  # float64 costs twice float32
    # A product for few problems is bound by memory and costs what one for eight more does.
    iteration = 4.0 * design.rows * design.width * (problems + 8) / problems
    return np.maximum(10.0, factorisation / iteration)


def conjugate_gradients(
    design: Design,
    loss: Loss,
    curvature: Array,
    C: float,
    G: Array,
    diagonal: Array,
    accuracy: Array,
    limit: Array,
) -> tuple[Array, NDArray[np.bool_], int]:
    """Solve ``H P = -G`` in float32, preconditioned by the Hessian's `diagonal`.

    Parameters are those of `newton_direction`, and `limit`, the iterations allowed a problem.

    Returns
    -------
    P : ndarray of shape (r, K), float64
    solved : ndarray of shape (K,) or (1,), bool
        False where the limit came first.
    used : int
        Iterations.
    """
    problems = len(accuracy)
    unit = np.sqrt(dot(loss, G, G))
    unit[unit == 0] = 1.0
    product = design.hessian(loss, curvature.astype(np.float32), C)
    inverse = (1.0 / diagonal).astype(np.float32)
    R = (-G / unit).astype(np.float32)
    result = np.zeros(G.shape, dtype=np.float32)
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
        step = (rs / np.where(curve > 0, curve, np.inf)).astype(np.float32)
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
        P = P * np.where(done, 0.0, rs / np.maximum(before, 1e-45)).astype(np.float32)
        P += np.where(done, np.float32(0.0), np.float32(1.0)) * S
    if loss.separable:
        result[:, here] = X
    else:
        result = X
    return result * unit, solved, used
