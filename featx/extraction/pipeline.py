"""Decode, forward and write, overlapped in a pipeline whose memory does not grow with the data.

::

    files ─► decode threads ─► one bounded queue a backbone ─► engine ─► sink (the cache's writer)

One decode serves every backbone that wants the same pixels. A bounded window of decoded images and
bounded queues of batches make the fast side wait for the slow one.
"""

from __future__ import annotations

import hashlib
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np

from featx.datasets.decode import decode_image
from featx.engines.runner import Runner
from featx.errors import ImageError
from featx.records import ImageSpec

QUEUED_BATCHES = 3
"""Batches waiting for an engine: enough that it never waits for a single slow decode."""

Sink = Callable[[Sequence[str], Mapping[str, np.ndarray]], None]


class UnreadError(ImageError):
    """The bytes that were indexed could not be read: nothing is known of the image."""


@dataclass
class Job:
    """One backbone's share of a pass over the images.

    Attributes
    ----------
    image : ImageSpec
        The pixels it is fed.
    runner : Runner
        The compiled graph.
    digests : set of str
        Images it has to see.
    sink : callable
        Takes the digests of a batch and, a tap, their rows.
    """

    image: ImageSpec
    runner: Runner
    digests: set[str]
    sink: Sink


@dataclass
class PassOutcome:
    """What a pass over the images did.

    Attributes
    ----------
    bad : dict of str to str
        Digest to reason, for images that could not be decoded.
    decode_seconds : float
        Summed over threads.
    forward_seconds, write_seconds : list of float
        A job: time that its thread spent in the engine, and in the sink.
    """

    bad: dict[str, str] = field(default_factory=dict)
    decode_seconds: float = 0.0
    forward_seconds: list[float] = field(default_factory=list)
    write_seconds: list[float] = field(default_factory=list)


def run_jobs(
    jobs: Sequence[Job],
    paths: Mapping[str, str],
    *,
    strict: bool = False,
    threads: int | None = None,
    on_rows: Callable[[int], object] = lambda n: None,
) -> PassOutcome:
    """Feed every image to the jobs that want it and hand the rows to their sinks.

    Parameters
    ----------
    jobs : sequence of Job
    paths : mapping of str to str
        Digest to a file that has these bytes, in the order in which to read.
    strict : bool
        Raise at the first image that cannot be decoded.
    threads : int, optional
        Decoding threads; default: the processors at hand.
    on_rows : callable
        Told the number of rows after each batch written, from the jobs' threads.

    Returns
    -------
    PassOutcome

    Raises
    ------
    ImageError
        With `strict`, for the first image that cannot be decoded.
    FeatxError
        Whatever an engine or a sink raises; the other jobs stop too.
    """
    outcome = PassOutcome()
    lanes = [_Lane(job, on_rows) for job in jobs]
    threads = threads or decode_threads()
    window = 2 * threads + max((job.runner.batch_size for job in jobs), default=1)
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
    try:
        for digest, images, spent in _decoded(pool, window, lanes, paths):
            outcome.decode_seconds += spent
            if isinstance(images, ImageError):
                if strict:
                    raise ImageError(images.reason, paths[digest])
                outcome.bad[digest] = images.reason
                continue
            for lane in lanes:
                if digest in lane.job.digests:
                    lane.add(digest, images[lane.job.image])
        for lane in lanes:
            lane.finish()
    except BaseException:
        for lane in lanes:
            lane.abandon()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for lane in lanes:
            outcome.forward_seconds.append(lane.forward_seconds)
            outcome.write_seconds.append(lane.write_seconds)
    return outcome


def decode_threads() -> int:
    """Return the number of decoding threads to use: one a processor this process may use."""
    import joblib  # knows of affinity masks and container limits

    return int(joblib.cpu_count())


_Images = dict[ImageSpec, np.ndarray]


def _decoded(
    pool: ThreadPoolExecutor, window: int, lanes: Sequence[_Lane], paths: Mapping[str, str]
) -> Iterator[tuple[str, _Images | ImageError, float]]:
    """Yield (digest, images or the error, seconds) in the order of `paths`."""
    waiting: deque[tuple[str, Future[tuple[_Images | ImageError, float]]]] = deque()
    for digest, path in paths.items():
        specs = {lane.job.image for lane in lanes if digest in lane.job.digests}
        waiting.append((digest, pool.submit(decode_file, path, digest, specs)))
        if len(waiting) >= window:
            digest, future = waiting.popleft()
            yield digest, *future.result()
    while waiting:
        digest, future = waiting.popleft()
        yield digest, *future.result()


