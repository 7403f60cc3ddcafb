"""Feature sets for tests of what stands on the cache: quick to make, real enough to learn from."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.datasets import load_digits

from featx.records import ExtractionKey, FeatureSet, ImageSpec


def digits_features(
    n: int = 500, *, own_split: bool = False, copies: int = 0, seed: int = 0, **changes: Any
) -> FeatureSet:
    """Handwritten digits as features.

    With `own_split`, train, val and test are 3/5, 1/5 and 1/5 of the rows; `copies` test rows then
    have the digest of a training row.
    """
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(seed).permutation(len(y))[:n]
    splits = np.full(n, "", dtype="<U5")
    digests = [f"{i:064x}" for i in range(n)]
    if own_split:
        splits[:] = np.repeat(["train", "val", "test"], [n - 2 * (n // 5), n // 5, n // 5])
        for i in range(copies):
            digests[n - 1 - i] = digests[i]
    fields: dict[str, Any] = {
        "X": X[order].astype(np.float32),
        "y": y[order].astype(np.int32),
        "classes": tuple("0123456789"),
        "paths": tuple(f"{i:04d}.png" for i in order),
        "splits": splits,
        "key": ExtractionKey("pixels", {}, "0" * 64, "none", ImageSpec(8, 8)),
        "digests": tuple(digests),
        "dataset": "digits",
        "tap": "avg",
        "provenance": {"backbone": "pixels", "extract_seconds": 1.5},
    }
    return FeatureSet(**{**fields, **changes})


class LazyRows:
    """A lazy matrix that remembers which rows were asked for."""

    def __init__(self, X: np.ndarray) -> None:
        self._X = X
        self.shape, self.dtype = X.shape, X.dtype
        self.asked: list[set[int]] = []

    def rows(self, indices: np.ndarray) -> np.ndarray:
        self.asked.append({int(i) for i in indices})
        return self._X[indices]

    def columns(self, start: int, stop: int) -> np.ndarray:
        return self._X[:, start:stop]
