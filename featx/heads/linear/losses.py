"""Losses of linear classifiers, for all one-vs-rest problems at once.

A loss maps decision values `Z` of shape (n, K) to the data term of the objective
``0.5 ‖w‖² + C · loss``, and to its derivatives with respect to `Z`. The targets are kept as the
positions of the positive entries, since there is at most one a row: every other entry is negative.
"""

from __future__ import annotations

from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from featx.heads.linear.device import (
    Array,
    beside,
    cast,
    copied,
    dots,
    expit,
    host,
    namespace,
    place,
    positive_part,
    precision,
)


class Targets:
    """Which entries of an (n, K) array are positive: at most one a row.

    Parameters
    ----------
    labels : ndarray of shape (n,), int
        The column that is positive in each row; -1 is none.
    columns : int
        K.
    """

    def __init__(self, labels: NDArray[np.integer], columns: int) -> None:
        self.labels, self.columns = labels, columns
        self.positive = (np.flatnonzero(labels >= 0), labels[labels >= 0])

    def keep(self, columns: NDArray[np.integer]) -> Targets:
        """Return the targets of some of the columns."""
        position = np.full(self.columns + 1, -1)
        position[columns] = np.arange(len(columns))
        return Targets(position[self.labels], len(columns))

    def positive_beside(self, like: Array) -> tuple[Array, Array]:
        """Return rows and columns of the positive entries, for arrays that are where `like` is."""
        rows, columns = self.positive
        return beside(rows, like), beside(columns, like)

    def signs(self) -> NDArray[Any]:
        """Return ±1 as an (n, K) array."""
        signs = np.full((len(self.labels), self.columns), -1.0)
        signs[self.positive] = 1.0
        return signs


class Loss(Protocol):
    """What the solver asks of a loss; `Z` and results are (n, K) unless said otherwise."""

    separable: bool
    """Whether each column is a problem of its own."""

    def value(self, Z: Array) -> Array:
        """Return the loss a problem, an ndarray: (K,), or (1,) where the columns are one."""

    def gradient(self, Z: Array) -> Array:
        """Return d loss / d Z."""

    def curvature(self, Z: Array) -> Array:
        """Return what `diagonal` and `hessian_times` need to know of `Z`."""

    def diagonal(self, curvature: Array) -> Array:
        """Return d² loss / d Z_ik²."""

    def hessian_times(self, curvature: Array, V: Array, rows: slice) -> Array:
        """Return the Hessian in Z times `V`, both at `rows` alone; overwrites `V`."""

    def take(self, columns: NDArray[np.integer]) -> Loss:
        """Return the loss of some of the problems; only asked of a separable loss."""


class OneVsRest:
    """A loss of which each column is a two-class problem of its own.

    Parameters
    ----------
    targets : Targets
    weights : ndarray of shape (n, K) or (n, 1)
        What each entry's loss counts for.
    """

    separable = True

    def __init__(self, targets: Targets, weights: Array) -> None:
        self.targets, self.weights = targets, place(weights)
        self._positive = targets.positive_beside(self.weights)

    def take(self, columns: NDArray[np.integer]) -> Self:
        """Return the loss of some of the problems."""
        weights = self.weights if self.weights.shape[1] == 1 else self.weights[:, columns]
        return type(self)(self.targets.keep(columns), weights)

    def weights_as(self, dtype: Any) -> Array:
        """Return the weights in the precision of the decision values."""
        return cast(self.weights, dtype)

    def flip(self, Z: Array) -> Array:
        """Change the sign of the positive entries of `Z`, in place."""
        Z[self._positive] = -Z[self._positive]
        return Z

    def diagonal(self, curvature: Array) -> Array:
        """Return d² loss / d Z_ik²."""
        return curvature

    def hessian_times(self, curvature: Array, V: Array, rows: slice) -> Array:
        """Return the Hessian in Z times `V`; overwrites `V`."""
        V *= curvature[rows]
        return V


