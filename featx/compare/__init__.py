"""Run records side by side: a row a run, draws put together, paired tests, findings, a table.

`compare` refuses runs on different test rows. Two kinds of spread are kept apart: the 95% interval
is over the choice of test rows, the spread over draws over the choice of training rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featx.compare.breakeven import break_even, format_break_even
from featx.compare.collect import Runs, collect_runs
from featx.compare.findings import find_all
from featx.compare.groups import best_group, group_runs, test_against_best
from featx.compare.shown import ShownComparison
from featx.compare.table import format_table
from featx.errors import ProtocolError
from featx.records import Comparison, RunRecord, to_json

__all__ = [
    "ShownComparison",
    "break_even",
    "compare",
    "comparison_json",
    "format_break_even",
    "format_table",
]


def compare(
    runs: Runs, *, dataset: str | None = None, target: str | None = None
) -> ShownComparison:
    """Put runs on the same test rows side by side.

    Parameters
    ----------
    runs : path, RunRecord, Comparison, or a sequence of these
        A path is a folder of run records, of which the newest of each run counts, or the .json
        file of one. A comparison, such as `classify` returns, stands for its runs.
    dataset, target : str, optional
        Only runs on the data set, or the label column, of this name.

    Returns
    -------
    ShownComparison
        A `Comparison` that shows itself: as text (`print`), as a table in a notebook, as a chart
        (`plot`), as a data frame (`to_frame`). Its
        `rows` in the order of the records; `groups` (draws put together, `group_runs`) and `tests`
        (against the best at the same number of shots, `test_against_best`); `baseline` is the name
        of the best with the most training rows.

    Raises
    ------
    SpecError
        No run, or something that is none.
    RunError
        A run record cannot be read.
    ProtocolError
        Runs on different test rows.

    Examples
    --------
    >>> comparison = featx.compare("runs")  # doctest: +SKIP
    >>> comparison.plot()  # doctest: +SKIP
    """
    records = collect_runs(runs, dataset, target)
    _check_same_rows(records)
    groups = group_runs(records)
    return ShownComparison(
        rows=tuple(_row(r) for r in records),
        baseline=best_group(groups)["name"],
        intervals=tuple(
            (r.metrics["accuracy_ci"][0], r.metrics["accuracy_ci"][1]) for r in records
        ),
        findings=find_all(records),
        groups=groups,
        tests=test_against_best(records, groups),
        records=tuple(records),
    )


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """Return the document of `featx classify --json`: "rows", "findings" and "break_even"."""
    return {
        "rows": [to_json(row) for row in comparison.rows],
        "findings": [to_json(finding) for finding in comparison.findings],
        "break_even": to_json(break_even(comparison.groups)),
    }


def _check_same_rows(records: Sequence[RunRecord]) -> None:
    first = records[0]
    for other in records[1:]:
        if other.split["test_digest"] != first.split["test_digest"]:
            raise ProtocolError(
                "Runs on different test rows cannot be compared: "
                f"{_where(first)} and {_where(other)}. Use one data set, one label column, one "
                "seed and one test fraction, and make the older runs anew; or choose runs with "
                "compare(runs, dataset=..., target=...), or by hand from featx.load_runs."
            )


def _where(record: RunRecord) -> str:
    words = [record.backbone, record.tap, record.head.text]
    return f"{' '.join(w for w in words if w)} on {record.split['n_test']} of {record.dataset}"


def _row(record: RunRecord) -> dict[str, Any]:
    metrics, seconds, key = record.metrics, record.seconds, record.key
    given = to_json(record.params).get  # of a network, which has no cache entry
    measured = ("top5", "top10", "macro_f1", "macro_precision", "macro_recall")
    return {
        "kind": record.kind,
        "target": record.split.get("target", "class"),
        "test_on": record.split.get("test_on"),
        "backbone": record.backbone,
        "image_size": [key.image.height, key.image.width] if key else given("image_size"),
        "precision": key.precision if key else given("precision"),
        "tap": record.tap,
        "head": record.head.text,
        "params": to_json(record.params),
        "shots": record.shots,
        "draw": record.draw,
        "n_train": record.split["n_train"],
        "n_test": record.split["n_test"],
        "feature_dim": record.cost.get("feature_dim"),
        "accuracy": metrics["accuracy"],
        "accuracy_ci": list(metrics["accuracy_ci"]),
        **{name: metrics.get(name) for name in measured},
        **({"overlap": to_json(overlap)} if (overlap := record.cost.get("overlap")) else {}),
        **{
            f"{step}_seconds": seconds.get(step) for step in ("extract", "select", "fit", "predict")
        },
    }
