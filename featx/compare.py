"""Run records side by side: rows, draws put together, paired tests, findings, and a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featx.errors import ProtocolError, SpecError
from featx.records import Comparison, RunRecord, to_json


def compare(records: Sequence[RunRecord]) -> Comparison:
    """Put runs on the same test rows side by side.

    Parameters
    ----------
    records : sequence of RunRecord

    Returns
    -------
    Comparison

    Raises
    ------
    SpecError
        No record.
    ProtocolError
        Runs on different test rows.
    """
    if not records:
        raise SpecError("No run to compare: run featx classify first.")
    tested = {str(r.split["test_digest"]): r for r in records}
    if len(tested) > 1:
        a, b = list(tested.values())[:2]
        raise ProtocolError(
            f"Runs on different test rows cannot be compared: {name_run(a)} on {a.split['n_test']} "
            f"of {a.dataset}, {name_run(b)} on {b.split['n_test']} of {b.dataset}. "
            "Use one data set, one target and one seed."
        )
    return Comparison(
        rows=tuple(_row(r) for r in records),
        intervals=tuple(tuple(r.metrics["accuracy_ci"]) for r in records),
    )


def name_run(record: RunRecord) -> str:
    """Return "backbone tap head", as far as there is one."""
    return " ".join(p for p in (record.backbone, record.tap, record.head.text) if p)


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return the document of `featx classify --json`."""
    return {
        "rows": [to_json(row) for row in comparison.rows],
        "findings": [to_json(finding) for finding in comparison.findings],
    }


def _row(record: RunRecord) -> dict[str, Any]:
    metrics, seconds = record.metrics, record.seconds
    return {
        "kind": record.kind,
        "backbone": record.backbone,
        "tap": record.tap,
        "head": record.head.text,
        "params": to_json(record.params),
        "shots": record.shots,
        "draw": record.draw,
        "n_train": record.split["n_train"],
        "n_test": record.split["n_test"],
        "feature_dim": record.cost.get("feature_dim"),
        "accuracy": metrics["accuracy"],
        "accuracy_ci": metrics["accuracy_ci"],
        **{
            name: metrics.get(name)
            for name in ("top5", "top10", "macro_f1", "macro_precision", "macro_recall")
        },
        **{
            f"{name}_seconds": seconds.get(name) for name in ("extract", "select", "fit", "predict")
        },
    }


def format_table(comparison: Comparison) -> str:
    """Return the rows as an aligned plain-text table."""
    header = (
        "backbone",
        "tap",
        "head",
        "shots",
        "accuracy",
        "macro F1",
        "extract s",
        "fit s",
        "predict s",
        "width",
    )
    lines: list[tuple[str, ...]] = [header]
    for row in comparison.rows:
        low, high = row["accuracy_ci"]
        lines.append(
            (
                str(row["backbone"]),
                str(row["tap"]),
                str(row["head"]),
                "all" if row["shots"] is None else str(row["shots"]),
                f"{row['accuracy']:.3f} [{low:.3f}, {high:.3f}]",
                f"{row['macro_f1']:.3f}",
                f"{row['extract_seconds']:.2f}",
                f"{row['select_seconds'] + row['fit_seconds']:.2f}",
                f"{row['predict_seconds']:.2f}",
                str(row["feature_dim"]),
            )
        )
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    return "\n".join(
        "  ".join(
            cell.ljust(w) if i < 3 else cell.rjust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )
