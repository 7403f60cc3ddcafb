"""The stages of an extraction spread over a cluster: what its workers do, in plain Python.

::

    block ─► Decoder (actors) ─► Forwarder (actors, each with its graphs) ─► parts
    block ─► Worker (actors that are both: where there are no GPUs) ─► parts

A block is some hundred images that lack the same taps. Its rows become one part a backbone, whose
name follows from the run and the block: a block that is done again, because a worker was lost,
finds its part there, or replaces it by the same. A block counts as done once its parts are on the
disk.

A part is published only while the run holds the claim of its entry, so that what a dead run left
behind in a cluster cannot write beside the run that took over.
"""

from __future__ import annotations

import math
import os
import platform
import queue
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np

from featx import __version__
from featx.backbones import resolve_weights
from featx.engines import ENGINES, Runner, choose_engine
from featx.engines.device import has_gpu, limit_threads
from featx.engines.openvino import OpenVinoEngine
from featx.errors import CacheBusyError, ClusterError, FeatxError, ImageError
from featx.extraction.loaded import load_runner
from featx.extraction.pipeline import UnreadError, decode_file
from featx.extraction.work import Block, Row, Share, Work
from featx.records import ImageSpec, TapSpec
from featx.store.claim import is_held
from featx.store.part import DIGEST_BYTES
from featx.store.writer import PartWriter

SEEN_SECONDS = 60.0
"""How long a file made on one machine may take to be seen on another: network folders cache."""


class Decoder:
    """Reads and decodes the images of a block: the first stage."""

    def __init__(self, work: Work, *, threads: int = 1) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def __call__(self, row: Row) -> Row:
        """Return the block with the pixels of its sound images."""
        block, work = Block.of(row), self._work
        started = time.perf_counter()
        block.host = platform.node()
        missing, held = work.look(block)
        specs = {share.spec.image for share in missing}
        pixels: dict[ImageSpec, list[np.ndarray]] = {image: [] for image in work.images}
        files = [f for f in zip(block.digests, block.paths, strict=True) if f[0] not in held]
        wanted = specs or set(work.images)
        found = self._pool.map(lambda file: decode_file(file[1], file[0], wanted)[0], files)
        for (digest, _), images in zip(files, found, strict=True):
            if isinstance(images, ImageError):
                kind = block.unread if isinstance(images, UnreadError) else block.bad
                kind[digest] = images.reason
            elif not missing:
                block.unread[digest] = "could not be read at first; run extract again"
            else:
                block.decoded.append(digest)
                for spec, image in images.items():
                    pixels[spec].append(image)
        block.decode_seconds = time.perf_counter() - started
        columns = [np.stack(found) if found else b"" for found in pixels.values()]
        return block.row(**{f"pixels{i}": column for i, column in enumerate(columns)})


class Worker:
    """Both stages in one, where the same cores do both: spares a process, and copies between them.

    Two calls at once: one block is decoded while another goes through the graphs.
    """

    def __init__(self, work: Work) -> None:
        self._decode, self._forward = Decoder(work, threads=work.threads), Forwarder(work)

    def __call__(self, row: Row) -> Row:
        """Return what came of a block, without pixels."""
        return self._forward(self._decode(row))


