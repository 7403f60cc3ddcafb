"""Two runs on the same test rows: whether their difference is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from featx.metrics.intervals import binomial_pmf, bootstrap_mean


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


def sign_flip_test(gaps: np.ndarray) -> float:
    """Return the two-sided p-value of the exact paired permutation test.

    Under no difference each row's gap is as likely to have the other sign. The distribution of the
    sum over all patterns of signs is found exactly, by convolving one binomial distribution a size
    of gap (Pagano and Tritchler, On obtaining permutation distributions in polynomial time, 1983).
    For right/wrong (gaps of -1, 0, 1) this is McNemar's exact test; for the number of draws that
    have a row right it is its natural extension.

    Parameters
    ----------
    gaps : ndarray of shape (n_rows,), int
        Count of a minus count of b, a row.

    Returns
    -------
    float
        1 where no row differs; p-values below 1e-12 are rounding.
    """
    gaps = np.asarray(gaps)
    if gaps.dtype.kind not in "iu":
        raise ValueError(f"gaps are {gaps.dtype}: give whole numbers, such as counts of draws")
    sizes, counts = np.unique(np.abs(gaps[gaps != 0]), return_counts=True)
    distribution = np.ones(1)  # of the sum of gaps with a positive sign, from 0
    for size, count in zip(sizes.tolist(), counts.tolist(), strict=True):
        spaced = np.zeros(size * count + 1)
        spaced[::size] = binomial_pmf(count, 0.5)
        distribution = _convolve(distribution, spaced)
    reach = len(distribution) - 1
    sums = 2 * np.arange(reach + 1) - reach
    return float(min(1.0, distribution[np.abs(sums) >= abs(int(gaps.sum()))].sum()))


def paired_bootstrap(
    gaps: np.ndarray, *, draws: int = 10_000, seed: int = 0, level: float = 0.95
) -> tuple[float, float, float]:
    """Return the mean of a paired difference and its percentile bootstrap interval.

    Parameters
    ----------
    gaps : ndarray of shape (n_rows,)
        Score of a minus score of b on each test row: right (1) or wrong (0), or means over draws.
    draws : int
        Resamples.
    seed : int
    level : float

    Returns
    -------
    difference, low, high : float
    """
    low, high = bootstrap_mean(gaps, draws=draws, seed=seed, level=level)
    return float(np.mean(gaps)), low, high


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


def _convolve(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Convolve two distributions: directly where it is quick, else by FFT."""
    if len(a) * len(b) < 10_000_000:
        return np.convolve(a, b)
    n = len(a) + len(b) - 1
    product = np.fft.rfft(a, n) * np.fft.rfft(b, n)
    return np.maximum(np.fft.irfft(product, n), 0)