def decode_file(
    path: str, digest: str, specs: set[ImageSpec]
) -> tuple[_Images | ImageError, float]:
    """Decode the file `path`, whose bytes have the `digest`, to each of `specs`.

    Returns
    -------
    images : dict of ImageSpec to ndarray, or ImageError
        The error where it cannot be read or decoded, or has changed since it was indexed.
    seconds : float
    """
    started = time.perf_counter()
    try:
        with open(path, "rb") as file:
            data = file.read()
        # A row is filed under the digest of the bytes it was made of, whatever has happened to
        # the file since it was indexed.
        if hashlib.sha256(data).hexdigest() != digest:
            raise UnreadError("changed while featx was running; run extract again")
        result: _Images | ImageError = {spec: decode_image(data, spec) for spec in specs}
    except ImageError as error:
        result = error
    except OSError as error:
        result = UnreadError(f"cannot be read: {error.strerror or error}")
    return result, time.perf_counter() - started


class _Lane:
    """A job's thread, the batch being filled for it, and the queue between them."""

    def __init__(self, job: Job, on_rows: Callable[[int], object]) -> None:
        self.job = job
        self.forward_seconds = 0.0
        self.write_seconds = 0.0
        self._starved_seconds = 0.0
        self._on_rows = on_rows
        self._digests: list[str] = []
        self._images: list[np.ndarray] = []
        self._in_flight: deque[list[str]] = deque()
        self._queue: queue.Queue[tuple[list[str], np.ndarray] | None] = queue.Queue(QUEUED_BATCHES)
        self._error: BaseException | None = None
        self._abandoned = False
        # Not Thread.is_alive(): up to Python 3.12 a signal that raises inside Thread.join() makes
        # a running thread count as ended, and its rows would be written on behind our back.
        self._ended = threading.Event()
        threading.Thread(target=self._run, name="forward", daemon=True).start()

    def add(self, digest: str, image: np.ndarray) -> None:
        self._digests.append(digest)
        self._images.append(image)
        if len(self._digests) >= self.job.runner.batch_size:  # it may have become smaller
            self._flush()

    def finish(self) -> None:
        """Run what is left, wait for it, and raise what went wrong."""
        if self._digests:
            self._flush()
        self._put(None)
        while not self._ended.wait(0.2):
            pass  # a wait without end would not let Ctrl-C through at once
        self._raise_error()

    def abandon(self) -> None:
        """Let the batch in work come to its end, drop the rest."""
        self._abandoned = True
        while not self._ended.is_set():
            try:
                self._queue.put(None, timeout=0.05)
            except queue.Full:
                continue
            self._ended.wait(0.05)

    def _flush(self) -> None:
        batch = (self._digests, np.stack(self._images))
        self._digests, self._images = [], []
        self._put(batch)

    def _put(self, item: tuple[list[str], np.ndarray] | None) -> None:
        while True:
            self._raise_error()
            try:
                return self._queue.put(item, timeout=0.2)
            except queue.Full:
                continue

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error

    def _batches(self) -> Iterator[np.ndarray]:
        while not self._abandoned:
            started = time.perf_counter()
            item = self._queue.get()
            self._starved_seconds += time.perf_counter() - started
            if item is None or self._abandoned:
                return
            self._in_flight.append(item[0])
            yield item[1]

    def _run(self) -> None:
        started = time.perf_counter()
        try:
            for rows in self.job.runner.stream(self._batches()):
                digests = self._in_flight.popleft()
                writing = time.perf_counter()
                self.job.sink(digests, rows)
                self.write_seconds += time.perf_counter() - writing
                self._on_rows(len(digests))
        except BaseException as error:  # noqa: BLE001 - raised again in the main thread
            self._error = error
        finally:
            total = time.perf_counter() - started
            self.forward_seconds = total - self._starved_seconds - self.write_seconds
            self._ended.set()
