"""The campaign's table, as text, Markdown and JSON, with the machine named."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import psutil

from faults.audit import Outcome

HEADINGS = ("stage", "faults", "recovered", "rows lost", "damage undetected")


def machine(folder: Path) -> dict[str, Any]:
    """Return what the campaign ran on; neither host name nor paths."""
    cpu = platform.processor() or platform.machine()
    with open("/proc/cpuinfo") as file:
        names = [line.split(":")[1].strip() for line in file if line.startswith("model name")]
    mounts = [p for p in psutil.disk_partitions(all=True) if folder.is_relative_to(p.mountpoint)]
    disk = max(mounts, key=lambda p: len(p.mountpoint)).fstype if mounts else "?"
    names_of = ("featx", "numpy", "h5py", "keras", "tensorflow", "openvino")
    versions = {name: importlib.metadata.version(name) for name in names_of}
    return {
        "cpu": names[0] if names else cpu,
        "cores": os.cpu_count(),
        "ram_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}",
        "file_system": disk,
        "versions": {
            "python": platform.python_version(),
            **versions,
            "hdf5": h5py.version.hdf5_version,
        },
    }


def row(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """Return a stage's line."""
    return {
        "stage": name,
        "faults": len(outcomes),
        "recovered": sum(o.recovered for o in outcomes),
        "recomputed": sum(o.recomputed for o in outcomes),
        "missing": sum(o.missing for o in outcomes),
        "rows_lost": sum(o.lost for o in outcomes),
        "undetected": sum(o.undetected for o in outcomes),
        "derived": sum(o.derived for o in outcomes),
        "notes": dict(Counter(_placeless(n) for o in outcomes for n in o.notes).most_common(10)),
    }


def _placeless(note: str) -> str:
    """Return `note` without the folders of this machine."""
    return re.sub(r"/\S*/", "", " ".join(note.split()))


def summarise(
    stages: Mapping[str, Sequence[Outcome]], skipped: Mapping[str, str], about: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the JSON document."""
    every = [outcome for outcomes in stages.values() for outcome in outcomes]
    lines = [row(name, outcomes) for name, outcomes in stages.items() if outcomes]
    total = row("all", every)
    return {**about, "skipped": dict(skipped), "stages": lines, "total": total}


def as_text(document: Mapping[str, Any]) -> str:
    """Return the table for a terminal."""
    cells = _cells(document)
    widths = [max(len(line[i]) for line in cells) for i in range(len(HEADINGS))]
    lines = []
    for line in cells:
        aligned = [line[0].ljust(widths[0])]
        aligned += [c.rjust(w) for c, w in zip(line[1:], widths[1:], strict=True)]
        lines.append("  ".join(aligned))
    rule = "-" * len(lines[0])
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], *_remarks(document)])


def as_markdown(document: Mapping[str, Any]) -> str:
    """Return the page for benchmarks/results."""
    cells = _cells(document)
    table = ["| " + " | ".join(line) + " |" for line in cells]
    table.insert(1, "| --- |" + " ---: |" * (len(HEADINGS) - 1))
    about = document["machine"]
    versions = ", ".join(f"{name} {text}" for name, text in about["versions"].items())
    return "\n".join(
        [
            "# Faults",
            "",
            f"`make faults ARGS='--faults {document['asked']} --seed {document['seed']}'`: "
            f"{document['images']} trashnet photos, {document['backbone']}, taps "
            f"{' and '.join(document['taps'])}, parts of {document['rows_a_part']} rows. "
            f"{document['seconds'] / 60:.0f} minutes.",
            "",
            *table,
            "",
            *[f"- {line}" for line in MEANING],
            *[f"- {line}" for line in _remarks(document)],
            "",
            f"Machine: {about['cpu']}, {about['cores']} cores, {about['ram_gib']} GiB RAM, "
            f"{about['system']}, {about['file_system']}; {versions}.",
            "",
        ]
    )


MEANING = (
    "A fault is one process really killed, one disk really filled or turned read-only, or one file "
    "of a finished cache really changed, cut or removed. Runs that ended before their kill do not "
    "count.",
    "Recovered: the next plain `featx extract` (after damage: `featx cache repair`, then it) came "
    "to its end; paths, labels, digests and every tap, read by featx and by plain h5py, equal an "
    "uninterrupted run bit for bit; `verify` finds nothing; nothing is left behind.",
    "Rows lost: rows that lay sound in a complete part and were computed again, rows missing or "
    "different at the end, and rows computed but in no part beyond what may be at stake: the part "
    "being written, the one being gathered and one batch. Damage may cost the rows whose bytes it "
    "hit, or all rows of a part that was cut, removed, or hit in both copies of its trailer.",
    "Damage undetected: values read wrong by featx without an error, at any time, and damage that "
    "changes a value read by plain h5py while neither `verify` nor reading says so.",
)


def write(document: Mapping[str, Any], folder: Path) -> None:
    """Write faults.json and faults.md into `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "faults.json").write_text(json.dumps(document, indent=1) + "\n")
    (folder / "faults.md").write_text(as_markdown(document))


def _cells(document: Mapping[str, Any]) -> list[list[str]]:
    lines = [*document["stages"], document["total"]]
    names = ("stage", "faults", "recovered", "rows_lost", "undetected")
    return [list(HEADINGS), *[[str(line[name]) for name in names] for line in lines]]


def _remarks(document: Mapping[str, Any]) -> list[str]:
    found = [f"Skipped: {name}: {reason}." for name, reason in document["skipped"].items()]
    for line in document["stages"]:
        found += [f"{line['stage']}: {note} (×{n})" for note, n in line["notes"].items()]
        if line["derived"] and "deriving" not in line["stage"]:
            found.append(
                f"{line['stage']}: {line['derived']} avg rows lost to damage were pooled from the "
                "flatten rows, and equal bit for bit what pooling those gives; a forward pass "
                "differs in the last bit."
            )
    return found
