"""What is said of an image takes tens of bytes in every step, however many images there are."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featx.columns import Coded, Digests, Texts
from featx.records import DatasetIndex, ExtractionKey, ImageSpec, Samples
from featx.store import CacheEntry, load_features, plan_rows

N = 60_000
CLASSES = tuple(f"class_{i}" for i in range(10))


def make_index(n: int) -> DatasetIndex:
    rng = np.random.default_rng(n)
    codes = (np.arange(n) * len(CLASSES) // n).astype(np.int32)
    plain = Coded(np.zeros(n, np.int32), ("",))
    samples = Samples(
        Texts.of(f"{CLASSES[c]}/image_{i:07d}.jpg" for i, c in enumerate(codes.tolist())),
        (Coded(codes, CLASSES),),
        plain,
        Digests.of(rng.bytes(32).hex() for _ in range(n)),
        plain,
    )
    return DatasetIndex("many", "/many", (CLASSES,), samples)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> tuple[CacheEntry, DatasetIndex]:
    index = make_index(N)
    key = ExtractionKey("mobilenet", {}, "0" * 64, "mobilenet", ImageSpec(224, 224))
    entry = CacheEntry.open(Path(tmp_path_factory.mktemp("cache")), "many", key, create=True)
    digests = index.samples.digests
    with entry.claim(), entry.writer({"avg": (2,)}, part_bytes=N * 8) as writer:
        for start in range(0, N, 5000):
            some = list(digests[start : start + 5000])
            writer.append(some, {"avg": np.ones((len(some), 2), np.float32)})
    entry.publish_view(index)
    return entry, index


def bytes_a_row(work: Callable[[], Any]) -> float:
    tracemalloc.start()
    try:
        held = work()
        _, peak = tracemalloc.get_traced_memory()
        del held
    finally:
        tracemalloc.stop()
    return peak / N


def test_planning(many: tuple[CacheEntry, DatasetIndex]) -> None:
    entry, index = many
    work = lambda: plan_rows(entry.state(), index.samples.digests, ["avg", "max"])  # noqa: E731
    assert len(work().extract) == N
    assert bytes_a_row(work) < 300


def test_building_the_view(many: tuple[CacheEntry, DatasetIndex]) -> None:
    entry, index = many
    entry.view_path.unlink()
    assert bytes_a_row(lambda: entry.publish_view(index)) < 400


def test_reading_a_few_rows(many: tuple[CacheEntry, DatasetIndex]) -> None:
    entry, _ = many

    def work() -> Any:
        features = load_features(entry.path, "avg", lazy=True)
        assert features.X.rows(np.arange(0, N, 1000)).all()
        return features

    assert bytes_a_row(work) < 130
    features = work()
    assert (len(features.paths), features.paths[0]) == (N, "class_0/image_0000000.jpg")


def test_an_index() -> None:
    samples = make_index(1000).samples
    arrays = [samples.digests.array, samples.splits.codes, samples.labels[0].codes]
    held = sum(a.nbytes for a in arrays) + samples.relpaths.nbytes()
    assert held / 1000 < 80 + len(samples[0].relpath) + 9
