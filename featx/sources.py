"""One set of features to compare: cached taps, or what a file of embeddings holds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from featx.errors import CacheMissError, SpecError

if TYPE_CHECKING:
    from featx.embeddings import Embeddings
    from featx.records import FeatureSet
    from featx.store import ViewInfo


@dataclass(frozen=True)
class Source:
    """One set of features: a cached tap, or several to be fused.

    Attributes
    ----------
    parts : tuple of (ViewInfo, str)
        Entry and tap.
    copies : tuple of ViewInfo
        Entries of altered copies of the images, to be used with the one part.
    """

    parts: tuple[tuple[ViewInfo, str], ...]
    copies: tuple[ViewInfo, ...] = ()

    @property
    def identity(self) -> tuple[Any, ...]:
        """What makes features comparable across data sets: keys and taps."""
        parts = tuple((view.key.digest(), tap) for view, tap in self.parts)
        return parts, tuple(view.key.digest() for view in self.copies)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return self.parts[0][0].targets

    def labels(self, target: str) -> FeatureSet:
        """Read the labels of a column; the features, of the first part, are left on the disk.

        Raises
        ------
        CacheMissError, CacheCorruptError, SpecError
            As `featx.store.load_features`.
        """
        from featx.store import load_features

        view, tap = self.parts[0]
        return load_features(view.path, tap, target=target, lazy=True)

    def load(self, target: str | None, *, lazy: bool = False) -> FeatureSet:
        """Read it; the parts of a fusion are left on the disk until rows or columns are asked for.

        Parameters
        ----------
        target : str, optional
            Label column; default: the first.
        lazy : bool
            Leave what is no fusion on the disk, too.

        Raises
        ------
        CacheMissError, CacheCorruptError, SpecError
            As `featx.store.load_features`.
        """
        from featx.fuse import FusedColumns, fuse, matched_rows
        from featx.store import load_features

        fused = len(self.parts) > 1
        lazy = lazy or fused
        found = [load_features(v.path, tap, target=target, lazy=lazy) for v, tap in self.parts]
        if not self.copies:
            return fuse(found) if fused else found[0]
        own, (_, tap) = found[0], self.parts[0]
        views = [load_features(v.path, tap, target=target, lazy=lazy) for v in self.copies]
        rows = [matched_rows(own, f) for f in views]
        seconds = [float(f.provenance.get("extract_seconds") or 0.0) for f in (own, *views)]
        backbone = f"{own.provenance['backbone']} with {len(views)} view{'s'[: len(views) - 1]}"
        return replace(
            own,
            views=tuple(
                FusedColumns([(f.X, chosen)]) if lazy else f.X[chosen]
                for f, chosen in zip(views, rows, strict=True)
            ),
            provenance={**own.provenance, "backbone": backbone, "extract_seconds": sum(seconds)},
        )


@dataclass(frozen=True)
class FileSource(Source):
    """One set of features in a file made elsewhere.

    Attributes
    ----------
    file : Embeddings
    tap : str
        Name of the set; "" where it has none.
    """

    parts: tuple[tuple[ViewInfo, str], ...] = ()
    file: Embeddings = field(kw_only=True)
    tap: str = field(kw_only=True)

    @property
    def identity(self) -> tuple[Any, ...]:
        """Sets of one name and width, of whatever files: what made them is not known."""
        return "file", self.tap, self.file.taps[self.tap].shape[1]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the label columns."""
        return tuple(self.file.targets)

    def labels(self, target: str) -> FeatureSet:
        """Return the features with the labels of a column."""
        return self.load(target)

    def load(self, target: str | None, *, lazy: bool = False) -> FeatureSet:
        """Return the features, which are in memory, with the labels of a column.

        Raises
        ------
        SpecError
            There is no such label column.
        """
        return self.file.features(self.tap, target)


def sources_in_file(
    data: str | os.PathLike[str], taps: Sequence[str], options: Sequence[str]
) -> list[Source]:
    """Return the sets of features in a file of embeddings.

    Parameters
    ----------
    data : path
    taps : sequence of str
        Names of sets; empty means all there are.
    options : sequence of str
        Options given that cannot choose among them.

    Raises
    ------
    SpecError
        There are such options.
    CacheMissError
        There is no such set.
    DatasetError
        The file cannot be read.
    """
    from featx.embeddings import read_embeddings

    if options:
        raise SpecError(
            f"{os.fspath(data)!r} holds embeddings made elsewhere, of which {', '.join(options)} "
            "cannot choose: leave it out. (--pooling names a set of features in the file.)"
        )
    file = read_embeddings(data)
    for tap in taps:
        if tap not in file.taps:
            raise CacheMissError(
                f"{os.fspath(data)!r} has no features {tap!r}, it has: "
                f"{', '.join(name or 'one set without a name' for name in file.taps)}."
            )
    return [FileSource(file=file, tap=tap) for tap in taps or file.taps]