class Forwarder:
    """Holds the compiled graphs, runs blocks through them and publishes parts: the second stage.

    Two calls at once keep the graphs busy: one block is written while another goes through.
    """

    def __init__(self, work: Work) -> None:
        self._work = work
        self._failed: FeatxError | None = None
        try:
            if work.threads:
                limit_threads(work.threads)
            self._require_same_place()
            self._graphs = [_GraphThread(_load(work, share)) for share in work.shares]
        except FeatxError as error:  # told with the first block, as nothing else would tell it
            self._failed = error

    def __call__(self, row: Row) -> Row:
        """Publish the parts of a block and return what came of it, without pixels."""
        block = Block.of(row)
        try:
            if self._failed:
                raise self._failed
            self._publish(block, row)
        except FeatxError as error:
            block.fail(error)
        block.digests, block.paths, block.decoded = [], [], []
        return block.row()

    def _publish(self, block: Block, row: Row) -> None:
        work = self._work
        missing, held = work.look(block)
        futures: list[list[Future[_Rows]]] = []
        for share, graph in zip(work.shares, self._graphs, strict=True):
            image = share.spec.image
            column = np.frombuffer(row[f"pixels{work.images.index(image)}"], np.uint8)
            pixels = column.reshape(-1, image.height, image.width, 3)
            futures.append(graph.run(pixels) if share in missing else [])
        for share, graph, batches in zip(work.shares, self._graphs, futures, strict=True):
            block.shapes.append({tap: list(shape) for tap, shape in graph.runner.taps.items()})
            written = self._write(share, block, graph.runner, batches) if batches else 0.0
            block.write_seconds.append(written)
            block.forward_seconds.append(graph.take_seconds())
        block.rows = sum(map(bool, block.lacks)) * (len(block.decoded) or len(held))

    def _write(
        self, share: Share, block: Block, runner: Runner, batches: Sequence[Future[_Rows]]
    ) -> float:
        """Publish the part of a share; return the seconds that this took beside the graph's."""
        work = self._work
        taps = block.lacks[work.shares.index(share)]
        part = work.part(share, block)
        shapes = {tap: runner.taps[tap] for tap in taps}
        width = sum(map(math.prod, shapes.values()))
        row_bytes = width * np.dtype(share.key.stored).itemsize + DIGEST_BYTES
        seconds, done, total = 0.0, 0, len(block.decoded)
        writer = PartWriter(
            part.parent,
            share.key,
            shapes,
            part_bytes=total * row_bytes,  # with the last row it is published
            part_seconds=math.inf,
            provenance=share.provenance,
            compression=share.compression,
            name=part.name,
        )
        for batch in batches:
            rows = batch.result()
            started = time.perf_counter()
            first, done = done, done + len(rows[taps[0]])
            if done == total and not is_held(share.folder, share.claim):
                raise CacheBusyError(
                    f"{share.entry} is held by another run by now, or by none: what this run had "
                    f"in work on {platform.node()} is dropped. Run featx extract again."
                )
            writer.append(block.decoded[first:done], {tap: rows[tap] for tap in taps})
            seconds += time.perf_counter() - started
        started = time.perf_counter()
        writer.close()
        return seconds + time.perf_counter() - started

    def _require_same_place(self) -> None:
        """Raise ClusterError unless this worker is like the driver, with the same cache folders."""
        work, host = self._work, platform.node()
        if __version__ != work.version:
            raise ClusterError(
                f"{host} has featx {__version__}, and this run is of featx {work.version}. Install "
                "the same version on all nodes."
            )
        for share in work.shares:
            if share.url:  # which is the same place everywhere
                continue
            deadline = time.monotonic() + SEEN_SECONDS
            while not is_held(share.folder, share.claim):
                if not Path(share.entry).is_dir() or time.monotonic() > deadline:
                    raise ClusterError(
                        f"{host} does not see the cache folder {share.entry} of this run. All "
                        "nodes need it at the same path, on a shared file system: give one with "
                        "--cache-dir, or a cache in object storage (s3://BUCKET/PREFIX)."
                    )
                time.sleep(1.0)


def _load(work: Work, share: Share) -> Runner:
    """Compile the graph of a share with the weights that it is to have."""
    name, _ = choose_engine(work.engine)
    if share.graph:
        engine = ENGINES.get(name)
        assert isinstance(engine, OpenVinoEngine)
        return engine.compile(share.spec, share.graph, work.precision)
    host = platform.node()
    if work.gpu and name == "tensorflow" and not has_gpu():
        raise ClusterError(
            f"The engine {name!r} finds no GPU on {host}. Install what it needs to use one there: "
            "pip install 'tensorflow[and-cuda]'."
        )
    weights = share.weights
    if weights.path and not os.path.exists(weights.path):  # at another place, or to be downloaded
        try:
            weights = resolve_weights(share.spec)
        except FeatxError as error:
            raise ClusterError(f"No weights of {share.spec.text} on {host}: {error}") from error
    elif weights.path:
        weights = resolve_weights(replace(share.spec, weights=weights.path))
    if weights.digest != share.weights.digest:
        raise ClusterError(
            f"{weights.path} on {host} is not the weights file of this run. Put the same file on "
            "all nodes, or give one on a shared file system with --weights."
        )
    taps = [TapSpec.parse(tap) for tap in share.taps]
    return load_runner(name, share.spec, weights, taps, work.precision)


_Rows = dict[str, np.ndarray]


class _GraphThread:
    """A graph at work in a thread of its own, for as many callers as come."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self._queue: queue.SimpleQueue[tuple[np.ndarray, Future[_Rows]]] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._seconds = 0.0
        threading.Thread(target=self._work, name="forward", daemon=True).start()

    def run(self, pixels: np.ndarray) -> list[Future[_Rows]]:
        """Begin the work on uint8 (n, height, width, 3); return what its batches will give."""
        size = self.runner.batch_size
        futures: list[Future[_Rows]] = []
        for start in range(0, len(pixels), size):
            futures.append(Future())
            self._queue.put((pixels[start : start + size], futures[-1]))
        return futures

    def take_seconds(self) -> float:
        """Return how long the graph has been at work since this was asked last."""
        with self._lock:
            seconds, self._seconds = self._seconds, 0.0
        return seconds

    def _work(self) -> None:
        while True:
            first = self._queue.get()
            started = time.perf_counter()
            waiting: deque[Future[_Rows]] = deque()
            try:
                for rows in self.runner.stream(self._batches(first, waiting)):
                    waiting.popleft().set_result(rows)
            except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
                for future in waiting:
                    future.set_exception(error)
            with self._lock:
                self._seconds += time.perf_counter() - started

    def _batches(
        self, first: tuple[np.ndarray, Future[_Rows]], waiting: deque[Future[_Rows]]
    ) -> Iterator[np.ndarray]:
        """Yield batches for as long as there are some: then the last ones have to come out."""
        batch, future = first
        while True:
            waiting.append(future)
            yield batch
            try:
                batch, future = self._queue.get_nowait()
            except queue.Empty:
                return
