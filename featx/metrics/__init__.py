"""What a run is scored by: NumPy only, the test rows' labels and scores in, numbers out.

`score` gives the whole of a record's `metrics`; the parts are in modules of their own:
`counts` (confusion, precision, recall, F1, top-k), `probabilities` (log loss, calibration,
entropy, temperature), `intervals` (of one run) and `paired` (two runs on the same rows).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.metrics.counts import confusion_matrix, macro_average, per_class_counts, top_k_accuracy
from featx.metrics.intervals import (
    bootstrap_accuracy,
    bootstrap_macro_f1,
    bootstrap_mean,
    wilson_interval,
)
from featx.metrics.paired import holm, mcnemar, paired_bootstrap, sign_flip_test
from featx.metrics.probabilities import (
    entropy_bits,
    expected_calibration_error,
    fit_temperature,
    log_loss,
    softmax,
)

__all__ = [
    "bootstrap_accuracy",
    "bootstrap_macro_f1",
    "bootstrap_mean",
    "confusion_matrix",
    "entropy_bits",
    "expected_calibration_error",
    "fit_temperature",
    "holm",
    "log_loss",
    "macro_average",
    "mcnemar",
    "paired_bootstrap",
    "per_class_counts",
    "score",
    "sign_flip_test",
    "softmax",
    "top_k_accuracy",
    "wilson_interval",
]


def score(
    y_true: np.ndarray,
    y_pred: np.ndarray,
    *,
    n_classes: int,
    scores: np.ndarray | None = None,
    probabilities: np.ndarray | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Score the predictions of one run.

    Parameters
    ----------
    y_true, y_pred : ndarray of shape (n_rows,), int
        Class numbers, 0 to n_classes - 1.
    n_classes : int
    scores : ndarray of shape (n_rows, n_classes), optional
        The higher the likelier; for top-k.
    probabilities : ndarray of shape (n_rows, n_classes), optional
        Rows sum to one; for log loss, calibration and entropy.
    seed : int
        Of the bootstrap of macro F1 (that of the accuracy is exact).

    Returns
    -------
    dict
        "accuracy", "accuracy_ci" (bootstrap, 95%), "accuracy_wilson" (Wilson, 95%), "top5",
        "top10" (None where there are no more classes than that, or no scores),
        "macro_precision", "macro_recall", "macro_f1", "macro_f1_ci", "balanced_accuracy" (equal to
        the macro recall), "log_loss", "ece", "entropy_bits" (None without probabilities),
        "per_class" (lists of "precision", "recall", "f1", "support", "entropy_bits") and
        "confusion" (lists; row: true class, column: predicted).

    Raises
    ------
    ValueError
        No row, or a class number out of range.
    """
    confusion = confusion_matrix(y_true, y_pred, n_classes)
    classes = per_class_counts(confusion)
    n, right = int(confusion.sum()), int(np.trace(confusion))
    macro_recall = macro_average(classes["recall"], classes["support"])
    result: dict[str, Any] = {
        "accuracy": right / n,
        "accuracy_ci": list(bootstrap_accuracy(right, n)),
        "accuracy_wilson": list(wilson_interval(right, n)),
        "top5": None if scores is None else top_k_accuracy(y_true, scores, 5),
        "top10": None if scores is None else top_k_accuracy(y_true, scores, 10),
        "macro_precision": macro_average(classes["precision"], classes["support"]),
        "macro_recall": macro_recall,
        "macro_f1": macro_average(classes["f1"], classes["support"]),
        "macro_f1_ci": list(bootstrap_macro_f1(confusion, seed=seed)),
        "balanced_accuracy": macro_recall,
        "log_loss": None,
        "ece": None,
        "entropy_bits": None,
    }
    entropies: list[float | None] = [None] * n_classes
    if probabilities is not None:
        entropy = entropy_bits(probabilities)
        result["log_loss"] = log_loss(y_true, probabilities)
        result["ece"] = expected_calibration_error(y_true, probabilities)
        result["entropy_bits"] = float(entropy.mean())
        for c in range(n_classes):
            rows = entropy[y_true == c]
            entropies[c] = float(rows.mean()) if len(rows) else None
    result["per_class"] = {name: values.tolist() for name, values in classes.items()}
    result["per_class"]["entropy_bits"] = entropies
    result["confusion"] = confusion.tolist()
    return result
