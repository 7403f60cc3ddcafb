"""What a plan counts: parts by size and by time, workers by the time that is left."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featx.extraction.planning import (
    Wanted,
    count_parts,
    count_workers,
    hash_seconds,
    plan_needs,
)

numbers = st.floats(0.001, 1e9)


@given(numbers, numbers, numbers)
def test_workers_are_enough_and_not_one_too_many(
    work: float, alone: float, deadline: float
) -> None:
    count = count_workers(work, alone, deadline)
    if count is None:
        assert alone >= deadline
    else:
        assert alone + work / count <= deadline * (1 + 1e-9)
        assert count == 1 or alone + work / (count - 1) > deadline * (1 - 1e-9)


def test_a_part_ends_by_its_size_or_by_its_time() -> None:
    full = (128 << 20) // (4096 + 64)
    assert count_parts(10 * full, 4096, 0.0) == 10
    # 30 seconds at 1,000 rows a second: 30,000 rows, 117 MiB
    assert count_parts(300_000, 4096, 0.001) == 10
    # at 10 rows a second they are small, and merged
    assert count_parts(10 * full, 4096, 0.1) == 10
    assert count_parts(1, 4096, 0.1) == 1


def test_needs_of_several_entries() -> None:
    needs = plan_needs(
        [Wanted(100, 100 * 4096), Wanted(50, 50 * 4096).scaled(100)],
        images=100,
        image_seconds=0.5,
        forward_images=100,
        start_seconds=5.0,
        hash_seconds=0.01,
        deadline=30.0,
    )
    assert (needs["rows"], needs["bytes"], needs["parts"]) == (200, 200 * 4096, 2)
    assert needs["seconds"] == 50
    assert needs["alone_seconds"] == pytest.approx(6, abs=0.1)
    assert needs["workers"] == math.ceil(50 / (30 - needs["alone_seconds"]))


def test_hashing_is_tried_on_some_of_the_files(tmp_path) -> None:
    files = [tmp_path / str(i) for i in range(3)]
    for file in files[:2]:  # one is missing
        file.write_bytes(bytes(1000))
    assert hash_seconds([str(file) for file in files]) > 0
    assert hash_seconds([]) == 0