class SquaredHinge(OneVsRest):
    """``Σ c max(0, 1 - y z)²``, the loss of scikit-learn's `LinearSVC`."""

    def _slack(self, Z: Array) -> Array:
        slack = self.flip(copied(Z))
        slack += 1.0
        return positive_part(slack)

    def value(self, Z: Array) -> Array:
        """Return the loss a problem."""
        slack = self._slack(Z)
        slack *= slack
        weights = namespace(Z).broadcast_to(self.weights, Z.shape)
        return host(dots(weights, slack, "ij,ij->j"))

    def gradient(self, Z: Array) -> Array:
        """Return d loss / d Z."""
        slack = self._slack(Z)
        slack *= 2.0 * self.weights_as(precision(Z))
        return self.flip(slack)

    def curvature(self, Z: Array) -> Array:
        """Return what the Hessian needs to know of `Z`."""
        active = self.flip(copied(Z)) > -1.0
        return 2.0 * self.weights_as(precision(Z)) * active


class Logistic(OneVsRest):
    """``Σ c log(1 + exp(-y z))``."""

    def value(self, Z: Array) -> Array:
        """Return the loss a problem."""
        xp = namespace(Z)
        loss = xp.logaddexp(xp.zeros_like(Z[:1]), self.flip(copied(Z)))
        return host(dots(xp.broadcast_to(self.weights, Z.shape), loss, "ij,ij->j"))

    def gradient(self, Z: Array) -> Array:
        """Return d loss / d Z."""
        p = expit(self.flip(copied(Z)))
        p *= self.weights_as(precision(Z))
        return self.flip(p)

    def curvature(self, Z: Array) -> Array:
        """Return what the Hessian needs to know of `Z`."""
        p = expit(-abs(Z))
        return self.weights_as(precision(Z)) * p * (1.0 - p)


class Softmax:
    """``Σ c (logsumexp(z) - z_y)``: multinomial logistic regression.

    Parameters
    ----------
    targets : Targets
    weights : ndarray of shape (n, 1)
        What each row's loss counts for.
    """

    separable = False

    def __init__(self, targets: Targets, weights: Array) -> None:
        self._equal = bool((weights == 1).all())
        self.weights = place(weights)
        self._positive = targets.positive_beside(self.weights)

    def value(self, Z: Array) -> Array:
        """Return the loss a problem."""
        xp = namespace(Z)
        top = xp.amax(Z, axis=1)
        total = xp.log(xp.exp(Z - top[:, None]).sum(axis=1)) + top
        return host(dots(self.weights[:, 0], total - Z[self._positive], "i,i->")[None])

    def gradient(self, Z: Array) -> Array:
        """Return d loss / d Z."""
        p = softmax(Z)
        p[self._positive] -= 1.0
        p *= self.weights
        return p

    def curvature(self, Z: Array) -> Array:
        """Return what the Hessian needs to know of `Z`."""
        return softmax(Z)

    def diagonal(self, curvature: Array) -> Array:
        """Return d² loss / d Z_ik²."""
        return cast(self.weights * curvature * (1.0 - curvature), precision(curvature))

    def hessian_times(self, curvature: Array, V: Array, rows: slice) -> Array:
        """Return the Hessian in Z times `V`; overwrites `V`."""
        p = curvature[rows]
        V *= p  # asked for a block of rows at a time: every call counts
        V -= p * V.sum(1)[:, None]
        if not self._equal:
            V *= self.weights[rows]
        return V

    def take(self, columns: NDArray[np.integer]) -> Softmax:
        """Return the loss of some of the problems."""
        raise NotImplementedError("the columns of a softmax are one problem")


def softmax(Z: Array) -> Array:
    """Return ``exp(Z)`` with rows scaled to sum to one."""
    xp = namespace(Z)
    p = Z - xp.amax(Z, axis=1, keepdims=True)
    xp.exp(p, out=p)
    p /= p.sum(axis=1, keepdims=True)
    return p
