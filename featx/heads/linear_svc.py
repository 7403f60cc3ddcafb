"""Linear support vector machine, one-vs-rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from featx.errors import HeadError
from featx.heads.linear.classifier import Array, LinearHead, Outcome, Problem
from featx.heads.linear.design import AnyDesign, Design
from featx.heads.linear.device import host
from featx.heads.linear.interior import solve_hinge
from featx.heads.linear.losses import SquaredHinge
from featx.heads.linear.newton import Path, approach, minimise

PATIENCE = 30
"""Newton steps after which the problems still open are started anew from interior points."""

STAGE = 6.0
"""Factor of the stages in which a large C is approached."""

HINGE_GAP = 1e-3
"""Relative duality gap of the hinge loss for a tolerance of 1."""


class LinearSVC(LinearHead):
    """Linear support vector machine with the objective of scikit-learn's `LinearSVC`.

    For each class, ``0.5 ‖w‖² + 0.5 (b / intercept_scaling)² + C Σ_i c_i max(0, 1 - y_i (w·x_i +
    b))²``, the intercept penalised as liblinear does. Of a class weight, too, liblinear's meaning:
    with more than two classes it applies to the rows of the class in the problem of that class, and
    the rest weigh one.

    Parameters
    ----------
    C : float
        Weight of the loss.
    loss : {"squared_hinge", "hinge"}
        "hinge" is solved one class at a time.
    standardize : bool
        Scale features to zero mean and unit variance first, as a StandardScaler before the
        classifier would; `coef_` and `intercept_` are of raw features all the same.
    class_weight : dict, "balanced" or None
    fit_intercept : bool
    intercept_scaling : float
        Value of the constant feature whose coefficient makes the intercept.
    tol : float
        For "squared_hinge" the ratio ``‖gradient‖ / ‖(w, b)‖`` to reach
        (`featx.heads.linear.newton`); its square bounds the relative excess of the objective. For
        "hinge" that excess is bounded directly: the duality gap over the objective is brought down
        to ``tol / 1000``.
    max_iter : int
        Newton steps at most.

    Attributes
    ----------
    coef_ : ndarray of shape (K, d), `intercept_` : ndarray of shape (K,)
    classes_ : ndarray
    optimality_ : float
        What was reached, of the worst class, by the measure that `tol` is of.
    converged_ : bool
    n_iter_ : int
        Newton steps.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> head = LinearSVC(C=0.1, standardize=True).fit(X, y)
    >>> head.converged_, round(head.score(X, y), 2)
    (True, 0.91)
    """

    path_param = "C"
    path_values = tuple(float(v) for v in np.logspace(-6, 2, 25))

    choices: ClassVar = {"loss": ("squared_hinge", "hinge")}

    def __init__(
        self,
        C: float = 1.0,
        *,
        loss: str = "squared_hinge",
        standardize: bool = False,
        class_weight: Mapping[Any, float] | str | None = None,
        fit_intercept: bool = True,
        intercept_scaling: float = 1.0,
        tol: float = 1e-4,
        max_iter: int = 200,
    ) -> None:
        self.C = C
        self.loss = loss
        self.standardize = standardize
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.intercept_scaling = intercept_scaling
        self.tol = tol
        self.max_iter = max_iter

    def _centred(self) -> bool:
        return self.standardize

    def _solve_path(self, problem: Problem, values: Sequence[float]) -> list[Outcome]:
        design = problem.space.design(
            intercept=self.intercept_scaling if self.fit_intercept else 0.0
        )
        weights = self._weights(problem)
        solve = self._solve_squared if self.loss == "squared_hinge" else self._solve_hinge
        return solve(problem, design, weights, values)

    def _weights(self, problem: Problem) -> Array:
        """Weights of the rows in each class's problem, (n, 1) or (n, K)."""
        weights = problem.sample_weight[:, None]
        if self.class_weight is None:
            return weights
        factor = compute_class_weight(
            self.class_weight,
            classes=problem.classes,
            y=problem.classes[problem.labels],
            sample_weight=problem.sample_weight,
        )
        if problem.targets.columns == 1:
            return weights * factor[problem.labels, None]
        weights = np.repeat(weights, problem.targets.columns, axis=1)
        weights[problem.targets.positive] *= factor[problem.labels]
        return weights

    def _solve_squared(
        self, problem: Problem, design: AnyDesign, weights: Array, values: Sequence[float]
    ) -> list[Outcome]:
        loss = SquaredHinge(problem.targets, weights)
        outcomes = []
        start = approach(design, loss, values[0], problem.targets.columns, factor=STAGE)
        path = Path(start, lambda C: 1.0 / C, 1)  # where the rows that count stay the same
        for C in values:
            first = min(self.max_iter, PATIENCE)
            found = minimise(design, loss, C, path.predict(C), tol=self.tol, max_iter=first)
            stuck = np.flatnonzero(found.optimality > self.tol)
            if len(stuck) and self.max_iter > first and isinstance(design, Design):
                found.Q[:, stuck] = self._from_inside(problem, design, C * weights, stuck)
            if len(stuck) and self.max_iter > first:
                left = self.max_iter - first
                found = minimise(design, loss, C, found.Q, tol=self.tol, max_iter=left)
                found.n_iter += first
            path.add(C, found.Q)
            worst = float(found.optimality.max())
            outcomes.append(Outcome(*design.split(found.Q), worst, worst <= self.tol, found.n_iter))
        return outcomes

    def _from_inside(
        self, problem: Problem, design: Design, weights: Array, columns: Array
    ) -> Array:
        """Solve by interior points where the margin is so hard that Newton's steps are short."""
        signs = problem.targets.signs()
        weights, A = np.broadcast_to(weights, signs.shape), host(design.matrix)
        solved = [
            solve_hinge(A, signs[:, k], weights[:, k], tol=1e-13, max_iter=60, squared=True)
            for k in columns
        ]
        return np.stack([w for w, _, _ in solved], axis=1)

    def _solve_hinge(
        self, problem: Problem, design: AnyDesign, weights: Array, values: Sequence[float]
    ) -> list[Outcome]:
        if not isinstance(design, Design):
            raise HeadError(
                f"{design.rows} rows of {design.width} features are too many for "
                "loss='hinge': use loss='squared_hinge'."
            )
        signs = problem.targets.signs()
        weights, A = np.broadcast_to(weights, signs.shape), host(design.matrix)
        outcomes = []
        for C in values:
            solved = [
                solve_hinge(
                    A,
                    signs[:, k],
                    C * weights[:, k],
                    tol=HINGE_GAP * self.tol,
                    max_iter=self.max_iter,
                )
                for k in range(signs.shape[1])
            ]
            Q = np.stack([w for w, _, _ in solved], axis=1)
            gap = max(g for _, g, _ in solved)
            steps = max(s for _, _, s in solved)
            outcomes.append(Outcome(*design.split(Q), gap, gap <= HINGE_GAP * self.tol, steps))
        return outcomes
