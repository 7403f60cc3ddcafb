"""Where every number comes from: keys, weights, versions, machine, seeds, commands."""

from __future__ import annotations

import shlex
from typing import Any

from featx.records import to_json
from featx.report.blocks import Block, Column, Facts, Section, Table
from featx.report.numbers import count_of
from featx.report.subject import Subject

_KNOWN = ("featx", "python", "machine", "system", "processors", "command", "time")
MAX_RUNS = 500


def show_provenance(subject: Subject) -> Section:
    """Show what it takes to do it again."""
    blocks: list[Block] = [_winner(subject), _environment(subject), _commands(subject)]
    blocks.append(_runs(subject))
    return Section("provenance", "Provenance", tuple(blocks))


def _winner(subject: Subject) -> Facts:
    record = subject.winning_run
    split = record.split
    items = [
        ("Model", subject.winner["name"]),
        ("Parameters", ", ".join(f"{k}={v!r}" for k, v in record.params.items()) or "none"),
        ("Test rows", split["test_digest"]),
        ("Seed of the split", str(split.get("seed", "not known"))),
        (
            "Training, validation and test images",
            f"{split['n_train']:,}, {split.get('n_val', 0):,}, {split['n_test']:,}",
        ),
    ]
    keys = [record.key] if record.key else [p["key"] for p in record.parts if p.get("key")]
    for key in keys:
        fields: dict[str, Any] = to_json(key)
        image = fields["image"]
        items += [
            ("Weights, SHA-256", fields["weights"]),
            ("Preprocessing", fields["preprocess"]),
            ("Input", f"{image['height']}×{image['width']}, {image['resize']}, {image['colour']}"),
            ("Precision, stored as", f"{fields['precision']}, {fields['stored']}"),
        ]
    if record.key:
        items.append(("Extraction key", record.key.digest()))
    if subject.view is not None and record.key == subject.view.key:
        provenance = subject.view.provenance
        items.append(("Engine", str(provenance.get("engine") or "not known")))
        items.append(("Weights file", str(provenance.get("weights") or provenance["weights_kind"])))
        items.append(("Images from", str(provenance.get("source", ""))))
    if record.selection.get("temperature"):
        items.append(("Temperature of its scores", f"{record.selection['temperature']:.4g}"))
    return Facts("winner", "The best model", tuple((n, _shown(v)) for n, v in items))


def _environment(subject: Subject) -> Facts:
    found = subject.winning_run.environment
    machine = [str(found[name]) for name in ("system", "machine") if found.get(name)]
    machine += [count_of(found["processors"], "processor")] if found.get("processors") else []
    items = [
        ("featx", str(found.get("featx", "not known"))),
        ("Python", str(found.get("python", "not known"))),
        *((name, str(v)) for name, v in found.items() if name not in _KNOWN and isinstance(v, str)),
        ("Machine", ", ".join(machine) or "not known"),
        ("Time", str(found.get("time", "not known"))),
    ]
    return Facts("environment", "Versions and machine", tuple((n, _shown(v)) for n, v in items))


def _commands(subject: Subject) -> Table:
    """Return each command that made a run of this report, with the runs it made."""
    counts: dict[str, list[str]] = {}
    for record in subject.records:
        command = record.environment.get("command") or ()
        words = [str(w) for w in command] if not isinstance(command, str) else [command]
        if words:
            words[0] = words[0].rsplit("/", 1)[-1]
        text = shlex.join(words) if len(words) != 1 else words[0]
        counts.setdefault(text or "not known", []).append(str(record.environment.get("time", "")))
    return Table(
        "commands",
        "Commands",
        (Column("Command", "code"), Column("Runs", "count"), Column("Last run")),
        tuple((_shown(text), len(times), max(times) or None) for text, times in counts.items()),
        sort=False,
    )


def _runs(subject: Subject) -> Table:
    rows = []
    for record, file in zip(subject.records, subject.files, strict=True):
        rows.append(
            (
                _shown(file),
                record.kind,
                "all" if record.shots is None else record.shots,
                record.draw,
                record.split.get("seed"),
                record.split["n_train"],
                record.metrics["accuracy"],
                record.environment.get("time"),
            )
        )
    more = f"The first {MAX_RUNS} of {len(rows):,}." if len(rows) > MAX_RUNS else ""
    return Table(
        "runs",
        "Runs",
        (
            Column("Record", "code"),
            Column("Kind"),
            Column("Images a class", "shots"),
            Column("Draw", "count"),
            Column("Seed", "count"),
            Column("Training images", "count"),
            Column("Accuracy", "share"),
            Column("Time"),
        ),
        tuple(rows[:MAX_RUNS]),
        note=more,
        folded=True,
    )


def _shown(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
