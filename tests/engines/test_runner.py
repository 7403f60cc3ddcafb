"""The runner that all engines share, over a made-up device."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from featx.engines import Runner
from featx.errors import EngineError


class Device:
    """Sums each image's pixels; remembers what it was given and how much it held at once."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.open = self.most_open = 0
        self.poison = False

    def submit(self, batch: np.ndarray) -> np.ndarray:
        assert batch.flags.c_contiguous
        self.sizes.append(len(batch))
        self.open += 1
        self.most_open = max(self.most_open, self.open)
        return batch

    def collect(self, batch: np.ndarray) -> list[np.ndarray]:
        self.open -= 1
        total = batch.sum(axis=(1, 2, 3), dtype=np.float32)[:, None]
        if self.poison:
            total[1] = np.nan
        return [total, np.repeat(total, 6, axis=1)]


@pytest.fixture
def device() -> Device:
    return Device()


@pytest.fixture
def runner(device: Device) -> Runner:
    taps = {"avg": (1,), "flatten": (1, 2, 3)}
    return Runner(taps, (5, 4), 4, 3, device.submit, device.collect, "fake on nothing")


def images(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("count", [1, 3, 4, 5, 8, 30])
def test_any_number_of_images(count: int, runner: Runner, device: Device) -> None:
    batch = images(count)
    out = runner.run(batch)
    assert {name: value.shape for name, value in out.items()} == {
        "avg": (count, 1),
        "flatten": (count, 6),
    }
    np.testing.assert_array_equal(out["avg"][:, 0], batch.sum(axis=(1, 2, 3)))
    assert set(device.sizes) == {4}  # the device sees one size only
    assert len(device.sizes) == -(-count // 4)


def test_no_images(runner: Runner, device: Device) -> None:
    out = runner.run(images(0))
    assert {name: value.shape for name, value in out.items()} == {
        "avg": (0, 1),
        "flatten": (0, 6),
    }
    assert all(value.dtype == np.float32 for value in out.values())
    assert device.sizes == []


def test_stream_keeps_order_and_has_several_in_flight(runner: Runner, device: Device) -> None:
    counts = [4, 1, 0, 9, 4, 2, 4, 4, 0]
    batches = [images(count, seed) for seed, count in enumerate(counts)]
    outs = list(runner.stream(iter(batches)))
    assert len(outs) == len(batches)
    for batch, out in zip(batches, outs, strict=True):
        np.testing.assert_array_equal(out["avg"][:, 0], batch.sum(axis=(1, 2, 3)))
    assert device.most_open == 3
    assert device.open == 0


def test_stream_asks_for_batches_only_as_it_needs_them(runner: Runner) -> None:
    taken = 0

    def source() -> Iterator[np.ndarray]:
        nonlocal taken
        for seed in range(100):
            taken += 1
            yield images(4, seed)

    results = runner.stream(source())
    next(results)
    assert taken <= 4
    results.close()


def test_leaving_a_stream_early_lets_the_device_finish(runner: Runner, device: Device) -> None:
    results = runner.stream(images(4, seed) for seed in range(100))
    next(results)
    results.close()
    assert device.open == 0
    runner.run(images(4))  # and it can be used again


def test_an_error_in_the_source_comes_through(runner: Runner, device: Device) -> None:
    def source() -> Iterator[np.ndarray]:
        yield images(4)
        raise OSError("disk gone")

    with pytest.raises(OSError, match="disk gone"):
        list(runner.stream(source()))
    assert device.open == 0


def test_views_and_other_orders_of_memory_are_taken(runner: Runner) -> None:
    batch = images(8)
    wanted = batch.sum(axis=(1, 2, 3))
    strided = np.repeat(batch, 2, axis=2)[:, :, ::2]
    np.testing.assert_array_equal(runner.run(strided)["avg"][:, 0], wanted)
    batch.flags.writeable = False
    np.testing.assert_array_equal(runner.run(batch)["avg"][:, 0], wanted)


@pytest.mark.parametrize(
    "batch",
    [
        np.zeros((2, 5, 4, 3), np.float32),
        np.zeros((2, 4, 5, 3), np.uint8),
        np.zeros((5, 4, 3), np.uint8),
        np.zeros((2, 5, 4, 1), np.uint8),
    ],
)
def test_unfit_batches_are_refused(batch: np.ndarray, runner: Runner) -> None:
    with pytest.raises(EngineError) as caught:
        runner.run(batch)
    assert "uint8 images of shape (n, 5, 4, 3)" in str(caught.value)
    assert str(batch.shape) in str(caught.value)


def test_values_that_are_not_finite_stop_the_run(runner: Runner, device: Device) -> None:
    device.poison = True
    with pytest.raises(EngineError, match=r"fake on nothing: tap 'avg' gave 1 values"):
        runner.run(images(4))
    # A filled-up row does not count: it is nobody's image.
    runner.run(images(1))
