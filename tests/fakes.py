"""A stand-in for the engines: real images in, features out, without Keras.

`projection` averages the pixels over a grid and multiplies by a fixed random matrix, so features
depend on the image, are the same in every process, and still tell classes apart.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np

from featx.engines import ENGINES, Runner
from featx.records import BackboneSpec, TapSpec, WeightsRecord

GRID, CHANNELS, BATCH = 4, 6, 8

PASSES: list[int] = []
"""An item for every batch that went through, in this process."""


def feature_maps(batch: np.ndarray, seed: int) -> np.ndarray:
    """Return float32 (n, GRID, GRID, CHANNELS) of uint8 (n, height, width, 3)."""
    matrix = np.random.default_rng(seed).normal(size=(3, CHANNELS))
    n, height, width, _ = batch.shape
    rows = np.arange(GRID + 1) * height // GRID
    cols = np.arange(GRID + 1) * width // GRID
    maps = np.empty((n, GRID, GRID, CHANNELS), np.float32)
    for i in range(GRID):
        for j in range(GRID):
            block = batch[:, rows[i] : rows[i + 1], cols[j] : cols[j + 1]]
            mean = block.reshape(n, -1, 3).mean(axis=1, dtype=np.float64)
            maps[:, i, j] = np.tanh((mean / 127.5 - 1) @ matrix)
    return maps


def pooled(maps: np.ndarray, pooling: str) -> np.ndarray:
    """Apply a tap's pooling to feature maps."""
    if pooling == "avg":
        return maps.mean(axis=(1, 2))
    if pooling == "max":
        return maps.max(axis=(1, 2))
    return maps.reshape(len(maps), -1)


class ProjectionEngine:
    """An engine by the contract of featx.engines.base."""

    name = "projection"
    summary = "a fixed random projection, for tests"
    backend = ""
    seconds_per_batch = 0.0

    def missing(self) -> str | None:
        return None

    def precisions(self) -> tuple[str, ...]:
        return ("float32",)

    def load(
        self, spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], precision: str
    ) -> Runner:
        seed = sum(spec.text.encode())

        def submit(batch: np.ndarray) -> list[np.ndarray]:
            PASSES.append(len(batch))
            time.sleep(self.seconds_per_batch)
            maps = feature_maps(batch, seed)
            return [pooled(maps, tap.pooling) for tap in taps]

        shapes = {
            t.name: (GRID, GRID, CHANNELS) if t.pooling == "flatten" else (CHANNELS,) for t in taps
        }
        size = (spec.image.height, spec.image.width)
        return Runner(shapes, size, BATCH, 1, submit, lambda ticket: ticket, spec.text)


def register() -> None:
    """Make `--engine projection` known; twice does no harm."""
    if "projection" not in ENGINES:
        ENGINES.register("projection", ProjectionEngine())
