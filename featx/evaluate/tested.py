"""Which images a run was tested on and how sure it was, so that a report can show them."""

from __future__ import annotations

import numpy as np

from featx.records import FeatureSet, TestSetRecord


def list_tested(features: FeatureSet, rows: np.ndarray) -> TestSetRecord:
    """Return the test rows of `features` by name: paths, digests and labels, no features.

    Parameters
    ----------
    features : FeatureSet
        Its provenance may have "source" (what the data set was asked for as) and "root" (the folder
        that paths start from).
    rows : ndarray of int
        Row numbers of the test side, ascending; a record's `arrays["test_rows"]`.

    Returns
    -------
    TestSetRecord
        In the order of `rows`, as the arrays of a record are.
    """
    return TestSetRecord(
        dataset=features.dataset,
        source=str(features.provenance.get("source", "")),
        root=str(features.provenance.get("root", "")),
        target=features.target,
        classes=features.classes,
        paths=tuple(features.paths[i] for i in rows),
        digests=tuple(features.digests[i] for i in rows) if features.digests else (),
        labels=features.y[rows].astype(np.int32),
    )


def keep_confidence(probabilities: np.ndarray | None) -> dict[str, np.ndarray]:
    """Return the array of a record that holds the largest probability of each row, if known."""
    if probabilities is None:
        return {}
    return {"confidence": probabilities.max(axis=1).astype(np.float32)}
