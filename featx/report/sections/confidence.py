"""Whether the winner's confidence can be believed, and which classes it is unsure of."""

from __future__ import annotations

from typing import Any

import numpy as np

from featx.metrics import wilson_interval
from featx.metrics.probabilities import CALIBRATION_BINS
from featx.report.blocks import Block, Chart, Column, Section, Table, Text
from featx.report.figures import axis, figure, plain, shorten
from featx.report.subject import Subject

MAX_BARS = 15


def show_confidence(subject: Subject) -> Section | None:
    """Show calibration, and entropy a class."""
    confidence, arrays = subject.confidence, subject.winning_run.arrays
    blocks: list[Block] = []
    if confidence is None or not {"y_true", "y_pred"} <= arrays.keys():
        blocks.append(Text("How sure the best model was of each test image is not known."))
    else:
        right = arrays["y_true"] == arrays["y_pred"]
        blocks += [_calibration(subject, confidence, right)]
    entropy = _entropy(subject)
    if entropy:
        blocks.append(entropy)
    return Section("confidence", "Confidence", tuple(blocks))


def calibration_bins(
    confidence: np.ndarray, right: np.ndarray, bins: int = CALIBRATION_BINS
) -> list[dict[str, Any]]:
    """Return the bins that the expected calibration error is of, without the empty ones.

    Parameters
    ----------
    confidence : ndarray of shape (n,)
    right : ndarray of shape (n,), bool
    bins : int
        Of equal width over (0, 1], the right edge included.

    Returns
    -------
    list of dict
        "low", "high" (edges), "rows", "confidence" (mean), "accuracy", "interval" (Wilson, 95%).
    """
    place = np.clip(np.ceil(confidence * bins).astype(np.int64) - 1, 0, bins - 1)
    found = []
    for b in range(bins):
        rows = place == b
        n = int(rows.sum())
        if n:
            hits = int(right[rows].sum())
            found.append(
                {
                    "low": b / bins,
                    "high": (b + 1) / bins,
                    "rows": n,
                    "confidence": float(confidence[rows].mean()),
                    "accuracy": hits / n,
                    "interval": wilson_interval(hits, n),
                }
            )
    return found


def _calibration(subject: Subject, confidence: np.ndarray, right: np.ndarray) -> Chart:
    bins = calibration_bins(confidence, right)
    metrics = subject.winning_run.metrics
    mean, accuracy = float(confidence.mean()), float(right.mean())
    words = "too sure" if mean > accuracy else "not sure enough"
    told = f"Expected calibration error {metrics['ece']:.3f}." if metrics.get("ece") else ""
    y = [b["accuracy"] for b in bins]
    points = {
        "type": "scatter",
        "name": "the model",
        "mode": "lines+markers",
        "x": [b["confidence"] for b in bins],
        "y": y,
        "error_y": {
            "type": "data",
            "symmetric": False,
            "array": [b["interval"][1] - b["accuracy"] for b in bins],
            "arrayminus": [b["accuracy"] - b["interval"][0] for b in bins],
            "color": "@c0/0.5",
            "thickness": 1,
            "width": 0,
        },
        "customdata": [b["rows"] for b in bins],
        "hovertemplate": "confidence %{x:.2f}<br>right %{y:.2f}<br>%{customdata} images"
        "<extra></extra>",
        "line": {"color": "@c0", "width": 1.5},
        "marker": {
            "color": "@c0",
            "opacity": 1,
            "size": [4 + 14 * (b["rows"] / len(confidence)) ** 0.5 for b in bins],
        },
    }
    diagonal = {
        "type": "scatter",
        "name": "confidence as good as accuracy",
        "mode": "lines",
        "x": [0, 1],
        "y": [0, 1],
        "line": {"color": "@muted", "dash": "dot", "width": 1.5},
        "hoverinfo": "skip",
    }
    return Chart(
        "calibration",
        "Calibration",
        f"Mean confidence {mean:.3f} against accuracy {accuracy:.3f}: {words} by "
        f"{abs(mean - accuracy):.3f}. {told}".rstrip(),
        figure(
            [diagonal, points],
            axis("confidence", range=[0, 1.02]),
            axis("share that is right", range=[0, 1.02]),
        ),
        table=Table(
            "calibration",
            "Calibration",
            (
                Column("Confidence over", "share"),
                Column("To", "share"),
                Column("Test images", "count"),
                Column("Mean confidence", "share"),
                Column("Right", "interval"),
            ),
            tuple(
                (b["low"], b["high"], b["rows"], b["confidence"], (b["accuracy"], *b["interval"]))
                for b in bins
            ),
        ),
        note="On the dotted line a model is right as often as it says. A mark's size goes with its "
        f"number of images; bars: 95%. {told}".rstrip(),
        height=400,
        half=True,
    )


def _entropy(subject: Subject) -> Chart | None:
    kept = subject.winning_run.metrics["per_class"].get("entropy_bits") or []
    pairs = [(c, e) for c, e in zip(subject.classes, kept, strict=False) if e is not None]
    if not pairs or max(e for _, e in pairs) - min(e for _, e in pairs) < 1e-6:
        return None
    pairs.sort(key=lambda pair: -pair[1])
    cut = len(pairs) > 2 * MAX_BARS
    shown = [*pairs[:MAX_BARS], *pairs[-MAX_BARS:]] if cut else pairs
    keys = list(range(len(shown)))
    return Chart(
        "entropy",
        "How undecided it was, class by class",
        f"Mean entropy of the predicted probabilities in bits; most for {pairs[0][0]} "
        f"({pairs[0][1]:.2f}), least for {pairs[-1][0]} ({pairs[-1][1]:.2f}).",
        figure(
            [
                {
                    "type": "bar",
                    "orientation": "h",
                    "y": keys,
                    "x": [e for _, e in shown],
                    "text": [f"{e:.2f}" for _, e in shown],
                    "textposition": "outside",
                    "cliponaxis": False,
                    "customdata": [plain(c) for c, _ in shown],
                    "hovertemplate": "%{customdata}<br>%{x:.3f} bits<extra></extra>",
                    "marker": {"color": "@c4"},
                }
            ],
            axis("entropy, bits", rangemode="tozero"),
            {
                "tickvals": keys,
                "ticktext": [shorten(plain(c), 28) for c, _ in shown],
                "autorange": "reversed",
                "showgrid": False,
                "ticks": "",
            },
            showlegend=False,
            bargap=0.35,
        ),
        note=f"0 bits is sure; {np.log2(len(subject.classes)):.1f} bits is a guess among all "
        "classes. Every class is in the table of classes.",
        height=max(180, 90 + 24 * len(shown)),
        half=True,
    )
