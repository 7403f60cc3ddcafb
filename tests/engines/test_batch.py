"""The batch size: found by growth, halved where memory runs out, over a made-up accelerator."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import numpy as np
import pytest

from featx.engines import Runner, batch, runner
from featx.engines.batch import Collect, Submit, memory_errors
from featx.errors import EngineError, EngineMemoryError

TAPS = {"avg": (1,), "flatten": (1, 2, 3)}


class Accelerator:
    """Sums each image's pixels; has a clock of its own, and memory for a number of images.

    A batch takes the time of `saturated` images at least, so that larger ones are faster up to
    there. All tickets that were not collected hold memory.
    """

    def __init__(self, memory: int = 10**9, saturated: int = 1) -> None:
        self.memory, self.saturated = memory, saturated
        self.seconds = 0.0
        self.held = 0
        self.compiled: list[int] = []
        self.sizes: list[int] = []
        self.late = False  # tell that memory ran out on collecting, as asynchronous devices do
        self.most_to_compile = 10**9

    def compile(self, size: int) -> tuple[Submit, Collect]:
        if size > self.most_to_compile:
            raise EngineMemoryError("too large to compile")
        self.compiled.append(size)

        def submit(images: np.ndarray) -> np.ndarray | None:
            assert images.shape == (size, 5, 4, 3)
            self.sizes.append(size)
            fits = self.held + size <= self.memory
            if not fits and not self.late:
                raise EngineMemoryError(f"no room for {size} images")
            self.held += size
            return images.copy() if fits else None

        def collect(images: np.ndarray | None) -> list[np.ndarray]:
            self.held -= size
            if images is None:
                raise EngineMemoryError(f"no room for {size} images")
            self.seconds += max(size, self.saturated) / 1000
            total = images.sum(axis=(1, 2, 3), dtype=np.float32)[:, None]
            return [total, np.repeat(total, 6, axis=1)]

        return submit, collect

    def load(self, size: int, *, in_flight: int = 3, grows: bool = False) -> Runner:
        return Runner.compiled(TAPS, (5, 4), size, in_flight, self.compile, "fake", grows=grows)


@pytest.fixture(autouse=True)
def nothing_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runner, "_FOUND", {})


def grown(monkeypatch: pytest.MonkeyPatch, device: Accelerator, size: int) -> Runner:
    monkeypatch.setattr(batch, "clock", lambda: device.seconds)
    return device.load(size, grows=True)


def images(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, 5, 4, 3), dtype=np.uint8)


@pytest.mark.parametrize("saturated", [1, 8, 16, 64])
def test_growth_stops_where_a_larger_batch_is_no_faster(
    saturated: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = Accelerator(saturated=saturated)
    assert grown(monkeypatch, device, 8).batch_size == max(8, saturated)
    assert device.compiled == [n for n in (8, 16, 32, 64, 128) if n <= max(16, 2 * saturated)]


def test_growth_stops_at_a_gain_of_a_few_percent(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Accelerator(saturated=8.3)  # type: ignore[arg-type]
    assert grown(monkeypatch, device, 8).batch_size == 8
    other = Accelerator(saturated=9)
    monkeypatch.setattr(runner, "_FOUND", {})
    assert grown(monkeypatch, other, 8).batch_size == 16


def test_growth_stops_where_memory_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    for late in (False, True):
        device = Accelerator(memory=3 * 32, saturated=1000)
        device.late = late
        found = grown(monkeypatch, device, 8)
        assert found.batch_size == 32
        assert device.held == 0
        np.testing.assert_array_equal(found.run(images(70))["avg"][:, 0], sums(images(70)))
        assert found.batch_size == 32
        monkeypatch.setattr(runner, "_FOUND", {})


def test_growth_stops_where_nothing_larger_compiles(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Accelerator(saturated=1000)
    device.most_to_compile = 16
    assert grown(monkeypatch, device, 8).batch_size == 16


def test_growth_does_not_fill_the_hosts_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "MOST_BYTES", 40 * (5 * 4 * 3 + 4 * 7))
    assert grown(monkeypatch, Accelerator(saturated=1000), 8).batch_size == 32


def test_a_start_that_is_too_large_is_halved(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    device = Accelerator(memory=3 * 32, saturated=1000)
    with caplog.at_level(logging.WARNING):
        assert grown(monkeypatch, device, 128).batch_size == 32
    assert device.compiled == [128, 64, 32]
    assert "fake: no memory for 64 images at once; going on with 32" in caplog.messages


def test_the_size_found_is_kept_for_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    device = Accelerator(saturated=32)
    grown(monkeypatch, device, 8)
    device.compiled.clear()
    device.sizes.clear()
    again = grown(monkeypatch, device, 8)
    assert (again.batch_size, device.compiled, device.sizes) == (32, [32], [])
    device.memory = 16
    again.run(images(32))
    assert grown(monkeypatch, device, 8).batch_size == 16


def test_without_growth_the_size_is_as_given() -> None:
    device = Accelerator(saturated=1000)
    assert device.load(8).batch_size == 8
    assert (device.compiled, device.sizes) == ([8], [])


def sums(batch: np.ndarray) -> np.ndarray:
    return batch.sum(axis=(1, 2, 3), dtype=np.float32)


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("in_flight", [1, 3])
@pytest.mark.parametrize("memory", [1, 3, 8, 16])
def test_out_of_memory_loses_and_repeats_no_row(
    memory: int, in_flight: int, late: bool, caplog: pytest.LogCaptureFixture
) -> None:
    device = Accelerator()
    device.late = late
    found = device.load(16, in_flight=in_flight)
    counts = [16, 5, 0, 40, 16, 1, 16, 16, 0]

    def source() -> Iterator[np.ndarray]:
        for seed, count in enumerate(counts):
            if seed == 2:
                device.memory = memory  # another program takes the rest
            yield images(count, seed)

    outs = list(found.stream(source()))
    assert [len(out["avg"]) for out in outs] == counts
    for seed, (count, out) in enumerate(zip(counts, outs, strict=True)):
        np.testing.assert_array_equal(out["avg"][:, 0], sums(images(count, seed)))
        assert out["flatten"].shape == (count, 6)
    # Halved until what is in flight together fits, and no further.
    assert max(1, memory // in_flight) // 2 < found.batch_size <= memory
    told = [m for m in caplog.messages if "going on with" in m]
    assert len(told) == np.log2(16 / found.batch_size)
    assert device.held == 0


def test_chunks_in_flight_halve_the_batch_once() -> None:
    device = Accelerator(memory=24)
    found = device.load(8)
    stream = found.stream(images(8, seed) for seed in range(6))
    next(stream)
    device.memory = 12  # room for one batch of eight, or for three of four
    rest = list(stream)
    assert len(rest) == 5
    assert found.batch_size == 4


def test_what_does_not_compile_at_half_is_halved_again() -> None:
    device = Accelerator()
    found = device.load(16)
    device.memory, device.most_to_compile = 8, 2
    np.testing.assert_array_equal(found.run(images(20))["avg"][:, 0], sums(images(20)))
    assert (found.batch_size, device.compiled) == (2, [16, 2])


def test_no_memory_for_one_image_is_an_error_and_the_runner_can_be_used_again() -> None:
    device = Accelerator()
    found = device.load(4)
    device.memory = 0
    for _ in range(2):
        with pytest.raises(EngineMemoryError, match=r"fake: memory ran out with one image.*Close"):
            found.run(images(4))
        assert device.held == 0
    device.memory = 1
    np.testing.assert_array_equal(found.run(images(4))["avg"][:, 0], sums(images(4)))
    device.most_to_compile = 0
    with pytest.raises(EngineMemoryError, match="one image at a time"):
        device.load(4)


def test_a_runner_that_cannot_be_compiled_again_says_so() -> None:
    device = Accelerator(memory=2)
    fixed = Runner(TAPS, (5, 4), 4, 1, *device.compile(4), "fixed")
    with pytest.raises(EngineMemoryError, match="fixed: memory ran out with 4 images at once"):
        fixed.run(images(3))


def test_leaving_early_while_memory_runs_out_lets_the_device_finish() -> None:
    device = Accelerator(memory=24)
    device.late = True
    found = device.load(8)
    stream = found.stream(images(8, seed) for seed in range(6))
    next(stream)
    device.memory = 0
    stream.close()
    assert device.held == 0


class FrameworkError(RuntimeError):
    pass


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 73.5 MiB for an array"),
        FrameworkError("RESOURCE_EXHAUSTED: Out of memory allocating 822093440 bytes."),
        FrameworkError("Exception from src/core/src/runtime/allocator.cpp:79:\nstd::bad_alloc\n"),
        FrameworkError("Check 'ptr' failed: Failed to allocate 2466250752 bytes of memory"),
        type("ResourceExhaustedError", (FrameworkError,), {})("Graph execution error"),
    ],
    ids=str,
)
def test_every_way_to_say_that_memory_ran_out_is_one_error(error: Exception) -> None:
    with pytest.raises(EngineMemoryError), memory_errors(FrameworkError):
        raise error


@pytest.mark.parametrize("error", [FrameworkError("shape mismatch"), OSError("Out of memory")])
def test_other_errors_stay_what_they_are(error: Exception) -> None:
    with pytest.raises(type(error)) as caught, memory_errors(FrameworkError):
        raise error
    assert not isinstance(caught.value, EngineError)
