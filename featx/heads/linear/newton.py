"""Truncated Newton for L2-regularised losses, all problems of a classifier advancing together.

Minimised is ``0.5 Σ_j penalty_j Q_jk² + C · loss(A Q)`` over `Q` of shape (r, K). A step solves
``H P = -gradient`` by conjugate gradients, preconditioned by the diagonal of the Hessian, in which
every product is one matrix product for all problems (Lin, Weng and Keerthi 2008, "Trust region
Newton method for logistic regression", with an exact line search in place of the trust region).
The design's columns are its principal axes (`featx.heads.linear.design`), which is what makes the
diagonal a good preconditioner. Gradients are float64, the products inside conjugate gradients
float32: the outer iteration refines the inner one's rounding away. Problems for which conjugate
gradients cost more than a Cholesky factorisation of their Hessian get the factorisation.

Optimality is measured by ``‖gradient‖ / ‖Q‖``. The objective is 1-strongly convex in the penalised
coordinates, so a value of t certifies ``‖Q - Q*‖ <= t ‖Q‖``; and half the squared gradient norm is
exactly the duality gap, so the objective is within a factor 1 + t² of its optimum.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from featx.heads.linear.design import Design
from featx.heads.linear.losses import Loss

Array = NDArray[np.floating]

ROUNDING = 1e-13
"""A gradient this small against the terms that it is the sum of is zero."""


@dataclass
class Solution:
    """What `minimise` found.

    Attributes
    ----------
    Q : ndarray of shape (r, K)
        Coefficients on the design's columns.
    optimality : ndarray of shape (K,) or (1,)
        The optimality measure a problem.
    converged : bool
        Whether every problem reached the tolerance.
    n_iter : int
        Newton steps, of the slowest problem.
    products : int
        Hessian products, each for all problems still open.
    """

    Q: Array
    optimality: Array
    converged: bool
    n_iter: int
    products: int


def minimise(
    design: Design, loss: Loss, C: float, Q: Array, *, tol: float, max_iter: int
) -> Solution:
    """Minimise the objective from the start `Q`.

    Parameters
    ----------
    design : Design
        `A`, with n rows and r columns.
    loss : Loss
        Of n rows and K columns.
    C : float
        Weight of the loss.
    Q : ndarray of shape (r, K)
        Where to start; zeros, or the solution at another C.
    tol : float
        The optimality measure to reach.
    max_iter : int
        Newton steps at most.
    """
    Q = np.array(Q, dtype=np.float64)
    penalty = design.penalty[:, None]
    open_ = np.arange(Q.shape[1])
    optimality = np.zeros(Q.shape[1] if loss.separable else 1)
    Z = design.forward(Q)
    products = steps = 0
    first: Array | None = None
    direct = np.zeros(len(optimality), dtype=bool)
    stuck = np.zeros(len(optimality), dtype=int)
    while True:
        part = loss.take(open_) if loss.separable else loss
        D = part.curvature(Z[:, open_])
        R = part.gradient(Z[:, open_])
        q = Q[:, open_]
        G = penalty * q + C * design.adjoint(R)
        diagonal = penalty + C * design.diagonal(part.diagonal(D.astype(np.float32)))
        size, rounding, floor = _gradient_size(design, part, G, R, C, diagonal)
        norm = np.sqrt(_dot(part, penalty * q, q))
        reached = size / np.maximum(norm, np.finfo(float).tiny)
        reached[size <= floor] = 0.0
        where = open_ if loss.separable else np.zeros(1, dtype=int)
        optimality[where] = reached
        todo = reached > tol
        if not todo.any() or steps == max_iter:
            break
        if loss.separable and not todo.all():
            keep = np.flatnonzero(todo)
            part, open_ = part.take(keep), open_[keep]
            D, G, diagonal, reached = D[:, keep], G[:, keep], diagonal[:, keep], reached[keep]
        where = open_ if loss.separable else np.zeros(1, dtype=int)
        P, used, tried = _newton_direction(
            design, part, D, C, G, diagonal, reached, tol, direct[where]
        )
        direct[where] = tried
        products += used
        ZP = design.forward(P)
        t = _line_search(part, C, penalty, Q[:, open_], P, Z[:, open_], ZP)
        Q[:, open_] += t * P
        Z[:, open_] += t * ZP
        steps += 1
    return Solution(Q, optimality, bool((optimality <= tol).all()), steps, products)
