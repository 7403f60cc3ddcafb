"""Requests as they are sent to other processes: where the features are, and none of them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from pathlib import Path
from socket import gethostname
from typing import Any

from featx.embeddings import Embeddings, read_embeddings
from featx.errors import ClusterError
from featx.sources import FileSource, Source
from featx.store.mirror import find_remote, local_entry
from featx.sweep.request import Request


@dataclass(frozen=True)
class SentRequest:
    """A request to be opened by another process, maybe on another machine.

    Attributes
    ----------
    source, other : SentSource
    rest : mapping
        The other attributes of the request.
    """

    source: SentSource
    other: SentSource | None
    rest: Mapping[str, Any]

    @classmethod
    def of(cls, request: Request) -> SentRequest:
        """Return `request` in a form to be sent."""
        rest = {f.name: getattr(request, f.name) for f in fields(request)}
        source, other = rest.pop("source"), rest.pop("other")
        return cls(SentSource.of(source), SentSource.of(other) if other else None, rest)

    def arrive(self) -> Request:
        """Return the request, its features being found from here.

        Raises
        ------
        ClusterError
            They are not to be seen from this machine.
        CacheError
            Object storage cannot be read from here.
        """
        other = self.other.arrive() if self.other else None
        return Request(self.source.arrive(), other, **self.rest)


@dataclass(frozen=True)
class SentSource:
    """A source to be read by another process.

    Attributes
    ----------
    source : Source
        What it is; a file of embeddings without what is in the file.
    places : tuple of str
        Absolute paths, or URLs of object storage: of its parts, then of its copies, or of the file.
    tap : str
        Of a file.
    """

    source: Source
    places: tuple[str, ...]
    tap: str = ""

    @classmethod
    def of(cls, source: Source) -> SentSource:
        """Return `source` in a form to be sent."""
        if isinstance(source, FileSource):
            return cls(Source(()), (os.path.abspath(source.file.path),), source.tap)
        views = [view for view, _ in source.parts] + list(source.copies)
        return cls(source, tuple(_place(view.path) for view in views))

    def arrive(self) -> Source:
        """Return the source; as `SentRequest.arrive`."""
        paths = [local_entry(place) for place in self.places]
        for path in paths:
            if not path.exists():
                raise ClusterError(
                    f"The worker on {gethostname()} does not see {path}. Put the cache on storage "
                    "that all machines of the cluster mount at the same path, or in object "
                    "storage, and name it with --cache-dir."
                )
        if not self.source.parts:
            about = paths[0].stat()
            file = _read_file(str(paths[0]), about.st_size, about.st_mtime_ns)
            return FileSource(file=file, tap=self.tap)
        here = iter(paths)
        parts = tuple((replace(view, path=next(here)), tap) for view, tap in self.source.parts)
        copies = tuple(replace(view, path=next(here)) for view in self.source.copies)
        return replace(self.source, parts=parts, copies=copies)


def _place(path: Path) -> str:
    """Return where an entry is found from other machines too."""
    remote = find_remote(path / "cache.h5")
    return str(path.absolute()) if remote is None else f"{remote.url}/{remote.name_of(path)}"


@lru_cache(maxsize=1)
def _read_file(path: str, size: int, changed: int) -> Embeddings:
    """Read a file once for all features in it."""
    return read_embeddings(path)
