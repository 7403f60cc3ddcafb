"""An extraction spread over a cluster: the driver's side.

It begins the graphs, says what the workers are told, cuts blocks and takes in results.
"""

from __future__ import annotations

import datetime
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from featx.cluster import Room, stream
from featx.engines.device import STREAM_BATCH, WHOLE_BATCH, cpu_batch_size
from featx.engines.openvino_graph import GraphBuild, OpenVinoGraph
from featx.errors import ClusterError, ImageError
from featx.extraction.pipeline import PassOutcome, decode_file
from featx.extraction.stages import Decoder, Forwarder, Worker
from featx.extraction.target import Target
from featx.extraction.work import Block, Share, Work
from featx.records import TapSpec
from featx.store import url_of

BLOCK_BYTES = 64 << 20
"""Of the pixels of a block: what a worker that is killed loses, seconds to a minute or two."""
BLOCK_ROWS = 1024
_FIRST = 2
"""So many blocks an actor are small at first, for its graphs to have work at once."""
_ENDING = 3
"""So many blocks an actor are left when they begin to be smaller, that all end together."""

_BUILDS_AT_ONCE = 2
"""Processes that build graphs: each holds a network and Keras."""

Shapes = Sequence[Mapping[str, Sequence[int]]]


def new_run() -> str:
    """Return the beginning of the names of a run's parts; they sort by time."""
    now = datetime.datetime.now(datetime.UTC)
    return f"{now:%Y%m%dT%H%M%S%f}-{os.urandom(4).hex()}"


class Graphs:
    """OpenVINO's graphs of targets, in their order; some are being built before they are asked for.

    Those that nobody has taken are given up at the end of the stack.
    """

    def __init__(self, targets: Sequence[Target], stack: ExitStack) -> None:
        self._later, self._stack = deque(targets), stack
        self._begun: deque[GraphBuild] = deque()
        for _ in range(_BUILDS_AT_ONCE):
            self._begin()

    def take(self) -> OpenVinoGraph:
        """Wait for the next graph; see `GraphBuild.result`."""
        with self._begun.popleft() as build:
            graph = build.result()
        self._begin()
        return graph

    def _begin(self) -> None:
        if self._later:
            target = self._later.popleft()
            taps = [TapSpec.parse(tap) for tap in target.plan.extract_taps]
            build = GraphBuild(target.spec, target.weights, taps)
            self._begun.append(self._stack.enter_context(build))


def make_share(
    target: Target,
    *,
    compression: str,
    provenance: Mapping[str, Any],
    graph: OpenVinoGraph | None,
) -> Share:
    """Return what the workers are told of a target."""
    return Share(
        spec=target.spec,
        weights=target.weights,
        taps=target.plan.extract_taps,
        entry=os.path.abspath(target.path),
        key=target.key,
        claim=target.token,
        compression=compression,
        provenance=provenance,
        url=url_of(target.path),
        graph=graph,
    )


def spread_work(
    work: Work,
    wanted: Sequence[Mapping[str, tuple[str, ...]]],
    paths: Mapping[str, str],
    room: Room,
    *,
    strict: bool = False,
    on_shapes: Callable[[Shapes], object] = lambda shapes: None,
    on_rows: Callable[[int], object] = lambda n: None,
) -> PassOutcome:
    """Compute and publish rows on the workers of the cluster that is connected.

    Parameters
    ----------
    work : Work
    wanted : sequence of mapping of str to tuple of str
        Digest to the taps that it lacks, a share of the work.
    paths : mapping of str to str
        Digest to an absolute path of a file that has these bytes, in the order in which to read.
    room : Room
        Of an actor.
    strict : bool
        Raise at an image that cannot be decoded.
    on_shapes : callable
        Told once the shapes of one image's features: tap to shape, a share.
    on_rows : callable
        Told the number of rows after each block that is on the disk.

    Returns
    -------
    PassOutcome

    Raises
    ------
    ImageError
        With `strict`, for an image that cannot be decoded.
    ClusterError
        A worker does not see the files or the cache, lacks weights, or the cluster is gone.
    FeatxError
        Whatever an engine or the cache raises on a worker.
    """
    outcome = PassOutcome(
        forward_seconds=[0.0] * len(work.shares), write_seconds=[0.0] * len(work.shares)
    )
    rows = [block.row() for block in cut_blocks(work, wanted, paths, room.actors)]
    # With a GPU the processors decode, its own node's and others'; else they do both.
    stages = [Decoder, Forwarder] if work.gpu else [Worker]
    told = False
    for row in stream(rows, stages, (work,), room):
        block = Block.of(row)
        block.raise_error()
        bad = block.bad | {d: r for d, r in block.unread.items() if _is_lost(paths[d], d, block)}
        for digest, reason in bad.items():
            if strict:
                raise ImageError(reason, paths[digest])
            outcome.bad[digest] = reason
        if not told:
            on_shapes(block.shapes)
            told = True
        outcome.decode_seconds += block.decode_seconds
        for i in range(len(work.shares)):
            outcome.forward_seconds[i] += block.forward_seconds[i]
            outcome.write_seconds[i] += block.write_seconds[i]
        on_rows(block.rows)
    return outcome


def cut_blocks(
    work: Work,
    wanted: Sequence[Mapping[str, tuple[str, ...]]],
    paths: Mapping[str, str],
    actors: int,
) -> Iterator[Block]:
    """Yield blocks of images that lack the same taps, smaller ones at both ends."""
    groups: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    lacking = [dict(taps.items()) for taps in wanted]
    for digest in paths:
        groups.setdefault(tuple(taps.get(digest, ()) for taps in lacking), []).append(digest)
    first = _batch(work, WHOLE_BATCH)
    batch = _batch(work, STREAM_BATCH) if work.engine == "openvino" else first
    pixels = sum(3 * image.height * image.width for image in work.images)
    most = max(batch, min(BLOCK_ROWS, BLOCK_BYTES // pixels) // batch * batch)
    left, blocks = len(paths), 0
    for lacks, digests in groups.items():
        start = 0
        while start < len(digests):
            size = min(most, max(batch, left // (_ENDING * actors) // batch * batch))
            size = min(first, most) if blocks < _FIRST * actors else size
            blocks += 1
            some = digests[start : start + size]
            yield Block(some, [paths[d] for d in some], [list(taps) for taps in lacks])
            start += len(some)
            left -= len(some)


def _batch(work: Work, images: int) -> int:
    """Return the smallest batch of all image sizes, of so many images at 224×224."""
    return min(cpu_batch_size(image.height, image.width, images) for image in work.images)


def _is_lost(path: str, digest: str, block: Block) -> bool:
    """Return True where a file that a worker could not read cannot be read here either.

    Raises
    ------
    ClusterError
        It can be read here.
    """
    found, _ = decode_file(path, digest, set())
    if isinstance(found, ImageError):
        return True
    raise ClusterError(
        f"{block.host} does not see the image {path} as it is here: {block.unread[digest]}. All "
        "nodes need the images at the same path: put them on a shared file system."
    )
