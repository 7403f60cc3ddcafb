"""Damage to the files of a prepared cache, and what it harms."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from faults.audit import entry_of, read_all, unreported
from featx.store import verify
from featx.store.part import Part

Rng = np.random.Generator
SECTOR = 512
PART, VIEW = "part", "view"


@dataclass(frozen=True)
class Damage:
    """What was done.

    Attributes
    ----------
    what : str
        In words.
    file : str
        "part", "view", "entry.json", "dataset.json" or "stat cache".
    harmed : frozenset of str
        Image digests of the rows whose bytes (features, digest or checksums) were hit; all rows of
        the part where it was cut or removed, or both trailers hit.
    trailers : bool
        Both copies of a part's trailer were hit at once: they say where its rows lie.
    reported : bool
        `verify` said so.
    unreported : list of str
        Ways of reading that gave a wrong value without a word.
    """

    what: str
    file: str
    harmed: frozenset[str]
    trailers: bool
    reported: bool
    unreported: list[str]


def damage_at_random(cache: Path, kind: str, rng: Rng) -> Damage:
    """Damage one file of the entry in `cache` ("flip", "truncate" or "remove") and read it all."""
    entry = entry_of(cache)
    assert entry is not None
    file, path = _choose(cache, entry, rng)
    seed = int(rng.integers(1 << 31))
    before = read_all(entry, seed)
    harmed: set[str] = set()
    trailers = False
    if kind == "remove":
        what = f"{file} removed"
        if file == PART:
            harmed = _digests(path)
        path.unlink()
    elif kind == "truncate":
        data = path.read_bytes()
        length = int(rng.integers(0, len(data)))
        what = f"{file} cut from {len(data)} to {length} bytes"
        if file == PART:
            harmed = _digests(path)
        path.write_bytes(data[:length])
    else:
        start, new = _flip(path, file, rng)
        what = f"{file} with {len(new)} bytes changed at {start}"
        if file == PART:
            trailers = _hits_both_trailers(path, start, start + len(new))
            harmed = _digests(path) if trailers else _hit(path, start, start + len(new))
        _overwrite(path, start, new)
    reported = bool(verify(cache)["bad"])
    after = read_all(entry, seed, plain=not reported)
    silent = unreported(before, after, reported)
    return Damage(what, file, frozenset(harmed), trailers, reported, silent)


def flip_a_row(cache: Path, rng: Rng) -> str:
    """Change a bit of a random row of flatten; return the row's image digest."""
    entry = entry_of(cache)
    assert entry is not None
    parts = sorted((entry / "parts").glob("*.h5"))
    path = parts[int(rng.integers(len(parts)))]
    with Part(path) as part:
        start, stop = part.span("features/flatten")
        row = int(rng.integers(part.n))
        digest = part.digests()[row]
    width = (stop - start) // part.n
    at = start + row * width + int(rng.integers(width))
    _overwrite(path, at, bytes([path.read_bytes()[at] ^ 1 << int(rng.integers(8))]))
    return digest


def _choose(cache: Path, entry: Path, rng: Rng) -> tuple[str, Path]:
    """Choose a file: three in five times a part, one in five the view, else one of the small."""
    parts = sorted((entry / "parts").glob("*.h5"))
    small = {
        "entry.json": entry / "entry.json",
        "dataset.json": entry.parent / "dataset.json",
        "stat cache": next(cache.glob(".sources/stat/*.digests")),
    }
    draw = rng.random()
    if draw < 0.6:
        return PART, parts[int(rng.integers(len(parts)))]
    if draw < 0.8:
        return VIEW, entry / "cache.h5"
    name = str(rng.choice(list(small)))
    return name, small[name]


def _flip(path: Path, file: str, rng: Rng) -> tuple[int, bytes]:
    """Choose where, and other bytes to stand there: a bit, a byte, or a sector of zeros or noise.

    Half of the time a part is hit outside its features, which are nearly all of it.
    """
    data = path.read_bytes()
    places = np.arange(len(data))
    if file == PART and rng.random() < 0.5:
        keep = np.ones(len(data), bool)
        with Part(path) as part:
            for tap in part.taps:
                keep[slice(*part.span(f"features/{tap}"))] = False
        places = places[keep]
    while True:
        at = int(rng.choice(places))
        mode = rng.random()
        if mode < 0.6:
            new = bytes([data[at] ^ 1 << int(rng.integers(8))])
        elif mode < 0.8:
            new = rng.bytes(1)
        else:
            at -= at % SECTOR
            length = min(SECTOR, len(data) - at)
            new = bytes(length) if mode < 0.9 else rng.bytes(length)
        if new != data[at : at + len(new)]:
            return at, new


def _overwrite(path: Path, start: int, new: bytes) -> None:
    with open(path, "r+b") as file:
        file.seek(start)
        file.write(new)


def _digests(path: Path) -> set[str]:
    with Part(path) as part:
        return set(part.digests())


def _hits_both_trailers(path: Path, start: int, stop: int) -> bool:
    with Part(path) as part:
        return start < (part.body + part.size) // 2 < stop


def _hit(path: Path, start: int, stop: int) -> set[str]:
    """Return the digests of the rows that have bytes from `start` to `stop`."""
    found: set[str] = set()
    with Part(path) as part:
        digests = part.digests()
        for name in part.header["datasets"]:
            low, high = part.span(name)
            width = (high - low) // part.n
            first, last = max(start, low) - low, min(stop, high) - low
            if first < last:
                found |= set(digests[first // width : -(-last // width)])
    return found
