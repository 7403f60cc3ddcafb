"""What to reuse, what to compute from what is cached, and what to extract: decided purely."""

from __future__ import annotations

from collections.abc import ItemsView, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from featx.columns import Digests, Finder
from featx.records import TapSpec
from featx.store.tap import TapShape

LOST = (-1, -1)
"""Place of a row that is not there."""


class Rows(Mapping[str, tuple[int, int]]):
    """Where the rows of some taps lie: image digest to (number of the part, row in it).

    In columns, 84 bytes a row; `places` looks many up at a time.

    Parameters
    ----------
    digests : Digests
        Of a digest that is there twice, the first counts.
    places : ndarray of shape (n, 2), int32

    Attributes
    ----------
    digests : Digests
        Each once.
    where : ndarray of shape (n, 2), int32
        Their places.
    """

    def __init__(self, digests: Digests, places: np.ndarray) -> None:
        self.digests, self.where = digests, places
        self._finder = Finder(digests)
        if not self._finder.firsts.all():
            self.digests = digests.take(self._finder.firsts)
            self.where = places[self._finder.firsts]
            self._finder = Finder(self.digests)

    @classmethod
    def of(cls, rows: Mapping[str, tuple[int, int]]) -> Rows:
        """Return a mapping in columns."""
        if isinstance(rows, Rows):
            return rows
        return cls(Digests.of(rows), np.array(list(rows.values()), np.int32).reshape(-1, 2))

    def places(self, digests: Digests) -> np.ndarray:
        """Return the places (m, 2), int32, of the rows of `digests`; `LOST` where there is none."""
        found = self._finder.find(digests)
        places = np.full((len(digests), 2), LOST, np.int32)
        places[found >= 0] = self.where[found[found >= 0]]
        return places

    def holds(self, digests: Digests) -> np.ndarray:
        """Return which of `digests` have a row, (m,) bool."""
        return self._finder.find(digests) >= 0

    def __len__(self) -> int:
        return len(self.digests)

    def __iter__(self) -> Iterator[str]:
        return iter(self.digests)

    def __getitem__(self, digest: str) -> tuple[int, int]:
        part, row = self.places(Digests.of([digest]))[0].tolist()
        if part < 0:
            raise KeyError(digest)
        return part, row


NO_ROWS = Rows.of({})


class Wanting(Mapping[str, tuple[str, ...]]):
    """Digest to the taps that it lacks, in columns.

    Attributes
    ----------
    digests : Digests
        Each once.
    codes : ndarray of shape (n,), int64
        Index into `taps`, a digest each.
    taps : list of tuple of str
    """

    def __init__(self, digests: Digests, codes: np.ndarray, taps: list[tuple[str, ...]]) -> None:
        self.digests, self.codes, self.taps = digests, codes, taps

    @cached_property
    def _finder(self) -> Finder:
        return Finder(self.digests)

    def __len__(self) -> int:
        return len(self.digests)

    def __iter__(self) -> Iterator[str]:
        return iter(self.digests)

    def __getitem__(self, digest: str) -> tuple[str, ...]:
        at = int(self._finder.find(Digests.of([digest]))[0])
        if at < 0:
            raise KeyError(digest)
        return self.taps[self.codes[at]]

    def items(self) -> ItemsView[str, tuple[str, ...]]:
        """Return the items of a dictionary of all: faster than one by one, and larger."""
        taps = [self.taps[code] for code in self.codes.tolist()]
        return dict(zip(self.digests, taps, strict=True)).items()

    def counts(self) -> dict[tuple[str, ...], int]:
        """Return how many digests lack which taps, those of the first digest first."""
        codes, first, counts = np.unique(self.codes, return_index=True, return_counts=True)
        order = np.argsort(first)
        return {self.taps[codes[i]]: int(counts[i]) for i in order.tolist()}

    def without(self, digests: Iterable[str]) -> Wanting:
        """Return it without some digests."""
        keep = Finder(Digests.of(digests)).find(self.digests) < 0
        return Wanting(self.digests.take(keep), self.codes[keep], self.taps)


