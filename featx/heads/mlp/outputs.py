"""The outputs of a network: one a label column, side by side in one last layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from sklearn.utils.class_weight import compute_class_weight

from featx.quiet import import_keras


class Outputs:
    """Label columns as numbers, their weights, and the loss over them.

    The loss of several columns is the sum of their cross-entropies.

    Parameters
    ----------
    y : ndarray of shape (n_rows, n_columns)
        Labels of the training rows.

    Attributes
    ----------
    classes : list of ndarray
        Sorted labels a column.
    widths : list of int
        Number of classes a column.
    weights : list of ndarray
        Weight a class, a column; ones until `weigh`.

    Raises
    ------
    ValueError
        A column has a single class.
    """

    def __init__(self, y: np.ndarray) -> None:
        self.classes = [np.unique(column) for column in y.T]
        self.widths = [len(classes) for classes in self.classes]
        self.weights = [np.ones(width) for width in self.widths]
        if min(self.widths) < 2:
            raise ValueError("MLP needs at least two classes; the training rows have 1 class")

    def encode(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return class numbers (n, n_columns), and which rows have known classes in all columns."""
        known = np.ones(len(y), dtype=bool)
        numbers = np.zeros(y.shape, np.int64)
        for i, classes in enumerate(self.classes):
            numbers[:, i] = np.searchsorted(classes, y[:, i])
            known &= np.isin(y[:, i], classes)
        return numbers, known

    def weigh(self, class_weight: Any, labels: np.ndarray) -> None:
        """Set the weight of each class, as scikit-learn's `class_weight`.

        Raises
        ------
        ValueError
            A dict, where there are several columns.
        """
        if isinstance(class_weight, dict) and len(self.widths) > 1:
            raise ValueError(
                "class_weight is a dict, but there are several label columns: use 'balanced'"
            )
        self.weights = [
            compute_class_weight(class_weight, classes=classes, y=classes[labels[:, i]])
            for i, classes in enumerate(self.classes)
        ]

    def loss(self) -> Any:
        """Return the loss to compile a network of logits with; it takes `targets`."""
        keras = import_keras()
        if len(self.widths) == 1:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        places, ops = _places(self.widths), keras.ops

        def summed(targets: Any, logits: Any) -> Any:
            total = 0.0
            for i, (start, stop) in enumerate(places):
                own = keras.losses.sparse_categorical_crossentropy(
                    ops.cast(targets[:, 2 * i], "int32"), logits[:, start:stop], from_logits=True
                )
                total = total + own * targets[:, 2 * i + 1]
            return total

        return summed

    def targets(self, labels: np.ndarray) -> Callable[[np.ndarray], tuple[Any, Any]]:
        """Return a function from row numbers to (targets, sample weights) for a training step.

        With several columns weights differ by column, so that they stand beside the labels in the
        targets, as float32: label, weight, label, weight.
        """
        rows = [w[labels[:, i]].astype(np.float32) for i, w in enumerate(self.weights)]
        if len(rows) == 1:
            column = labels[:, 0]
            return lambda batch: (column[batch], rows[0][batch])
        pairs = [part for i, w in enumerate(rows) for part in (labels[:, i], w)]
        table = np.stack(pairs, axis=1).astype(np.float32)
        return lambda batch: (table[batch], None)

    def watch(self, logits: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """Return the weighted log loss, summed over columns, and the accuracy, their mean."""
        loss, right = 0.0, []
        for i, found in enumerate(softmax_of_outputs(logits, self.widths)):
            own = np.maximum(found[np.arange(len(labels)), labels[:, i]], 1e-12)
            loss += float(np.average(-np.log(own), weights=self.weights[i][labels[:, i]]))
            right.append(float(np.mean(found.argmax(axis=1) == labels[:, i])))
        return loss, float(np.mean(right))


def softmax_of_outputs(logits: np.ndarray, widths: Sequence[int]) -> list[np.ndarray]:
    """Return the softmax of each output's logits, float64 (n_rows, width)."""
    return [_softmax(logits[:, start:stop]) for start, stop in _places(widths)]


def _places(widths: Sequence[int]) -> list[tuple[int, int]]:
    """First column of each output in the last layer, and the column after its last."""
    ends = np.cumsum(widths).tolist()
    return list(zip([0, *ends[:-1]], ends, strict=True))


def _softmax(logits: np.ndarray) -> np.ndarray:
    values = logits.astype(np.float64)
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)
