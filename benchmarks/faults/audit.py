"""What is in a cache, against what should be: the judge of every fault."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featx.errors import CacheError, CacheMissError
from featx.store import CacheEntry, load_features, verify
from featx.store.claim import living_holder
from featx.store.derive import pool
from featx.store.part import Part

Rows = dict[str, set[str]]
"""Tap to image digests."""


@dataclass(frozen=True)
class Reference:
    """Rows of a run that nothing happened to.

    Attributes
    ----------
    forward : mapping of str to mapping of str to ndarray
        Tap to image digest to its row, as the engine gave it.
    derived : mapping
        The same, for taps that were computed from flatten.
    """

    forward: Mapping[str, Mapping[str, np.ndarray]]
    derived: Mapping[str, Mapping[str, np.ndarray]]

    @classmethod
    def read(cls, entry: Path, shape: tuple[int, ...]) -> Reference:
        """Take the rows of `entry`; `shape` is that of one image's flatten."""
        forward = {}
        for tap in ("avg", "flatten"):
            found = load_features(entry, tap)
            forward[tap] = dict(zip(found.digests, found.X, strict=True))
        maps = {d: row.reshape(1, *shape) for d, row in forward["flatten"].items()}
        return cls(forward, {"avg": {d: pool(m, "avg")[0] for d, m in maps.items()}})

    def wrong(
        self, tap: str, digests: Iterable[str], rows: np.ndarray, derived: Iterable[str] = ()
    ) -> tuple[int, int]:
        """Return how many rows differ in a bit, and how many are as derived from flatten.

        A row may only be the derived one where `derived` says that it was lost and computed so.
        """
        wrong = pooled = 0
        may = set(derived)
        for digest, row in zip(digests, rows, strict=True):
            if same_bits(row, self.forward[tap][digest]):
                continue
            if digest in may and same_bits(row, self.derived[tap][digest]):
                pooled += 1
            else:
                wrong += 1
        return wrong, pooled


@dataclass
class Outcome:
    """What one fault came to.

    Attributes
    ----------
    struck : bool
        The fault took place (a run may end before its kill).
    recovered : bool
        The next plain run came to its end, with every value right and nothing left behind.
    recomputed : int
        Rows that lay sound in a complete part and were computed again.
    missing : int
        Rows missing or different at the end, or computed and not published beyond one part.
    undetected : int
        Values that were read wrong, or damage that changes a value and that nothing reports.
    derived : int
        Rows lost to damage that were pooled from a sound flatten row, without a forward pass.
    forwarded : int
        Images that the next run made a forward pass for.
    notes : list of str
        What was wrong or worth saying, in words.
    """

    struck: bool = True
    recovered: bool = True
    recomputed: int = 0
    missing: int = 0
    undetected: int = 0
    derived: int = 0
    forwarded: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def lost(self) -> int:
        """Rows lost: computed again though published, or wrong or missing at the end."""
        return self.recomputed + self.missing

    def fail(self, note: str) -> None:
        """Note what went wrong."""
        self.recovered = False
        self.notes.append(note)


def same_bits(one: np.ndarray, two: np.ndarray) -> bool:
    """Tell whether two arrays are equal bit for bit."""
    return one.shape == two.shape and one.dtype == two.dtype and one.tobytes() == two.tobytes()


def entry_of(cache: Path) -> Path | None:
    """Return the folder of the one entry in `cache`."""
    found = [parts.parent for parts in cache.glob("*/*/parts")]
    if len(found) > 1:
        raise AssertionError(f"one entry is expected, not {found}")
    return found[0] if found else None


def published(cache: Path) -> Rows:
    """Return the rows in the complete parts of the entry in `cache`.

    Raises
    ------
    CacheError
        A part is damaged.
    """
    entry = entry_of(cache)
    if entry is None:
        return {}
    try:
        return {tap: set(rows) for tap, rows in CacheEntry.at(entry).state().rows.items()}
    except CacheMissError:
        return {}


def rows_in_parts(cache: Path) -> list[str]:
    """Return the digest of every row of every part, as often as it is there."""
    entry = entry_of(cache)
    found: list[str] = []
    for path in sorted((entry / "parts").glob("*.h5")) if entry else ():
        with Part(path) as part:
            found += part.digests()
    return found


def count_again(forward: set[str], derive: Rows, had: Rows, wanted: Iterable[str]) -> int:
    """Return how many rows of `had` are computed again: by a forward pass, or derived."""
    whole = set.intersection(*(had.get(tap, set()) for tap in wanted))
    return len(forward & whole) + sum(len(d & had.get(tap, set())) for tap, d in derive.items())


def look_between(cache: Path, reference: Reference, outcome: Outcome, *, damaged: bool) -> Rows:
    """After a fault, before the next run: nothing that can be read is wrong.

    With `damaged`, errors are expected; wrong values never are.
    """
    entry = entry_of(cache)
    if entry is None:
        return {}
    try:
        had = published(cache)
        bad = verify(entry)["bad"]
    except CacheError as error:
        had, bad = {}, [{"reason": str(error), "rows": []}]
    if bad and not damaged:
        outcome.fail(f"the fault left damage: {bad[0]['reason']}")
        outcome.missing += sum(len(flaw["rows"]) for flaw in bad)
    if (entry / "cache.h5").exists():
        for tap in ("avg", "flatten"):
            try:
                found = load_features(entry, tap)
            except CacheMissError:
                continue  # a tap that is not asked for yet
            except CacheError as error:
                if not damaged:
                    outcome.fail(f"the view cannot be read: {error}")
                continue
            derived = reference.derived.get(tap, {})
            wrong, _ = reference.wrong(tap, found.digests, found.X, derived)
            if wrong:
                outcome.undetected += wrong
                outcome.fail(f"{wrong} rows of {tap} read wrong after the fault")
    return had


