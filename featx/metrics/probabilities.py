"""Metrics of predicted probabilities, and the temperature that makes scores probabilities."""

from __future__ import annotations

import numpy as np

CALIBRATION_BINS = 15
"""Bins of the expected calibration error, of equal width over (0, 1]."""


def softmax(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Return exp(scores / temperature), each row divided by its sum; float64."""
    values = np.asarray(scores, np.float64) / temperature
    values = np.exp(values - values.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def log_loss(y_true: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean of -ln(probability of the row's class), in nats.

    Probabilities below float64's rounding unit (2.2e-16) count as that, as in scikit-learn.
    """
    own = np.take_along_axis(probabilities, np.asarray(y_true, np.int64)[:, None], axis=1)
    return float(-np.log(np.maximum(own, np.finfo(np.float64).eps)).mean())


def expected_calibration_error(
    y_true: np.ndarray, probabilities: np.ndarray, bins: int = CALIBRATION_BINS
) -> float:
    """Return the mean gap between confidence and accuracy.

    Confidence is the largest probability of a row. Rows fall into `bins` bins of equal width over
    (0, 1], right edge included; the gap of a bin, |accuracy - mean confidence|, weighs its share
    of rows. Guo et al., On calibration of modern neural networks (2017), equation 3.

    Parameters
    ----------
    y_true : ndarray of shape (n_rows,), int
    probabilities : ndarray of shape (n_rows, n_classes)
    bins : int

    Returns
    -------
    float
        From 0 to 1.
    """
    confidence = probabilities.max(axis=1)
    right = (probabilities.argmax(axis=1) == y_true).astype(np.float64)
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidence))


def entropy_bits(probabilities: np.ndarray) -> np.ndarray:
    """Return the entropy -Σ p log2 p of each row, in bits: 0 is sure, log2(n_classes) at a loss."""
    p = np.asarray(probabilities, np.float64)
    return -(p * np.log2(p, out=np.zeros_like(p), where=p > 0)).sum(axis=1) + 0.0


def fit_temperature(scores: np.ndarray, y: np.ndarray, *, iterations: int = 200) -> float:
    """Return the T for which softmax(scores / T) has the least log loss.

    Temperature scaling (Guo et al., 2017) leaves the order of the classes alone. The labels are
    smoothed by 1/(n + 2), as Platt (1999) does, so that scores that separate all rows do not ask
    for T = 0. The loss is convex in 1/T, whose derivative's root is found by bisection.

    Parameters
    ----------
    scores : ndarray of shape (n_rows, n_classes)
        Scores of rows that the scoring head was not fitted on.
    y : ndarray of shape (n_rows,), int
        Columns of `scores`.
    iterations : int
        Halvings at most.

    Returns
    -------
    float
        Above 0; 1 where the scores say nothing (all equal).
    """
    s = np.asarray(scores, np.float64)
    n = len(s)
    s = s - s.max(axis=1, keepdims=True)
    spread = float(np.abs(s).max(initial=0))
    if not spread:
        return 1.0
    s /= spread
    smooth = 1 / (n + 2)
    own = np.take_along_axis(s, np.asarray(y, np.int64)[:, None], axis=1)[:, 0]
    wanted = float(((1 - smooth) * own + smooth * s.mean(axis=1)).mean())

    def slope(sharpness: float) -> float:
        return float((softmax(s * sharpness) * s).sum(axis=1).mean()) - wanted

    # With the best sharpness negative or 0 the scores mislead: as flat as the range allows.
    low, high = 1e-3, 1e6
    if slope(low) >= 0:
        return spread / low
    for _ in range(iterations):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if slope(middle) < 0 else (low, middle)
        if high / low < 1 + 1e-9:
            break
    return spread / (low * high) ** 0.5
