"""What the linear heads share: validation, the choice of space, prediction, the path."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _check_sample_weight,
    check_is_fitted,
    column_or_1d,
    validate_data,
)

from featx.errors import HeadError, SpecError
from featx.heads.linear.gram import gram_spaces
from featx.heads.linear.losses import Targets
from featx.heads.linear.sources import is_lazy
from featx.heads.linear.space import FeatureSpace, HeldSpace, Space
from featx.heads.linear.streaming import StreamedSpace
from featx.heads.linear.threads import product_threads

Array = NDArray[Any]

HELD_BYTES = 4 * 2**30
"""Training rows, as float64, above which they are streamed instead of held."""

POSITIVE = ("C", "alpha", "tol", "max_iter", "intercept_scaling")


@dataclass(frozen=True)
class Problem:
    """A linear head's training rows, ready to be solved for any C.

    Attributes
    ----------
    space : Space
        The rows on their axes.
    labels : ndarray of shape (n,), int
        Indices into `classes`.
    classes : ndarray
        Sorted.
    sample_weight : ndarray of shape (n,), float64
    targets : Targets
        One column a class, or one column alone for two classes, the second class positive.
    """

    space: Space
    labels: NDArray[np.integer]
    classes: np.ndarray
    sample_weight: Array
    targets: Targets


@dataclass(frozen=True)
class Outcome:
    """A solution on the axes.

    Attributes
    ----------
    Q : ndarray of shape (r, K)
    bias : ndarray of shape (K,)
    optimality : float
        By the measure that the head documents.
    converged : bool
    n_iter : int
    """

    Q: Array
    bias: Array
    optimality: float
    converged: bool
    n_iter: int


class LinearHead(ClassifierMixin, BaseEstimator):
    """A linear classifier on the principal axes of its training rows.

    A subclass is a scikit-learn estimator with the parameters `standardize` and `fit_intercept`,
    and solves a whole path of its `path_param`.
    """

    path_param: ClassVar[str]
    """Name of the parameter that `fit_path` runs along."""
    path_values: ClassVar[tuple[float, ...]]
    """Default values of the path, the most regularised first."""

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    """What a parameter may be, where it is one of a few names."""

    standardize: bool
    fit_intercept: bool

    def _centred(self) -> bool:
        raise NotImplementedError

    def _solve_path(self, problem: Problem, values: Sequence[float]) -> list[Outcome]:
        """Solve for `values`, given the most regularised first."""
        raise NotImplementedError

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the classifier.

        Parameters
        ----------
        X : array-like of shape (n, d), or a lazy matrix
        y : array-like of shape (n,)
            Class of each row.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self
        """
        problem = self._problem(X, y, sample_weight, fits=1)
        outcomes = self._path_outcomes(problem, [getattr(self, self.path_param)])
        self._accept([self], problem, outcomes)
        return self

    def fit_path(
        self,
        X: Any,
        y: Any,
        values: Sequence[float] | None = None,
        *,
        sample_weight: Any = None,
        rows: Any = None,
        space: Space | None = None,
    ) -> list[Self]:
        """Fit one classifier a value of `path_param`, each starting from its neighbour's solution.

        Parameters
        ----------
        X : array-like of shape (n, d), or a lazy matrix
        y : array-like of shape (n,)
            Class of each row of `X`.
        values : sequence of float, optional
            In any order; `path_values` by default.
        sample_weight : array-like of shape (n,), optional
        rows : array-like of int, optional
            The training rows of `X`; all by default.
        space : Space, optional
            The training rows' space, where it has been built (`gram_spaces`).

        Returns
        -------
        list of fitted classifiers
            Clones of this one, in the order of `values`.
        """
        values = [float(v) for v in (self.path_values if values is None else values)]
        heads = [clone(self).set_params(**{self.path_param: v}) for v in values]
        if not heads:
            return []
        problem = heads[0]._problem(X, y, sample_weight, rows, space, fits=len(values))
        outcomes = self._path_outcomes(problem, values)
        self._accept(heads, problem, outcomes)
        for head in heads[1:]:
            head.n_features_in_ = heads[0].n_features_in_
        return heads

    def path_decisions(
        self,
        X: Any,
        y: Any,
        values: Sequence[float] | None = None,
        *,
        rows: Any,
        held: Any,
        space: Space | None = None,
    ) -> list[Array]:
        """Return the decision values of held-out rows along the path, without coefficients.

        With fewer training rows than features nothing of the features' width is made, beyond one
        pass over their columns.

        Parameters
        ----------
        X, y, values, space
            As in `fit_path`; a `GramSpace` must have been built with these `held` rows.
        rows, held : array-like of int
            Training rows and rows to score.

        Returns
        -------
        list of ndarray of shape (len(held), K), or (len(held),) for two classes
        """
        values = [float(v) for v in (self.path_values if values is None else values)]
        rows, held = np.asarray(rows), np.asarray(held)
        if space is None:
            space = self._build_space(X, rows, held)
        head = clone(self)
        outcomes = head._path_outcomes(head._problem(X, y, None, rows, space), values)
        head._report(values, outcomes)
        axes = space.project(X, held)
        # One product for all values: the axes are read once.
        together = axes @ np.concatenate([o.Q for o in outcomes], axis=1)
        together += np.concatenate([o.bias for o in outcomes])
        scores = np.split(together, len(outcomes), axis=1)
        return [s[:, 0] if s.shape[1] == 1 else s for s in scores]

    def _check_parameters(self) -> None:
        """Raise for a parameter that cannot be used; a parameter is known by its name."""
        for name, value in self.get_params(deep=False).items():
            choices = self.choices.get(name)
            if choices and value not in choices:
                raise SpecError(f"{name}={value!r} cannot be used: write one of {choices}.")
            if name in POSITIVE and not (isinstance(value, Real) and 0 < float(value) < np.inf):
                raise SpecError(f"{name}={value!r} cannot be used: write a number above 0.")

    def _path_outcomes(self, problem: Problem, values: Sequence[float]) -> list[Outcome]:
        order = np.argsort(values, kind="stable")
        if self.path_param == "alpha":
            order = order[::-1]
        with product_threads(
            len(problem.labels) * min(len(problem.labels), len(problem.space.mean))
        ):
            solved = self._solve_path(problem, [values[i] for i in order])
        outcomes: list[Outcome | None] = [None] * len(values)
        for i, outcome in zip(order, solved, strict=True):
            outcomes[i] = outcome
        return [o for o in outcomes if o is not None]

    def _problem(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        rows: Any = None,
        space: Space | None = None,
        *,
        fits: int | None = None,
    ) -> Problem:
        self._check_parameters()
        if is_lazy(X) or space is not None:  # or checked when the space was built
            self.n_features_in_ = X.shape[1]
            y = column_or_1d(y)
            if len(y) != X.shape[0]:
                raise HeadError(
                    f"{X.shape[0]} rows of features but {len(y)} labels: give one each."
                )
        else:
            X, y = validate_data(self, X, y, dtype=[np.float64, np.float32])
        check_classification_targets(y)
        weight = np.ones(len(y))
        if sample_weight is not None:
            weight = _check_sample_weight(sample_weight, np.empty((len(y), 1)), dtype=np.float64)
        rows = np.arange(len(y)) if rows is None else np.asarray(rows)
        if space is None:  # a row without weight is no row
            rows = rows[weight[rows] > 0]
        y, weight = y[rows], weight[rows]
        classes, labels = np.unique(y, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(
                f"{type(self).__name__} needs at least 2 classes, but the training rows have "
                f"{len(classes)} class: give rows of another."
            )
        columns = len(classes) if len(classes) > 2 else 1
        axes = fits is None or self._axes_pay(len(rows), X.shape[1], columns, fits)
        space = space or self._build_space(X, rows, axes=axes)
        positive = labels if columns > 1 else np.where(labels == 1, 0, -1)
        return Problem(space, labels, classes, weight, Targets(positive, columns))

    def _axes_pay(self, rows: int, width: int, columns: int, fits: int) -> bool:
        """Return whether principal axes save so many fits of a path more than they cost."""
        return True

    def _build_space(
        self,
        X: Any,
        rows: NDArray[np.integer],
        held: NDArray[np.integer] | None = None,
        *,
        axes: bool = True,
    ) -> Space:
        standardize, centred = self.standardize, self._centred()
        if len(rows) < X.shape[1]:
            held_sets = None if held is None else [held]
            return gram_spaces(X, [rows], held_sets, standardize=standardize, centred=centred)[0]
        small = 8 * len(rows) * X.shape[1] <= HELD_BYTES
        kind = (HeldSpace if axes else FeatureSpace) if small else StreamedSpace
        return kind(X, rows, standardize=standardize, centred=centred)

    def _accept(
        self, heads: Sequence[LinearHead], problem: Problem, outcomes: Sequence[Outcome]
    ) -> None:
        coefs = problem.space.to_features(np.concatenate([o.Q for o in outcomes], axis=1))
        for head, outcome, coef in zip(
            heads, outcomes, np.split(coefs, len(outcomes), axis=1), strict=True
        ):
            head.classes_ = problem.classes
            head.coef_ = np.ascontiguousarray(coef.T)
            head.intercept_ = problem.space.intercepts(coef, outcome.bias)
            head.n_iter_ = outcome.n_iter
            head.optimality_ = outcome.optimality
            head.converged_ = outcome.converged
        self._report([getattr(head, self.path_param) for head in heads], outcomes)

    def _report(self, values: Sequence[float], outcomes: Sequence[Outcome]) -> None:
        failed = [f"{v:g}" for v, o in zip(values, outcomes, strict=True) if not o.converged]
        if failed:
            warnings.warn(
                f"{type(self).__name__} did not converge at {self.path_param}={', '.join(failed)}; "
                "raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def decision_function(self, X: Any) -> Array:
        """Return the decision values: (n, K), or (n,) of the second of two classes."""
        check_is_fitted(self)
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        scores = X @ self.coef_.T + self.intercept_
        return scores[:, 0] if scores.shape[1] == 1 else scores

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of each row of `X`."""
        scores = self.decision_function(X)
        chosen = (scores > 0).astype(int) if scores.ndim == 1 else scores.argmax(axis=1)
        return self.classes_[chosen]