def look_at_end(
    cache: Path,
    reference: Reference,
    wanted: Mapping[str, str],
    taps: Iterable[str],
    derived: Rows,
    outcome: Outcome,
) -> None:
    """After the next run: every value is right, through featx and plain h5py; nothing is left over.

    `wanted` gives path to digest, `derived` the rows that were computed from flatten.
    """
    entry = entry_of(cache)
    if entry is None:
        outcome.fail("there is no entry")
        outcome.missing += len(wanted)
        return
    paths = sorted(wanted)
    for tap in taps:
        try:
            found = load_features(entry, tap)
            with h5py.File(entry / "cache.h5", "r") as file:
                plain = file[f"features/{tap}"][:]
                names = file["paths"].asstr()[:].tolist()
        except (CacheError, OSError, KeyError) as error:
            outcome.fail(f"{tap} cannot be read at the end: {error}")
            outcome.missing += len(wanted)
            continue
        if list(found.paths) != paths or names != paths:
            outcome.missing += len(set(paths) ^ set(found.paths)) or 1
            outcome.fail("the paths are not those of the data set")
            continue
        labels = [found.classes[y] for y in found.y]
        if labels != [p.split("/")[0] for p in paths]:
            outcome.fail("the labels are wrong")
            outcome.missing += 1
        digests = [wanted[p] for p in paths]
        if digests != list(found.digests):
            outcome.fail("the digests are wrong")
        wrong, pooled = reference.wrong(tap, digests, found.X, derived.get(tap, ()))
        outcome.derived += pooled
        if wrong or not same_bits(plain, np.asarray(found.X)):
            outcome.missing += wrong or 1
            outcome.fail(f"{wrong} rows of {tap} differ from the uninterrupted run")
    bad = verify(cache)["bad"]
    if bad:
        outcome.fail(f"damaged at the end: {bad[0]['reason']}")
    # The claim of a dead process hinders nobody, and goes with the next claim.
    left = [p.name for p in cache.rglob("claim.json") if living_holder(p.parent)]
    left += [p.name for p in cache.rglob(".*.tmp")]
    left += [p.name for p in cache.glob(".sources/stat/.*")]
    if left:
        outcome.fail(f"left behind: {sorted(left)[0]}")


def read_all(entry: Path, seed: int, *, plain: bool = True) -> dict[str, Any]:
    """Read all that the entry says, in every way; a way that raises gives the error.

    Keys are ways, values bytes, or an exception. Without `plain`, not through h5py alone, which
    may go round in circles in a file that is known to be damaged.
    """
    found: dict[str, Any] = {}
    rng = np.random.default_rng(seed)
    for tap in ("avg", "flatten"):
        try:
            features = load_features(entry, tap)
        except CacheError as error:
            found[f"featx {tap}"] = error
        else:
            texts = (features.classes, features.paths, features.digests, features.groups)
            found[f"featx {tap}"] = np.asarray(features.X).tobytes() + features.y.tobytes()
            found[f"featx {tap} texts"] = (texts, features.splits.tolist())
        try:
            lazy = load_features(entry, tap, lazy=True).X
            rows = rng.choice(len(lazy), 20, replace=False)
            start = int(rng.integers(0, lazy.shape[1] // 2))
            stop = start + lazy.shape[1] // 4
            found[f"rows {tap}"] = lazy.rows(rows).tobytes()
            found[f"columns {tap}"] = lazy.columns(start, stop).tobytes()
        except CacheError as error:
            found[f"lazy {tap}"] = error
    if not plain:
        return found
    try:
        with h5py.File(entry / "cache.h5", "r") as file:

            def take(name: str, item: Any) -> None:
                if isinstance(item, h5py.Dataset):
                    value = item[()]
                    texts = value.dtype.kind == "O"
                    found[f"h5py {name}"] = value.tolist() if texts else value.tobytes()

            file.visititems(take)
    except (OSError, RuntimeError, ValueError, KeyError) as error:
        found["h5py"] = error
    return found


def unreported(before: Mapping[str, Any], after: Mapping[str, Any], reported: bool) -> list[str]:
    """Return the ways of reading that give another value than before, without anybody saying so.

    What featx reads must never be wrong, also where `verify` reports the damage; what plain h5py
    reads, where neither `verify` nor any reading reports it.
    """
    said = reported or any(isinstance(value, Exception) for value in after.values())
    changed = [way for way in before.keys() & after.keys() if before[way] != after[way]]
    changed = [way for way in changed if not isinstance(after[way], Exception)]
    gone = [] if said else sorted(before.keys() - after.keys())
    return sorted(way for way in changed if not (said and way.startswith("h5py"))) + gone
