"""What to reuse, what to compute from what is cached, and what to extract: decided purely."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from featx.records import TapSpec
from featx.store.tap import TapShape


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
        Tap to image digest to (number of the part, row in it).
    """

    parts: tuple[str, ...] = ()
    seals: tuple[str, ...] = ()
    part_rows: tuple[int, ...] = ()
    part_bytes: tuple[int, ...] = ()
    part_taps: tuple[tuple[str, ...], ...] = ()
    compression: str = "none"
    shapes: Mapping[str, TapShape] = field(default_factory=dict)
    rows: Mapping[str, Mapping[str, tuple[int, int]]] = field(default_factory=dict)


@dataclass(frozen=True)
class RowPlan:
    """A decision about the digests and taps wanted; each digest counts once.

    Attributes
    ----------
    reuse : tuple of str
        Digests whose every tap is cached.
    derive : mapping of str to tuple of str
        Tap to the digests whose row can be computed from a cached flatten.
    extract : mapping of str to tuple of str
        Digest to the taps that a forward pass must give.
    """

    reuse: tuple[str, ...]
    derive: Mapping[str, tuple[str, ...]]
    extract: Mapping[str, tuple[str, ...]]

    @property
    def extract_taps(self) -> tuple[str, ...]:
        """All taps that any digest has to be extracted with."""
        return tuple(dict.fromkeys(tap for taps in self.extract.values() for tap in taps))


def flatten_of(tap: str) -> str | None:
    """Return the name of the tap that `tap` can be computed from, or None.

    >>> flatten_of("avg"), flatten_of("block4_pool:max"), flatten_of("flatten")
    ('flatten', 'block4_pool:flatten', None)
    """
    spec = TapSpec.parse(tap)
    return None if spec.pooling == "flatten" else TapSpec(spec.layer, "flatten").name


def plan_rows(state: EntryState, digests: Iterable[str], taps: Sequence[str]) -> RowPlan:
    """Decide what to do for each digest and tap wanted.

    Parameters
    ----------
    state : EntryState
        What is cached (`CacheEntry.state`).
    digests : iterable of str
        Image digests wanted; duplicates are taken once, in the order first seen.
    taps : sequence of str
        Tap names wanted.

    Returns
    -------
    RowPlan
        A digest that must be extracted for one tap is not derived for another: the forward pass
        gives all that it misses.
    """
    wanted = dict.fromkeys(digests)
    wanted.pop("", None)
    held = {tap: state.rows.get(tap, {}) for tap in taps}
    source = {}
    for tap in taps:
        base = flatten_of(tap)
        shape = state.shapes.get(base) if base else None
        source[tap] = state.rows[base] if base and shape and len(shape.shape) == 3 else {}
    reuse: list[str] = []
    derive: dict[str, list[str]] = {}
    extract: dict[str, tuple[str, ...]] = {}
    for digest in wanted:
        missing = tuple(tap for tap in held if digest not in held[tap])
        if not missing:
            reuse.append(digest)
        elif all(digest in source[tap] for tap in missing):
            for tap in missing:
                derive.setdefault(tap, []).append(digest)
        else:
            extract[digest] = missing
    return RowPlan(tuple(reuse), {t: tuple(d) for t, d in derive.items()}, extract)
