"""95% intervals of one run's metrics, over the choice of test rows."""

from __future__ import annotations

import math

import numpy as np

NORMAL_975 = 1.959963984540054
"""97.5% quantile of the standard normal distribution."""


def bootstrap_accuracy(n_right: int, n_rows: int, level: float = 0.95) -> tuple[float, float]:
    """Return the percentile bootstrap interval of an accuracy, exactly.

    A bootstrap resample draws n rows with replacement, each right with probability
    n_right/n_rows: its accuracy is a binomial count over n. So the percentiles are those of the
    binomial distribution, and no resampling is needed.

    Parameters
    ----------
    n_right, n_rows : int
    level : float

    Returns
    -------
    low, high : float
        Both equal the accuracy where all rows are right or all wrong, which claims more than is
        known: see `wilson_interval`.
    """
    cumulated = np.cumsum(binomial_pmf(n_rows, n_right / n_rows))
    tail = (1 - level) / 2
    low = int(np.searchsorted(cumulated, tail * (1 - 1e-12)))
    high = int(np.searchsorted(cumulated, (1 - tail) * (1 - 1e-12)))
    return low / n_rows, min(high, n_rows) / n_rows


def wilson_interval(n_right: int, n_rows: int) -> tuple[float, float]:
    """Return the 95% score interval of a share; sensible at 0, at 1 and for few rows.

    Wilson, Probable inference, the law of succession, and statistical inference (1927).
    """
    z2, p = NORMAL_975**2, n_right / n_rows
    middle = (p + z2 / (2 * n_rows)) / (1 + z2 / n_rows)
    half = math.sqrt(p * (1 - p) / n_rows + z2 / (4 * n_rows**2)) / (1 + z2 / n_rows)
    half *= NORMAL_975
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_mean(
    values: np.ndarray, *, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a mean over test rows.

    Rows of one value are alike, so a resample is one multinomial draw over the distinct values.

    Parameters
    ----------
    values : ndarray of shape (n_rows,)
        A number a row with few distinct values: the share of draws that have it right.
    draws : int
        Resamples.
    seed : int
    level : float

    Returns
    -------
    low, high : float
    """
    distinct, counts = np.unique(np.round(np.asarray(values, np.float64), 12), return_counts=True)
    n = int(counts.sum())
    rng = np.random.default_rng(seed)
    means = rng.multinomial(n, counts / n, size=draws) @ distinct / n
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_macro_f1(
    confusion: np.ndarray, *, draws: int = 2000, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """Return the percentile bootstrap interval of macro F1.

    Resampling rows is resampling the cells of the confusion matrix from a multinomial
    distribution, so all draws are made at once, over the cells that are not empty.

    Parameters
    ----------
    confusion : ndarray of shape (n_classes, n_classes)
    draws : int
        Resamples.
    seed : int
    level : float

    Returns
    -------
    low, high : float
    """
    rng = np.random.default_rng(seed)
    k = len(confusion)
    true, predicted = np.nonzero(confusion)
    n = int(confusion.sum())
    counts = rng.multinomial(n, confusion[true, predicted] / n, size=draws).astype(np.float64)
    by_true = counts @ np.eye(k)[true]
    by_predicted = counts @ np.eye(k)[predicted]
    right = counts @ (np.eye(k)[true] * (true == predicted)[:, None])
    below = by_true + by_predicted
    f1 = np.divide(2 * right, below, out=np.zeros_like(right), where=below > 0)
    present = by_true > 0
    macro = (f1 * present).sum(axis=1) / present.sum(axis=1)
    low, high = np.quantile(macro, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def binomial_pmf(n: int, p: float) -> np.ndarray:
    """Return the chances of 0 to n successes of chance p in n trials; shape (n + 1,), float64."""
    if p in (0.0, 1.0):
        pmf = np.zeros(n + 1)
        pmf[n if p else 0] = 1
        return pmf
    log_factorial = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    k = np.arange(n + 1)
    log_pmf = log_factorial[n] - log_factorial - log_factorial[::-1]
    pmf = np.exp(log_pmf + k * math.log(p) + (n - k) * math.log1p(-p))
    return pmf / pmf.sum()
