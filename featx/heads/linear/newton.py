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

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from featx.heads.linear.design import AnyDesign
from featx.heads.linear.device import Array, beside, copied, host, place, precision
from featx.heads.linear.direction import dot, newton_direction
from featx.heads.linear.losses import Loss

ROUGH = 0.03
"""The optimality measure up to which decision values and gradients are float32."""

STALLS = 4
"""Steps without halving the smallest gradient so far after which a problem counts as hard."""

STAGE_TOL, STAGE_STEPS = 0.3, 10
"""Optimality measure and Newton steps of a stage of `approach`."""


@dataclass
class Solution:
    """What `minimise` found.

    Attributes
    ----------
    Q : ndarray of shape (r, K)
        Coefficients on the design's columns.
    optimality : ndarray of shape (K,) or (1,)
        The optimality measure a problem.
    n_iter : int
        Newton steps, of the slowest problem.
    products : int
        Hessian products, each for all problems then open.
    """

    Q: np.ndarray
    optimality: np.ndarray
    n_iter: int
    products: int


def minimise(
    design: AnyDesign, loss: Loss, C: float, start: np.ndarray, *, tol: float, max_iter: int
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
    result = place(np.array(start, dtype=np.float64))
    problems = result.shape[1] if loss.separable else 1
    optimality = np.zeros(problems)
    last_size, best = np.full(problems, np.inf), np.full(problems, np.inf)
    hard = np.zeros(problems, dtype=bool)  # not for conjugate gradients in float32
    stalls = np.zeros(problems, dtype=int)
    penalty = place(design.penalty[:, None])
    here = np.arange(result.shape[1])  # columns of the problems still open
    dtype: type[np.floating] = np.float32
    Q, Z = copied(result), design.forward(result, dtype)
    products = steps = 0
    while True:
        which = here if loss.separable else slice(None)
        slope, curvature = loss.gradient(Z), loss.curvature(Z)
        bend = loss.diagonal(curvature)
        G = penalty * Q + C * design.adjoint(slope)
        diagonal = penalty + C * design.diagonal(bend, by_row=loss.separable)
        size, norm, rounding = _sizes(design, loss, C, Q, G, Z, slope, bend, diagonal)
        halved = size < 0.5 * best[which]
        stalls[which] = np.where(halved, 0, stalls[which] + 1)
        best[which] = np.where(halved, size, best[which])
        rough = (size <= np.maximum(ROUGH * norm, 10 * rounding)) | (stalls[which] > 1)
        if dtype is np.float32 and (rough | hard[which]).any():
            dtype = np.float64  # the end game: from here on, all but the directions is float64
            Z = design.forward(Q, dtype)
            stalls[:] = 0
            continue
        fall = np.minimum(size / last_size[which], 1.0)
        reached = np.where(size <= rounding, 0.0, size / norm)
        optimality[which], last_size[which] = reached, size
        hard |= stalls >= STALLS
        result[:, here] = Q
        todo = np.flatnonzero(reached > tol)
        if not len(todo) or steps == max_iter:
            break
        # Solve the more exactly the faster the gradient falls, but no further than `tol` asks for.
        floor = np.clip(0.5 * tol / np.maximum(reached, tol), 3e-3, 0.1)
        accuracy = np.where(steps, np.clip(fall**2, floor, 0.1), 0.1)
        if loss.separable and len(todo) < len(here):
            here, which, loss, accuracy = here[todo], here[todo], loss.take(todo), accuracy[todo]
            Q, Z, G = Q[:, todo], Z[:, todo], G[:, todo]
            curvature, diagonal = curvature[:, todo], diagonal[:, todo]
        P, hard[which], used = newton_direction(
            design, loss, curvature, C, G, diagonal, accuracy, hard[which]
        )
        products += used
        ZP = design.forward(P, dtype)
        t = _line_search(loss, C, penalty, Q, P, Z, ZP)
        Q = Q + beside(t, Q) * P
        Z = Z + beside(t.astype(dtype), Z) * ZP
        steps += 1
    return Solution(host(result), optimality, steps, products)


def approach(design: AnyDesign, loss: Loss, C: float, columns: int, *, factor: float) -> Array:
    """Return where to start at `C`: about the solution at a smaller one, reached in stages.

    From zeros, the first steps at a large C are short, as each changes which rows count.

    Parameters
    ----------
    design, loss, C
        Of the objective.
    columns : int
        K.
    factor : float
        Between the values of the stages; the first shrinks every axis.

    Returns
    -------
    ndarray of shape (r, K)
    """
    Q = np.zeros((design.width, columns))
    stage = 4.0 / max(design.largest**2, float(np.finfo(np.float32).tiny))
    while 1.5 * stage < C:
        Q = minimise(design, loss, stage, Q, tol=STAGE_TOL, max_iter=STAGE_STEPS).Q
        stage *= factor
    return Q


class Path:
    """The solutions along a path of C so far, and what they say of the next.

    Parameters
    ----------
    start : ndarray of shape (r, K)
        For the first value.
    abscissa : callable
        Function of C along which the solutions are about a polynomial.
    degree : int
        Of the polynomial.
    """

    def __init__(self, start: Array, abscissa: Callable[[float], float], degree: int) -> None:
        self._start, self._abscissa = start, abscissa
        self._found: deque[tuple[float, Array]] = deque(maxlen=degree + 1)

    def add(self, C: float, Q: Array) -> None:
        """Take in the solution at `C`."""
        x = self._abscissa(C)
        if self._found and self._found[-1][0] == x:
            self._found.pop()
        self._found.append((x, Q))

    def predict(self, C: float) -> Array:
        """Return the polynomial through the last solutions at `C`, which is to be the next value.

        A value farther off than the last two are from each other starts from the last.
        """
        if not self._found:
            return self._start
        x = self._abscissa(C)
        known = [x0 for x0, _ in self._found]
        last = self._found[-1][1]
        if len(known) < 2 or not 0 < abs(x - known[-1]) < 1.5 * abs(known[-1] - known[-2]):
            return last
        Q = np.zeros_like(last)
        for x0, Q0 in self._found:
            others = [x1 for x1 in known if x1 != x0]
            Q += np.prod([(x - x1) / (x0 - x1) for x1 in others]) * Q0
        return Q


def _sizes(
    design: AnyDesign,
    loss: Loss,
    C: float,
    Q: Array,
    G: Array,
    Z: Array,
    slope: Array,
    bend: Array,
    diagonal: Array,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the norms of gradient and coefficients, and what rounding may add to the former."""
    free = design.penalty == 0
    scaled = copied(G)
    if free.any():
        scaled[free] /= diagonal[free].clip(np.finfo(float).tiny) ** 0.5
    size = np.sqrt(dot(loss, scaled, scaled))
    norm = np.sqrt(dot(loss, Q[~free], Q[~free]))
    # The slopes are as wrong as the decision values that they are taken at, and the sum over the
    # rows as the slopes are large.
    moved = bend * Z
    terms = np.sqrt((dot(loss, slope, slope) + dot(loss, moved, moved)).astype(float))
    rounding = 0.1 * np.finfo(precision(slope)).eps * C * design.largest * terms
    return size, np.maximum(norm, 1e-30 * np.maximum(size, 1.0)), rounding


def _line_search(
    loss: Loss, C: float, penalty: Array, Q: Array, P: Array, Z: Array, ZP: Array
) -> np.ndarray:
    """Return the steps along `P`, a problem, at which the slope is a quarter of that at zero.

    Slopes are compared, not values: near the optimum differences of values drown in rounding.
    """
    quadratic = dot(loss, penalty * P, P)
    linear = dot(loss, penalty * P, Q)
    at_zero = linear + C * dot(loss, loss.gradient(Z), ZP)
    t = np.ones_like(quadratic)
    low, high = np.zeros_like(t), np.full_like(t, np.inf)
    here = np.arange(len(t))
    for _ in range(30):
        now = t[here]
        Zt = Z + beside(now, Z) * ZP
        slope = linear + now * quadratic + C * dot(loss, loss.gradient(Zt), ZP)
        going = np.abs(slope) > 0.25 * np.abs(at_zero)
        if not going.any():
            break
        bend = quadratic + C * dot(
            loss, ZP, loss.hessian_times(loss.curvature(Zt), copied(ZP), slice(None))
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
