"""What the driver of an extraction on a cluster and its workers tell each other."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xxhash

from featx import __version__
from featx.engines.openvino_graph import OpenVinoGraph
from featx.errors import FeatxError, pack_error, unpack_error
from featx.records import BackboneSpec, ExtractionKey, ImageSpec, WeightsRecord
from featx.store import entry_here, is_published
from featx.store.folders import PARTS
from featx.store.part import Part

Row = dict[str, Any]
"""What goes from stage to stage: "block", a `Block` as JSON, and "pixels0", … one an image size."""


@dataclass(frozen=True)
class Share:
    """One backbone's share of the work.

    Attributes
    ----------
    spec : BackboneSpec
    weights : WeightsRecord
    taps : tuple of str
        All that any image lacks.
    entry : str
        Absolute folder of the entry.
    key : ExtractionKey
    claim : str
        Token of the claim that the run holds there.
    compression : str
    provenance : mapping
    url : str
        Of the cache, where it is kept in object storage: a worker writes into its own mirror then.
    graph : OpenVinoGraph, optional
        Where the driver has built it: workers need neither Keras nor weights then.
    """

    spec: BackboneSpec
    weights: WeightsRecord
    taps: tuple[str, ...]
    entry: str
    key: ExtractionKey
    claim: str
    compression: str
    provenance: Mapping[str, Any]
    url: str = ""
    graph: OpenVinoGraph | None = field(default=None, repr=False, compare=False)  # megabytes

    @property
    def folder(self) -> Path:
        """The entry's folder on this machine."""
        return entry_here(Path(self.entry), self.url)


@dataclass(frozen=True)
class Work:
    """What every worker is told.

    Attributes
    ----------
    run : str
        What the parts' names begin with; names of later runs sort after it.
    shares : tuple of Share
    engine, precision : str
    threads : int
        Of an engine; 0 sets no limit.
    gpu : bool
        Whether a worker has one, for its engine to use.
    version : str
        featx's.
    """

    run: str
    shares: tuple[Share, ...]
    engine: str
    precision: str
    threads: int
    gpu: bool
    version: str = __version__

    @property
    def images(self) -> tuple[ImageSpec, ...]:
        """The pixels wanted, each once."""
        return tuple(dict.fromkeys(share.spec.image for share in self.shares))

    def part(self, share: Share, block: Block) -> Path:
        """Return where the rows of a block are, or will be."""
        taps = block.lacks[self.shares.index(share)]
        name = xxhash.xxh3_128_hexdigest(json.dumps([taps, block.digests]).encode())
        return share.folder / PARTS / f"{self.run}-{name}.h5"

    def look(self, block: Block) -> tuple[list[Share], set[str]]:
        """Return the shares whose part is not there yet; if all are, the digests they hold."""
        wanted = [s for s, taps in zip(self.shares, block.lacks, strict=True) if taps]
        missing = [share for share in wanted if not is_published(self.part(share, block))]
        held: set[str] = set()
        if not missing:
            with Part(self.part(wanted[0], block)) as part:
                held.update(part.digests())
        return missing, held


@dataclass
class Block:
    """Images that lack the same taps, and what came of them.

    Attributes
    ----------
    digests, paths : list of str
    lacks : list of list of str
        Taps, a share.
    bad, unread : dict of str to str
        Digest to reason: files that are no sound image, and files that could not be read or are
        not those that were indexed.
    decoded : list of str
        Digests of the images whose pixels go along, in their order.
    rows : int
        On the disk now, over all shares.
    shapes : list of dict
        Tap to shape of one image's features, a share.
    decode_seconds : float
    forward_seconds, write_seconds : list of float
        A share.
    host : str
        Where it was read.
    error : list
        The FeatxError that has to end the run, packed; empty where all is well.
    """

    digests: list[str]
    paths: list[str]
    lacks: list[list[str]]
    bad: dict[str, str] = field(default_factory=dict)
    unread: dict[str, str] = field(default_factory=dict)
    decoded: list[str] = field(default_factory=list)
    rows: int = 0
    shapes: list[dict[str, list[int]]] = field(default_factory=list)
    decode_seconds: float = 0.0
    forward_seconds: list[float] = field(default_factory=list)
    write_seconds: list[float] = field(default_factory=list)
    host: str = ""
    error: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, row: Row) -> Block:
        """Read the block of a row."""
        return cls(**json.loads(row["block"]))

    def row(self, **pixels: Any) -> Row:
        """Return it as a row; in ASCII, as a path may hold bytes that are not UTF-8."""
        return {"block": json.dumps(asdict(self)), **pixels}

    def fail(self, error: FeatxError) -> None:
        """Note the error that has to end the run."""
        self.error = pack_error(error)

    def raise_error(self) -> None:
        """Raise the error that was noted, as it was."""
        if self.error:
            raise unpack_error(self.error)
