"""Truncated Newton for L2-regularised losses, all problems of a classifier advancing together.

Minimised is ``0.5 Σ_j penalty_j Q_jk² + C · loss(A Q)`` over `Q` of shape (r, K). A step solves
``H P = -gradient`` by conjugate gradients, preconditioned by the diagonal of the Hessian, in which
every product is one matrix product for all problems (Lin, Weng and Keerthi 2008, "Trust region
Newton method for logistic regression", with an exact line search in place of the trust region).
The design's columns are its principal axes (`featx.heads.linear.design`), which is what makes the
diagonal a good preconditioner. Gradients are float64, the products inside conjugate gradients
float32: the outer iteration refines the inner one's rounding away. Problems for which conjugate
gradients would cost more than a Cholesky factorisation of their Hessian get the factorisation.

Optimality is measured by ``‖gradient‖ / ‖Q‖``. The objective is 1-strongly convex in the penalised
coordinates, so a value of t certifies ``‖Q - Q*‖ <= t ‖Q‖``; and half the squared gradient norm is
exactly the duality gap, so the objective is within a factor 1 + t² of its optimum. An intercept
without penalty counts by its gradient over the root of its curvature.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featx.heads.linear.design import Design
from featx.heads.linear.losses import Loss

Array = NDArray[np.floating]

ROUNDING = 1e-14
"""A gradient this small against the terms that it is the sum of counts as zero."""


@dataclass
class Solution:
    """What `minimise` found.

    Attributes
    ----------
    Q : ndarray of shape (r, K)
        Coefficients on the design's columns.
    optimality : float
        The optimality measure of the worst problem.
    n_iter : int
        Newton steps, of the slowest problem.
    products : int
        Hessian products, each for all problems then open.
    """

    Q: Array
    optimality: float
    n_iter: int
    products: int


def minimise(
    design: Design, loss: Loss, C: float, start: Array, *, tol: float, max_iter: int
) -> Solution:
    """Minimise the objective.

    Parameters
    ----------
    design : Design
        `A`, with n rows and r columns.
    loss : Loss
        Of n rows and K columns.
    C : float
        Weight of the loss.
    start : ndarray of shape (r, K)
        Zeros, or the solution at another C.
    tol : float
        The optimality measure to reach.
    max_iter : int
        Newton steps at most.
    """
    result = np.array(start, dtype=np.float64)
    problems = result.shape[1] if loss.separable else 1
    optimality = np.zeros(problems)
    factorise = np.zeros(problems, dtype=bool)
    penalty = design.penalty[:, None]
    here = np.arange(result.shape[1])  # the columns of the problems still open
    Q, Z = result, design.forward(result)
    products = steps = 0
    while True:
        slope = loss.gradient(Z)
        curvature = loss.curvature(Z)
        G = penalty * Q + C * design.adjoint(slope)
        diagonal = penalty + C * design.diagonal(loss.diagonal(curvature))
        reached = _optimality(design, loss, C, Q, G, slope, diagonal)
        result[:, here] = Q
        optimality[here if loss.separable else slice(None)] = reached
        todo = np.flatnonzero(reached > tol)
        if not len(todo) or steps == max_iter:
            break
        if loss.separable and len(todo) < len(here):
            here, loss, reached = here[todo], loss.take(todo), reached[todo]
            Q, Z, G = Q[:, todo], Z[:, todo], G[:, todo]
            curvature, diagonal = curvature[:, todo], diagonal[:, todo]
        choice = factorise[here] if loss.separable else factorise
        P, used = _direction(design, loss, curvature, C, G, diagonal, choice)
        factorise[here if loss.separable else slice(None)] = choice
        products += used
        ZP = design.forward(P)
        t = _line_search(loss, C, penalty, Q, P, Z, ZP)
        Q = Q + t * P
        Z = Z + t * ZP
        steps += 1
    return Solution(result, float(optimality.max(initial=0.0)), steps, products)


def _dot(loss: Loss, A: Array, B: Array) -> Array:
    """Inner products a problem."""
    if loss.separable:
        return np.einsum("ij,ij->j", A, B)
    return np.einsum("ij,ij->", A, B)[None]


def _optimality(
    design: Design, loss: Loss, C: float, Q: Array, G: Array, slope: Array, diagonal: Array
) -> Array:
    free = design.penalty == 0
    scaled = G.copy()
    scaled[free] /= np.sqrt(np.maximum(diagonal[free], np.finfo(float).tiny))
    size = np.sqrt(_dot(loss, scaled, scaled))
    norm = np.sqrt(_dot(loss, Q[~free], Q[~free]))
    terms = C * design.largest * np.sqrt(_dot(loss, slope, slope))
    size[size <= ROUNDING * terms] = 0.0
    return size / np.maximum(norm, np.finfo(float).tiny)


def _direction(
    design: Design,
    loss: Loss,
    curvature: Array,
    C: float,
    G: Array,
    diagonal: Array,
    factorise: NDArray[np.bool_],
) -> tuple[Array, int]:
    """Solve ``H P = -G``; sets `factorise` where conjugate gradients were given up."""
    if not loss.separable:
        limit = np.array([500.0])
    else:
        limit = _cost_ratio(design, curvature, G.shape[1])
    P = np.zeros_like(G)
    iterate = np.flatnonzero(~factorise | (limit < 0)) if loss.separable else np.arange(G.shape[1])
    used = 0
    if len(iterate):
        part = loss.take(iterate) if loss.separable else loss
        P[:, iterate], solved, used = _conjugate_gradients(
            design,
            part,
            curvature[:, iterate],
            C,
            G[:, iterate],
            diagonal[:, iterate],
            limit[iterate] if loss.separable else limit,
        )
        if loss.separable:
            factorise[iterate[~solved]] = True
    if loss.separable:
        for k in np.flatnonzero(factorise):
            P[:, k] = design.newton_step(curvature[:, k], C, G[:, k])
    return P, used


def _cost_ratio(design: Design, curvature: Array, problems: int) -> Array:
    """Conjugate-gradient iterations that one factorisation costs, a problem."""
    rows = np.count_nonzero(curvature, axis=0).astype(float)
    wide, tall = np.minimum(rows, design.width), np.maximum(rows, design.width)
    factorisation = 2.0 * (wide**2 * tall + wide**3 / 3)  # float64: twice float32's cost
    # A product for few problems is bound by memory and costs what one for several more does.
    iteration = 4.0 * design.rows * design.width * (problems + 8) / problems
    return np.maximum(10.0, factorisation / iteration)


def _conjugate_gradients(
    design: Design,
    loss: Loss,
    curvature: Array,
    C: float,
    G: Array,
    diagonal: Array,
    limit: Array,
    accuracy: float = 0.05,
) -> tuple[Array, NDArray[np.bool_], int]:
    """Solve ``H P = -G`` in float32 to a relative `accuracy` in the preconditioned norm.

    Returns
    -------
    P : ndarray of shape (r, K), float64
    solved : ndarray of shape (K,) or (1,), bool
        False where the iteration `limit` came first.
    used : int
        Iterations.
    """
    problems = G.shape[1] if loss.separable else 1
    unit = np.sqrt(_dot(loss, G, G))
    unit[unit == 0] = 1.0
    product = design.hessian(loss, curvature.astype(np.float32), np.float32(C))
    here = np.arange(problems)
    inverse = (1.0 / diagonal).astype(np.float32)
    R = (-G / unit).astype(np.float32)
    result = np.zeros(G.shape, dtype=np.float32)
    X = np.zeros_like(R)
    S = inverse * R
    P = S
    rs = _dot(loss, R, S)
    target = accuracy**2 * rs
    solved = np.zeros(problems, dtype=bool)
    used = 0
    while True:
        HP = product(P)
        curve = _dot(loss, P, HP)
        alpha = rs / np.where(curve > 0, curve, np.inf)
        X = X + alpha * P
        R = R - alpha * HP
        S = inverse * R
        before, rs = rs, _dot(loss, R, S)
        used += 1
        done = (rs <= target) | (curve <= 0)
        solved[here[done]] = True
        going = ~done & (used < limit)
        if not going.any():
            break
        beta = np.where(done, 0.0, rs / np.where(before > 0, before, 1.0)).astype(np.float32)
        P = S + beta * P
        if loss.separable and going.mean() < 0.8:
            result[:, here] = X
            keep = np.flatnonzero(going)
            here, limit = here[keep], limit[keep]
            X, R, P, inverse = X[:, keep], R[:, keep], P[:, keep], inverse[:, keep]
            rs, target = rs[keep], target[keep]
            product = product.take(keep)
    if loss.separable:
        result[:, here] = X
    else:
        result = X
    return result * unit, solved, used


def _line_search(
    loss: Loss, C: float, penalty: Array, Q: Array, P: Array, Z: Array, ZP: Array
) -> Array:
    """Return the steps along `P`, a problem, at which the slope is a quarter of that at zero.

    Slopes are compared, not values: near the optimum differences of values drown in rounding.
    """
    quadratic = _dot(loss, penalty * P, P)
    linear = _dot(loss, penalty * P, Q)
    at_zero = linear + C * _dot(loss, loss.gradient(Z), ZP)
    t = np.ones_like(quadratic)
    low, high = np.zeros_like(t), np.full_like(t, np.inf)
    here = np.arange(len(t))
    for _ in range(30):
        now = t[here]
        Zt = Z + now * ZP
        slope = linear + now * quadratic + C * _dot(loss, loss.gradient(Zt), ZP)
        going = np.abs(slope) > 0.25 * np.abs(at_zero)
        if not going.any():
            break
        bend = quadratic + C * _dot(
            loss, ZP, loss.hessian_times(loss.curvature(Zt), ZP.copy(), slice(None))
        )
        low = np.where(slope < 0, now, low)
        high = np.where(slope > 0, now, high)
        guess = now - slope / np.maximum(bend, np.finfo(float).tiny)
        middle = np.where(np.isfinite(high), 0.5 * (low + high), 10.0 * now)
        inside = (guess > low) & (guess < np.minimum(high, 10.0 * now))
        t[here] = np.where(going, np.where(inside, guess, middle), now)
        if loss.separable and not going.all():
            keep = np.flatnonzero(going)
            here, loss, Z, ZP = here[keep], loss.take(keep), Z[:, keep], ZP[:, keep]
            quadratic, linear, at_zero = quadratic[keep], linear[keep], at_zero[keep]
            low, high = low[keep], high[keep]
    return t
