"""Which rows the network is trained on, and in what order."""

from __future__ import annotations

import numpy as np


def cut_batches(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Return row numbers in a new order, a batch a line, each of about `size` rows.

    All batches are of one length, so that Keras traces its graph once; the few rows left over (less
    than one a batch) sit this epoch out.
    """
    count = max(1, round(n / size))
    length = n // count
    return rng.permutation(n)[: count * length].reshape(count, length)


def hold_out(
    labels: np.ndarray, fraction: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Split row numbers into those to train on and those held out, stratified.

    Parameters
    ----------
    labels : ndarray of shape (n_rows, n_columns), int
        Rows are stratified by their whole line of labels.
    fraction : float
        Share held out; the last row of a stratum never is.
    rng : Generator
    """
    strata = np.unique(labels, axis=0, return_inverse=True)[1].reshape(-1)
    held = []
    for c in range(int(strata.max()) + 1):
        rows = rng.permutation(np.flatnonzero(strata == c))
        held.append(rows[: min(round(fraction * len(rows)), len(rows) - 1)])
    out = np.sort(np.concatenate(held))
    return np.setdiff1d(np.arange(len(labels)), out), out
