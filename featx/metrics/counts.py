"""Metrics of counted rows: confusion matrix, precision, recall, F1, top-k accuracy."""

from __future__ import annotations

import numpy as np


def confusion_matrix(y_true: np.ndarray, y_pred: np.ndarray, n_classes: int) -> np.ndarray:
    """Count rows by true class (row) and predicted class (column).

    Parameters
    ----------
    y_true, y_pred : ndarray of shape (n_rows,), int
        Class numbers, 0 to n_classes - 1.
    n_classes : int

    Returns
    -------
    ndarray of shape (n_classes, n_classes), int64

    Raises
    ------
    ValueError
        No row, unequal lengths, or a class number out of range.
    """
    y_true, y_pred = np.asarray(y_true), np.asarray(y_pred)
    if y_true.shape != y_pred.shape or y_true.ndim != 1 or not len(y_true):
        raise ValueError(
            f"y_true and y_pred have shapes {y_true.shape} and {y_pred.shape}: "
            "both must be one-dimensional, of one length and not empty"
        )
    for name, values in (("y_true", y_true), ("y_pred", y_pred)):
        if values.min() < 0 or values.max() >= n_classes:
            raise ValueError(
                f"{name} has class numbers {values.min()} to {values.max()}: "
                f"they must be from 0 to {n_classes - 1}"
            )
    cells = y_true.astype(np.int64) * n_classes + y_pred
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)


def per_class_counts(confusion: np.ndarray) -> dict[str, np.ndarray]:
    """Return precision, recall, F1 and support of each class.

    What divides by zero (the precision of a class never predicted, the recall of a class without
    rows) is 0.

    Parameters
    ----------
    confusion : ndarray of shape (n_classes, n_classes)

    Returns
    -------
    dict of str to ndarray of shape (n_classes,)
        "precision", "recall", "f1", "support".
    """
    right = np.diagonal(confusion).astype(np.float64)
    support, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    return {
        "precision": _ratio(right, predicted),
        "recall": _ratio(right, support),
        "f1": _ratio(2 * right, support + predicted),
        "support": support,
    }


def macro_average(values: np.ndarray, support: np.ndarray) -> float:
    """Return the mean over the classes that have test rows; of the others nothing is known."""
    return float(values[support > 0].mean())


def top_k_accuracy(y_true: np.ndarray, scores: np.ndarray, k: int) -> float | None:
    """Return the share of rows whose class is among the k best scored.

    Where the class is tied across rank k, the row counts the chance that it is among the k when
    ties are broken at random, so that constant scores give k/n_classes and not 0 or 1.

    Parameters
    ----------
    y_true : ndarray of shape (n_rows,), int
    scores : ndarray of shape (n_rows, n_classes)
    k : int

    Returns
    -------
    float or None
        None where there are no more than k classes: it would always be 1.
    """
    if scores.shape[1] <= k:
        return None
    own = np.take_along_axis(scores, np.asarray(y_true, np.int64)[:, None], axis=1)
    better = (scores > own).sum(axis=1)
    tied = (scores == own).sum(axis=1)
    return float(np.clip((k - better) / tied, 0, 1).mean())


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(len(above)), where=below > 0)
