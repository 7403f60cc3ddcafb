"""What an engine is, and the runner that all engines share."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from featx.errors import EngineError
from featx.records import BackboneSpec, TapSpec, WeightsRecord

PRECISIONS = ("float32", "bfloat16", "float16")
"""Numeric precisions of the forward pass; results are float32 whatever it is."""


class Engine(Protocol):
    """A way to run backbone graphs."""

    name: str
    summary: str
    backend: str  # of Keras, that it builds graphs with; "" needs no Keras

    def missing(self) -> str | None:
        """Return the pip command that installs what is missing; None where nothing is."""

    def precisions(self) -> tuple[str, ...]:
        """Return those of `PRECISIONS` that this machine can run."""

    def load(
        self, spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec], precision: str
    ) -> Runner:
        """Build and compile the graph of `spec` with `taps`.

        Raises
        ------
        EngineError
            The precision is not to be had here, or compilation failed.
        BackboneError, WeightsError, UnknownNameError
            As in `featx.backbones.build_graph`.
        """


class Runner:
    """A compiled backbone: uint8 batches in, one array a tap out.

    The device only ever sees batches of `batch_size` images, the last ones filled up with black,
    so that nothing is compiled twice and a row's bits depend neither on its place in a batch nor on
    what else is in it.

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

    Attributes
    ----------
    taps, batch_size
        As given.
    """

    def __init__(
        self,
        taps: Mapping[str, tuple[int, ...]],
        image_shape: tuple[int, int],
        batch_size: int,
        in_flight: int,
        submit: Callable[[np.ndarray], Any],
        collect: Callable[[Any], Sequence[np.ndarray]],
        label: str,
    ) -> None:
        self.taps = dict(taps)
        self.batch_size = batch_size
        self._image_shape = (*image_shape, 3)
        self._in_flight = in_flight
        self._submit, self._collect = submit, collect
        self._label = label

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
        queue: deque[tuple[Any, int, bool]] = deque()  # ticket, rows, last chunk of its batch
        parts: list[dict[str, np.ndarray]] = []
        try:
            for batch in batches:
                self._check(batch)
                for start in range(0, max(1, len(batch)), self.batch_size):
                    while len(queue) >= self._in_flight:
                        yield from self._settle(queue, parts)
                    chunk = batch[start : start + self.batch_size]
                    last = start + self.batch_size >= len(batch)
                    ticket = self._submit(self._filled(chunk)) if len(chunk) else None
                    queue.append((ticket, len(chunk), last))
            while queue:
                yield from self._settle(queue, parts)
        finally:
            # Left early: let the device finish with the arrays before they are freed.
            for ticket, rows, _ in queue:
                if rows:
                    self._collect(ticket)

    def _settle(
        self, queue: deque[tuple[Any, int, bool]], parts: list[dict[str, np.ndarray]]
    ) -> Iterator[dict[str, np.ndarray]]:
        """Wait for the oldest chunk; yield its batch's features if it was the last of them."""
        ticket, rows, last = queue.popleft()
        if rows:
            arrays = self._collect(ticket)
        else:
            arrays = [np.empty((0, math.prod(s)), np.float32) for s in self.taps.values()]
        named = {tap: array[:rows] for tap, array in zip(self.taps, arrays, strict=True)}
        for tap, values in named.items():
            self._check_finite(tap, values)
        parts.append(named)
        if last:
            if len(parts) > 1:
                named = {tap: np.concatenate([part[tap] for part in parts]) for tap in self.taps}
            parts.clear()
            yield named

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
