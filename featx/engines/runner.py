"""The runner that all engines share: any batches in, fixed batches to the device, rows out."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from featx.engines.batch import Collect, Compile, Submit, compile_or_halve, grow, halve
from featx.errors import EngineError, EngineMemoryError

_FOUND: dict[tuple[object, ...], int] = {}
"""Batch sizes that growth has found in this process, by label, image and taps."""


def _key(label: str, image_shape: tuple[int, ...], taps: Iterable[str]) -> tuple[object, ...]:
    return (label, image_shape, tuple(taps))


def _light(error: EngineMemoryError) -> EngineMemoryError:
    """Return the error without its traceback, which would hold on to the memory."""
    return EngineMemoryError(str(error))


def _released(_: Any) -> Any:
    """Stand in for what could not be compiled again."""
    raise EngineMemoryError("memory ran out before")


@dataclass
class _Chunk:
    """Images that go to the device together."""

    images: np.ndarray
    last: bool  # of its batch
    size: int  # of the batch that the device sees
    ticket: Any = None
    arrays: Sequence[np.ndarray] | None = None
    error: EngineMemoryError | None = None


class Runner:
    """A compiled backbone: uint8 batches in, one array a tap out.

    The device only ever sees batches of `batch_size` images, the last ones filled up with black,
    so that nothing is compiled twice and a row's bits depend neither on its place in a batch nor on
    what else is in it.

    Where memory runs out, the batch is halved, a warning says so, and the images concerned are run
    again: see `compiled`.

    Parameters
    ----------
    taps : mapping of str to tuple of int
        Feature shape of one image at each tap, before flattening: (7, 7, 1024) or (1024,).
    image_shape : (int, int)
        Height and width of the input.
    batch_size : int
        Images that go in at once.
    in_flight : int
        Batches that the device may hold at once.
    submit : callable
        Takes uint8 (batch_size, height, width, 3), starts the work, returns a ticket.
    collect : callable
        Takes a ticket, waits, returns one float32 (batch_size, width) a tap that the caller owns.
    label : str
        Backbone, engine and precision, for messages.
    compile : callable, optional
        Takes a batch size and returns a `submit` and a `collect` for it. Without it the batch
        cannot be halved.

    Attributes
    ----------
    taps : dict of str to tuple of int
        As given.
    batch_size : int
        As given, until memory runs out: then it becomes smaller while a stream goes on.
    """

    def __init__(
        self,
        taps: Mapping[str, tuple[int, ...]],
        image_shape: tuple[int, int],
        batch_size: int,
        in_flight: int,
        submit: Submit,
        collect: Collect,
        label: str,
        compile: Compile | None = None,
    ) -> None:
        self.taps = dict(taps)
        self.batch_size = batch_size
        self._image_shape = (*image_shape, 3)
        self._in_flight = in_flight
        self._submit, self._collect = submit, collect
        self._label = label
        self._compile = compile

    @classmethod
    def compiled(
        cls,
        taps: Mapping[str, tuple[int, ...]],
        image_shape: tuple[int, int],
        batch_size: int,
        in_flight: int,
        compile: Compile,
        label: str,
        *,
        grows: bool = False,
    ) -> Runner:
        """Return a runner that compiles for the batch size that suits the device.

        Parameters
        ----------
        taps, image_shape, in_flight, label
            As for the class.
        batch_size : int
            Images that go in at once; fewer where memory does not suffice.
        compile : callable
            Takes a batch size and returns a `submit` and a `collect` for it. It, and what it
            returns, raise EngineMemoryError where memory runs out.
        grows : bool
            Begin with `batch_size` and double it while that makes the device faster by 5%. The
            size found is kept for as long as this process lives. For accelerators; on a CPU
            larger batches gain nothing, and a row's last bits must not depend on a timing.

        Raises
        ------
        EngineMemoryError
            Memory does not suffice for one image.
        """
        key = _key(label, image_shape, taps)
        if grows and key not in _FOUND:
            shape = (*image_shape, 3)
            row_bytes = math.prod(shape) + 4 * sum(map(math.prod, taps.values()))
            device, size = grow(compile, batch_size, shape, row_bytes, in_flight, label)
        else:
            size = _FOUND.get(key, batch_size) if grows else batch_size
            device, size = compile_or_halve(compile, size, label)
        if grows:
            _FOUND[key] = size
        return cls(taps, image_shape, size, in_flight, *device, label, compile)

    def run(self, batch: np.ndarray) -> dict[str, np.ndarray]:
        """Return the features of `batch`.

        Parameters
        ----------
        batch : ndarray of shape (n, height, width, 3), uint8
            RGB; any n. It is not modified.

        Returns
        -------
        dict of str to ndarray of shape (n, width), float32
            By tap name.

        Raises
        ------
        EngineError
            The batch has the wrong shape or dtype, or a feature is not finite.
        """
        (result,) = self.stream([batch])
        return result

    def stream(self, batches: Iterable[np.ndarray]) -> Iterator[dict[str, np.ndarray]]:
        """Yield the features of each of `batches`, in order.

        While a result is awaited, later batches are already being worked on.

        Parameters
        ----------
        batches : iterable of ndarray
            As for `run`. The arrays must not be changed before their features have come out.

        Raises
        ------
        EngineError
            As in `run`.
        """
        queue: deque[_Chunk] = deque()
        parts: list[dict[str, np.ndarray]] = []
        try:
            for batch in batches:
                self._check(batch)
                start, last = 0, False
                while not last:
                    while len(queue) >= self._in_flight:
                        yield from self._settle(queue, parts)
                    images = batch[start : start + self.batch_size]
                    start += len(images)
                    last = start >= len(batch)
                    queue.append(self._begin(images, last))
            while queue:
                yield from self._settle(queue, parts)
        finally:
            # Left early: let the device finish with the arrays before they are freed.
            for chunk in queue:
                self._end(chunk)

    def _begin(self, images: np.ndarray, last: bool) -> _Chunk:
        """Start the work on at most `batch_size` images."""
        chunk = _Chunk(images, last, self.batch_size)
        if len(images):
            try:
                chunk.ticket = self._submit(self._filled(images))
            except EngineMemoryError as error:
                chunk.error = _light(error)
        else:
            chunk.arrays = [np.empty((0, math.prod(s)), np.float32) for s in self.taps.values()]
        return chunk

    def _end(self, chunk: _Chunk) -> None:
        """Wait for a chunk: it has arrays, or an error, in the end."""
        if chunk.arrays is None and chunk.error is None:
            try:
                chunk.arrays = [a[: len(chunk.images)] for a in self._collect(chunk.ticket)]
            except EngineMemoryError as error:
                chunk.error = _light(error)
            chunk.ticket = None

    def _settle(
        self, queue: deque[_Chunk], parts: list[dict[str, np.ndarray]]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Wait for the oldest chunk; yield its batch's features if it was the last of them."""
        self._end(queue[0])
        if queue[0].error is not None:
            for other in queue:  # what is under way needs memory too
                self._end(other)
            self._mend(queue[0])
        chunk = queue.popleft()
        named = dict(zip(self.taps, chunk.arrays or (), strict=True))
        for tap, values in named.items():
            self._check_finite(tap, values)
        parts.append(named)
        if chunk.last:
            if len(parts) > 1:
                named = {tap: np.concatenate([part[tap] for part in parts]) for tap in self.taps}
            parts.clear()
            yield named

    def _mend(self, chunk: _Chunk) -> None:
        """Run a chunk again that memory ran out for, in halves, quarters and so on."""
        size, error = chunk.size, chunk.error
        alone = False  # other chunks took memory too, so that a single image has another chance
        while error is not None:
            # Smaller already: another chunk has seen to it.
            if self.batch_size >= size and (size > 1 or alone):
                self._halve(error)
            alone = True
            size, error = self.batch_size, None
            pieces = []
            for start in range(0, len(chunk.images), size):
                piece = self._begin(chunk.images[start : start + size], False)
                self._end(piece)
                error = piece.error
                if error is not None:
                    break
                pieces.append(piece.arrays or ())
        chunk.arrays = [np.concatenate(arrays) for arrays in zip(*pieces, strict=True)]
        chunk.error = None

    def _halve(self, error: EngineMemoryError) -> None:
        if self._compile is None:
            raise EngineMemoryError(
                f"{self._label}: memory ran out with {self.batch_size} images at once. Close other "
                f"programs. ({error})"
            )
        size = halve(self.batch_size, self._label, error)
        self._submit = self._collect = _released  # frees their memory
        device, self.batch_size = compile_or_halve(self._compile, size, self._label)
        self._submit, self._collect = device
        key = _key(self._label, self._image_shape[:2], self.taps)
        if key in _FOUND:
            _FOUND[key] = self.batch_size

    def _filled(self, chunk: np.ndarray) -> np.ndarray:
        if len(chunk) == self.batch_size:
            return np.ascontiguousarray(chunk)
        full = np.zeros((self.batch_size, *self._image_shape), np.uint8)
        full[: len(chunk)] = chunk
        return full

    def _check(self, batch: np.ndarray) -> None:
        if batch.dtype != np.uint8 or batch.shape[1:] != self._image_shape:
            wanted = ", ".join(map(str, self._image_shape))
            raise EngineError(
                f"{self._label} takes uint8 images of shape (n, {wanted}); received {batch.dtype} "
                f"{batch.shape}."
            )

    def _check_finite(self, tap: str, values: np.ndarray) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            raise EngineError(
                f"{self._label}: tap {tap!r} gave {np.size(finite) - np.count_nonzero(finite)} "
                "values that are not finite. Check the weights, or use --precision float32."
            )
