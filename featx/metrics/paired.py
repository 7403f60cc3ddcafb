"""Two runs on the same test rows: is the difference more than the choice of rows explains?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.metrics.intervals import binomial_pmf


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> tuple[int, int, float]:
    """Return McNemar's exact test of two classifiers on the same rows.

    Only the rows that one has right and the other wrong tell; under no difference each is a fair
    coin, so the p-value is two-sided binomial.

    Parameters
    ----------
    right_a, right_b : ndarray of shape (n_rows,), bool

    Returns
    -------
    only_a, only_b : int
        Rows that a alone, and b alone, has right.
    p : float
        1 where no row differs.
    """
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    n = only_a + only_b
    if n == 0:
        return 0, 0, 1.0
    tail = float(binomial_pmf(n, 0.5)[: min(only_a, only_b) + 1].sum())
    return only_a, only_b, min(1.0, 2 * tail)


def sign_flip_test(differences: np.ndarray, *, draws: int = 20_000, seed: int = 0) -> float:
    """Return the two-sided p-value of a paired permutation test.

    Under no difference each row's difference is as likely to have the other sign. For right/wrong
    differences (-1, 0, 1) this is McNemar's exact test; for means over several draws it is its
    natural extension. Rows of equal size of difference are flipped together by one binomial draw.

    Parameters
    ----------
    differences : ndarray of shape (n_rows,)
        Score of a minus score of b, a row.
    draws : int
        Random sign patterns; the p-value is never below 1/(draws + 1).
    seed : int

    Returns
    -------
    float
    """
    d = np.round(np.asarray(differences, np.float64), 12)
    sizes, counts = np.unique(np.abs(d[d != 0]), return_counts=True)
    if not len(sizes):
        return 1.0
    rng = np.random.default_rng(seed)
    positive = rng.binomial(counts, 0.5, size=(draws, len(counts)))
    sums = (2 * positive - counts) @ sizes
    as_far = np.abs(sums) >= abs(d.sum()) - 1e-9
    return float((1 + as_far.sum()) / (1 + draws))


def paired_bootstrap(
    score_a: np.ndarray,
    score_b: np.ndarray,
    *,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> tuple[float, float, float]:
    """Return the mean difference of two runs and its percentile bootstrap interval.

    The same resampled rows count for both. Rows with one difference are alike, so a resample is
    one multinomial draw over the distinct differences.

    Parameters
    ----------
    score_a, score_b : ndarray of shape (n_rows,)
        A number a test row: right (1) or wrong (0), or its mean over draws.
    draws : int
        Resamples.
    seed : int
    level : float

    Returns
    -------
    difference, low, high : float
        Of a minus b.
    """
    d = np.asarray(score_a, np.float64) - np.asarray(score_b, np.float64)
    values, counts = np.unique(np.round(d, 12), return_counts=True)
    rng = np.random.default_rng(seed)
    resampled = rng.multinomial(len(d), counts / len(d), size=draws) @ values / len(d)
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(d.mean()), float(low), float(high)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected for their number, in the order given.

    Holm, A simple sequentially rejective multiple test procedure (1979): controls the chance of
    any false claim, without assuming that the tests are independent.
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p, kind="stable")
    factors = len(p) - np.arange(len(p))
    adjusted = np.minimum(1, np.maximum.accumulate(p[order] * factors))
    result = np.empty(len(p))
    result[order] = adjusted
    return [float(v) for v in result]
