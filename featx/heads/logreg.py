"""Logistic regression, multinomial or one-vs-rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit
from sklearn.utils.class_weight import compute_sample_weight

from featx.heads.linear.classifier import Array, LinearHead, Outcome, Problem
from featx.heads.linear.losses import Logistic, Softmax, softmax
from featx.heads.linear.newton import Path, approach, minimise

STAGE = 100.0
"""Factor of the stages in which a large C is approached."""


class LogisticRegression(LinearHead):
    """Logistic regression with the objective of scikit-learn's `LogisticRegression`.

    ``0.5 ‖W‖² + C Σ_i c_i loss_i``, the intercept not penalised; the loss is the multinomial log
    loss, or with ``multi_class="ovr"`` the sum of a binary log loss a class. Two classes are one
    binary problem.

    Parameters
    ----------
    C : float
        Weight of the loss.
    multi_class : {"multinomial", "ovr"}
    standardize : bool
        Scale features to zero mean and unit variance first, as a StandardScaler before the
        classifier would; `coef_` and `intercept_` are of raw features all the same.
    class_weight : dict, "balanced" or None
        Weight of a class's rows.
    fit_intercept : bool
    tol : float
        The ratio ``‖gradient‖ / ‖W‖`` to reach (`featx.heads.linear.newton`); its square bounds the
        relative excess of the objective.
    max_iter : int
        Newton steps at most.

    Attributes
    ----------
    coef_ : ndarray of shape (K, d), `intercept_` : ndarray of shape (K,)
    classes_ : ndarray
    optimality_ : float
        The ratio reached.
    converged_ : bool
    n_iter_ : int
        Newton steps.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> head = LogisticRegression(standardize=True).fit(X, y)
    >>> head.converged_, round(head.score(X, y), 2)
    (True, 0.97)
    """

    path_param = "C"
    path_values = tuple(float(v) for v in np.logspace(-6, 2, 25))

    choices: ClassVar = {"multi_class": ("multinomial", "ovr")}

    def __init__(
        self,
        C: float = 1.0,
        *,
        multi_class: str = "multinomial",
        standardize: bool = False,
        class_weight: Mapping[Any, float] | str | None = None,
        fit_intercept: bool = True,
        tol: float = 2e-4,
        max_iter: int = 200,
    ) -> None:
        self.C = C
        self.multi_class = multi_class
        self.standardize = standardize
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept
        self.tol = tol
        self.max_iter = max_iter

    def _centred(self) -> bool:
        return self.fit_intercept

    def _axes_pay(self, rows: int, width: int, columns: int, fits: int) -> bool:
        """Return whether principal axes save so many fits of a path more than they cost.

        They cost 4 rows width² operations and a factorisation as long as that of 3 width rows.
        Where the features are scaled, they save about 50 products with the rows, of 4 rows width
        columns operations at float32, in one fit, and 250 on a path.
        """
        saved = 50 * min(fits, 5) * columns
        return not self.standardize or saved > width * (1 + 3 * width / rows)

    def _solve_path(self, problem: Problem, values: Sequence[float]) -> list[Outcome]:
        design = problem.space.design(free_intercept=self.fit_intercept)
        labels = problem.classes[problem.labels]
        weights = problem.sample_weight * compute_sample_weight(self.class_weight, labels)
        binary = problem.targets.columns == 1 or self.multi_class == "ovr"
        loss = (Logistic if binary else Softmax)(problem.targets, weights[:, None])
        outcomes = []
        start = approach(design, loss, values[0], problem.targets.columns, factor=STAGE)
        path = Path(start, np.log, 2)
        for C in values:
            found = minimise(design, loss, C, path.predict(C), tol=self.tol, max_iter=self.max_iter)
            Q = found.Q
            if not loss.separable and self.fit_intercept:
                Q[design.penalty == 0] -= Q[design.penalty == 0].mean()  # a common shift is free
            path.add(C, Q)
            worst = float(found.optimality.max())
            outcomes.append(Outcome(*design.split(Q), worst, worst <= self.tol, found.n_iter))
        return outcomes

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class: (n, number of classes), rows sum to one."""
        scores = self.decision_function(X)
        if scores.ndim == 1:
            p = expit(scores)
            return np.stack([1.0 - p, p], axis=1)
        if self.multi_class == "multinomial":
            return softmax(scores)
        p = expit(scores)
        return p / p.sum(axis=1, keepdims=True)

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of `predict_proba`."""
        return np.log(self.predict_proba(X))
