"""How many images a device takes at once: found by growth, halved where memory runs out."""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from featx.errors import EngineMemoryError

log = logging.getLogger("featx")

Submit = Callable[[np.ndarray], Any]
"""Takes uint8 (batch_size, height, width, 3), starts the work, returns a ticket."""

Collect = Callable[[Any], Sequence[np.ndarray]]
"""Takes a ticket, waits, returns one float32 (batch_size, width) a tap that the caller owns."""

Compile = Callable[[int], tuple[Submit, Collect]]
"""Takes a batch size and returns what runs batches of that size."""

PROBE_SECONDS = 0.3
LEAST_GAIN = 1.05
"""A doubled batch that is not this many times as fast was the last."""
MOST_BYTES = 256 << 20
"""Of pixels and features in one batch: a pipeline holds several of them in the host's memory."""

clock = time.perf_counter

_SIGNS = ("resourceexhausted", "resource_exhausted", "out of memory", "bad_alloc", "allocate")


@contextmanager
def memory_errors(*kinds: type[Exception]) -> Iterator[None]:
    """Turn a framework's way of saying that memory ran out into `EngineMemoryError`.

    Parameters
    ----------
    kinds : types of exception
        What the framework raises for errors of many sorts; those are taken that tell of memory by
        their name or text. A MemoryError always is.
    """
    caught: tuple[type[Exception], ...] = (MemoryError, *kinds)
    try:
        yield
    except caught as error:
        text = f"{type(error).__name__}: {error}"
        if isinstance(error, MemoryError) or any(sign in text.lower() for sign in _SIGNS):
            raise EngineMemoryError(" ".join(text.split())[:300]) from error
        raise


def compile_or_halve(compile: Compile, size: int, label: str) -> tuple[tuple[Submit, Collect], int]:
    """Compile for batches of `size` images, or of half as many until memory suffices.

    Returns
    -------
    device : (submit, collect)
    size : int
        What it was compiled for.

    Raises
    ------
    EngineMemoryError
        It does not suffice for one image.
    """
    while True:
        try:
            return compile(size), size
        except EngineMemoryError as error:
            size = halve(size, label, error)


def halve(size: int, label: str, error: EngineMemoryError) -> int:
    """Return half of `size` and say so; raise EngineMemoryError where `size` is 1."""
    if size == 1:
        raise EngineMemoryError(
            f"{label}: memory ran out with one image at a time. Close other programs, or use a "
            f"smaller --image-size, backbone or tap. ({error})"
        ) from error
    log.warning("%s: no memory for %d images at once; going on with %d", label, size, size // 2)
    return size // 2


def grow(
    compile: Compile,
    size: int,
    image_shape: tuple[int, ...],
    row_bytes: int,
    in_flight: int,
    label: str,
) -> tuple[tuple[Submit, Collect], int]:
    """Double the batch until it no longer makes the device faster, or memory runs out.

    Each size is compiled, warmed up, and timed for a moment on ready arrays.

    Parameters
    ----------
    compile : callable
    size : int
        Where to begin.
    image_shape : (int, int, int)
        Height, width and channels.
    row_bytes : int
        Of one image's pixels and features: a batch has at most `MOST_BYTES` of them.
    in_flight : int
        Batches that the device may hold at once.
    label : str

    Returns
    -------
    device : (submit, collect)
    size : int
        The smallest size whose double is not `LEAST_GAIN` times as fast.

    Raises
    ------
    EngineMemoryError
        Memory does not suffice for one image.
    """
    start, rate = size, 0.0
    device, size = compile_or_halve(compile, size, label)
    while not rate:
        try:
            rate = _probe(device, size, image_shape, in_flight)
        except EngineMemoryError as error:
            size = halve(size, label, error)
        if not rate:  # not above: the error would hold on to the memory
            del device
            device, size = compile_or_halve(compile, size, label)
    if size < start:
        return device, size
    while 2 * size * row_bytes <= MOST_BYTES:
        try:
            larger = compile(2 * size)
            faster = _probe(larger, 2 * size, image_shape, in_flight)
        except EngineMemoryError:
            break
        if faster < LEAST_GAIN * rate:
            break
        device, size, rate = larger, 2 * size, faster
    log.info("%s: %d images at once, %.0f images/s", label, size, rate)
    return device, size


def _probe(
    device: tuple[Submit, Collect], size: int, image_shape: tuple[int, ...], in_flight: int
) -> float:
    """Return images a second, with as many batches in flight as there will be."""
    submit, collect = device
    batch = np.random.default_rng(0).integers(0, 256, (size, *image_shape), np.uint8)
    tickets: deque[Any] = deque()
    try:
        for _ in range(in_flight):  # the first ones compile, and allocate
            tickets.append(submit(batch))
        while tickets:
            collect(tickets.popleft())
        started, done = clock(), 0
        while done < 2 * in_flight or clock() - started < PROBE_SECONDS:
            tickets.append(submit(batch))
            if len(tickets) == in_flight:
                collect(tickets.popleft())
                done += 1
        while tickets:
            collect(tickets.popleft())
            done += 1
        return done * size / (clock() - started)
    finally:
        drain(tickets, collect)


def drain(tickets: deque[Any], collect: Collect) -> None:
    """Let the device finish with what it was given; the results are not wanted."""
    while tickets:
        try:
            collect(tickets.popleft())
        except EngineMemoryError:
            continue  # that one is finished too
