"""Classification by ridge regression."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_sample_weight

from featx.heads.linear.classifier import LinearHead, Outcome, Problem


class Ridge(LinearHead):
    """Ridge regression on targets of ±1, with the objective of scikit-learn's `RidgeClassifier`.

    ``Σ_i c_i (y_i - w·x_i - b)² + alpha ‖w‖²`` a class, the intercept not penalised. One
    eigendecomposition serves every `alpha`.

    Parameters
    ----------
    alpha : float
        Weight of the penalty.
    standardize : bool
        Scale features to zero mean and unit variance first, as a StandardScaler before the
        classifier would; `coef_` and `intercept_` are of raw features all the same.
    class_weight : dict, "balanced" or None
        Weight of a class's rows.
    fit_intercept : bool

    Attributes
    ----------
    coef_ : ndarray of shape (K, d), `intercept_` : ndarray of shape (K,)
    classes_ : ndarray
    optimality_, converged_, n_iter_
        Of a closed form: 0.0, True and 1.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> round(Ridge(standardize=True).fit(X, y).score(X, y), 2)
    0.85
    """

    path_param = "alpha"
    path_values = tuple(float(v) for v in np.logspace(6, -2, 25))

    def __init__(
        self,
        alpha: float = 1.0,
        *,
        standardize: bool = False,
        class_weight: Mapping[Any, float] | str | None = None,
        fit_intercept: bool = True,
    ) -> None:
        self.alpha = alpha
        self.standardize = standardize
        self.class_weight = class_weight
        self.fit_intercept = fit_intercept

    def _centred(self) -> bool:
        return self.fit_intercept

    def _solve_path(self, problem: Problem, values: Sequence[float]) -> list[Outcome]:
        labels = problem.classes[problem.labels]
        weights = problem.sample_weight * compute_sample_weight(self.class_weight, labels)
        Y, total = problem.targets.signs(), weights.sum()
        sum_A, square, cross = problem.space.design().moments(weights, Y)
        mean_A, mean_Y = np.zeros(len(sum_A)), np.zeros(Y.shape[1])
        if self.fit_intercept:
            mean_A, mean_Y = sum_A / total, weights @ Y / total
            square = square - total * np.outer(mean_A, mean_A)
            cross = cross - total * np.outer(mean_A, mean_Y)
        values_A, rotation = np.linalg.eigh(square)
        correlation = rotation.T @ cross
        outcomes = []
        for alpha in values:
            Q = rotation @ (correlation / (np.maximum(values_A, 0.0) + alpha)[:, None])
            outcomes.append(Outcome(Q, mean_Y - mean_A @ Q, 0.0, True, 1))
        return outcomes
