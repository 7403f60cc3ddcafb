"""Comparisons of several label columns: one after the other, never held against each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.compare import comparison_json, format_table
from featx.records import Comparison


def comparisons_json(comparisons: Mapping[str, Comparison]) -> dict[str, Any]:
    """Return one document of the comparisons of several label columns.

    Parameters
    ----------
    comparisons : mapping of str to Comparison
        A label column each.

    Returns
    -------
    dict
        Of a single column `comparison_json`. Of several the "rows" and "findings" of all, each of
        which has its "target", and "break_even" by target.
    """
    if len(comparisons) == 1:
        return comparison_json(*comparisons.values())
    documents = {target: comparison_json(found) for target, found in comparisons.items()}
    return {
        "rows": [row for document in documents.values() for row in document["rows"]],
        "findings": [
            {**finding, "target": target}
            for target, document in documents.items()
            for finding in document["findings"]
        ],
        "break_even": {target: document["break_even"] for target, document in documents.items()},
    }


def format_tables(comparisons: Mapping[str, Comparison]) -> str:
    """Return the tables of several label columns below each other, each under its name."""
    if len(comparisons) == 1:
        return format_table(*comparisons.values())
    return "\n\n".join(
        f"{target}\n{'-' * len(target)}\n{format_table(comparison)}"
        for target, comparison in comparisons.items()
    )