@dataclass(frozen=True)
class EntryState:
    """Which rows an entry holds.

    Attributes
    ----------
    parts : tuple of str
        File names of the parts, sorted.
    seals : tuple of str
        Digest of each part's content.
    part_rows : tuple of int
        Rows of each part.
    part_bytes : tuple of int
        Size of each part's file.
    part_taps : tuple of tuple of str
        Taps of each part.
    compression : str
        Of the newest part.
    shapes : mapping of str to TapShape
        A tap.
    rows : mapping of str to mapping
        Tap to image digest to (number of the part, row in it); kept as `Rows`.
    """

    parts: tuple[str, ...] = ()
    seals: tuple[str, ...] = ()
    part_rows: tuple[int, ...] = ()
    part_bytes: tuple[int, ...] = ()
    part_taps: tuple[tuple[str, ...], ...] = ()
    compression: str = "none"
    shapes: Mapping[str, TapShape] = field(default_factory=dict)
    rows: Mapping[str, Rows] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "rows", {tap: Rows.of(r) for tap, r in self.rows.items()})


@dataclass(frozen=True)
class RowPlan:
    """A decision about the digests and taps wanted; each digest counts once.

    Attributes
    ----------
    reuse : Digests
        Those whose every tap is cached.
    derive : mapping of str to Digests
        Tap to the digests whose row can be computed from a cached flatten.
    extract : Wanting
        Digest to the taps that a forward pass must give.
    """

    reuse: Digests
    derive: Mapping[str, Digests]
    extract: Wanting

    @property
    def extract_taps(self) -> tuple[str, ...]:
        """All taps that any digest has to be extracted with."""
        return tuple(dict.fromkeys(tap for taps in self.extract.counts() for tap in taps))


def flatten_of(tap: str) -> str | None:
    """Return the name of the tap that `tap` can be computed from, or None.

    >>> flatten_of("avg"), flatten_of("block4_pool:max"), flatten_of("flatten")
    ('flatten', 'block4_pool:flatten', None)
    """
    spec = TapSpec.parse(tap)
    return None if spec.pooling == "flatten" else TapSpec(spec.layer, "flatten").name


def plan_rows(
    state: EntryState, digests: Iterable[str], taps: Sequence[str], also: Iterable[str] = ()
) -> RowPlan:
    """Decide what to do for each digest and tap wanted.

    Parameters
    ----------
    state : EntryState
        What is cached (`CacheEntry.state`).
    digests : iterable of str
        Image digests wanted; duplicates are taken once, in the order first seen.
    taps : sequence of str
        Tap names wanted.
    also : iterable of str
        Taps that images which must be extracted give too, where they lack them.

    Returns
    -------
    RowPlan
        A digest that must be extracted for one tap is not derived for another: the forward pass
        gives all that it misses.
    """
    taps = tuple(dict.fromkeys(taps))
    wanted = Digests.of(digests).distinct()
    missing = np.zeros((len(taps), len(wanted)), bool)
    derivable: np.ndarray = np.ones(len(wanted), bool)
    for number, tap in enumerate(taps):
        missing[number] = ~state.rows.get(tap, NO_ROWS).holds(wanted)
        base = flatten_of(tap)
        shape = state.shapes.get(base) if base else None
        source = state.rows[base] if base and shape and len(shape.shape) == 3 else NO_ROWS
        derivable &= source.holds(wanted) | ~missing[number]
    lacking = np.asarray(missing.any(axis=0))
    whole = ~lacking
    derive = {
        tap: wanted.take(missing[number] & derivable)
        for number, tap in enumerate(taps)
        if (missing[number] & derivable).any()
    }
    lacking &= ~derivable
    rest = wanted.take(lacking)
    lacks = {tap: missing[number, lacking] for number, tap in enumerate(taps)}
    for tap in also:
        if tap not in lacks:
            lacks[tap] = ~state.rows.get(tap, NO_ROWS).holds(rest)
    return RowPlan(wanted.take(whole), derive, _wanting(rest, lacks))


def _wanting(digests: Digests, lacks: Mapping[str, np.ndarray]) -> Wanting:
    """Return which taps each digest lacks; `lacks` says so a tap, (n,) bool."""
    codes = np.zeros(len(digests), np.int64)
    names: list[tuple[str, ...]] = [()]
    for tap, missing in lacks.items():
        found, codes = np.unique(2 * codes + missing, return_inverse=True)
        names = [names[code // 2] + (tap,) * (code % 2) for code in found.tolist()]
    return Wanting(digests, codes, names)
