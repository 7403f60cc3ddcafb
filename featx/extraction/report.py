"""What an extraction did, or would do: readable and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featx.records import to_json


@dataclass(frozen=True)
class ExtractReport:
    """What an extraction did, or with `dry_run` would do.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    images : int
        Images found: extracted + reused + duplicates + set aside.
    extracted, reused, duplicates : int
        Images that a forward pass was made for, that were in the cache already, and whose bytes
        equal those of an image before them.
    quarantined : tuple of (path, reason)
        Images set aside.
    caches : tuple of mapping
        "backbone", "image_size", "digest", "path" and "taps" an entry.
    seconds : mapping
        "total" on the clock; "decode" summed over threads, "forward" and "write" over backbones.
    engine, precision : str
        What ran the graphs; "" where nothing had to run.
    needs : mapping
        For a plan: "rows" to compute in "seconds", estimated from a few of the images; "bytes" on
        disk before compression in so many "parts", and "free_bytes" there; "memory_bytes" at most;
        "index_seconds" and "view_seconds"; "images" where so many like these are planned for. With
        a deadline: "deadline_seconds", "alone_seconds" (what more workers do not shorten) and
        "workers" like this machine, None where no number of them is enough.
    """

    dataset: str
    images: int
    extracted: int
    reused: int
    duplicates: int
    quarantined: tuple[tuple[str, str], ...]
    caches: tuple[Mapping[str, Any], ...]
    seconds: Mapping[str, float]
    engine: str
    precision: str
    needs: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the document of `featx extract --json`."""
        document: dict[str, Any] = to_json(self)
        document["quarantined"] = [{"path": p, "reason": r} for p, r in self.quarantined]
        total = self.seconds["total"]
        document["images_per_second"] = self.extracted / total if total else 0.0
        if not self.needs:
            del document["needs"]
        return document

    def summary(self) -> str:
        """Return a few readable lines."""
        counts = [f"{self.images} images"]
        verb = "to extract" if self.needs else "extracted"
        counts += [f"{self.extracted} {verb}", f"{self.reused} reused"]
        if self.duplicates:
            counts.append(f"{self.duplicates} duplicates")
        if self.quarantined:
            counts.append(f"{len(self.quarantined)} set aside")
        lines = [f"{self.dataset}: {', '.join(counts)}"]
        if self.needs:
            lines += self._plan_lines()
        elif self.extracted:
            total = self.seconds["total"]
            lines.append(
                f"{total:.1f} s, {self.extracted / total:.0f} images/s "
                f"({self.engine}, {self.precision})"
            )
        else:
            lines.append(f"nothing to compute ({self.seconds['total']:.1f} s)")
        several_sizes = len({c["backbone"] for c in self.caches}) < len(self.caches)
        for cache in self.caches:
            taps = ", ".join(f"{t} {v['shape'][1]}" for t, v in cache["taps"].items())
            size = f" {'x'.join(map(str, cache['image_size']))}" if several_sizes else ""
            lines.append(f"  {cache['backbone']}{size}: {taps or 'new'} -> {cache['path']}")
        return "\n".join(lines)

    def _plan_lines(self) -> list[str]:
        needs = self.needs
        if not needs["rows"]:
            return ["plan: nothing to compute"]
        scaled = f" for {needs['images']:,} images like these" if "images" in needs else ""
        lines = [
            f"plan{scaled}: {needs['rows']:,} rows to compute in about "
            f"{_duration(needs['seconds'])} ({self.engine}, {self.precision})",
            f"disk: {_size(needs['bytes'])} to write, {_size(needs['free_bytes'])} free; "
            f"memory: about {_size(needs['memory_bytes'])}",
            f"parts: {needs['parts']:,}; index: about {_duration(needs['index_seconds'])}, view: "
            f"about {_duration(needs['view_seconds'])}",
        ]
        if "workers" in needs:
            lines.append(_workers_line(needs))
        if needs["bytes"] > needs["free_bytes"]:
            lines.append(
                "This does not fit on the disk: free some space, choose another --cache-dir, take "
                "fewer taps (avg is far smaller than flatten), or try --compression blosc2."
            )
        return lines


def _workers_line(needs: Mapping[str, Any]) -> str:
    alone, deadline = _duration(needs["alone_seconds"]), _duration(needs["deadline_seconds"])
    if needs["workers"] is None:
        return (
            f"No number of workers is done in {deadline}: index, start and view take {alone} "
            "alone. Divide the images into several data sets, or take more time."
        )
    return (
        f"workers: {needs['workers']:,} like this machine to be done in {deadline}, of which "
        f"index, start and view take {alone}"
    )


def _size(count: float) -> str:
    if count >= 1e12:
        return f"{count / 1e12:.1f} TB"
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _duration(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 100 * 3600 else f"{seconds / 86400:.0f} days"
