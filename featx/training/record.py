"""A trained network's run record: frozen, tested once, scored and written down."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from featx.evaluate import TestRows
from featx.evaluate.draws import Draw
from featx.evaluate.run import environment, keep_scores
from featx.evaluate.tested import keep_confidence
from featx.memory import peak_memory
from featx.metrics import score
from featx.quiet import import_keras
from featx.records import FeatureSet, HeadSpec, RunRecord, to_json
from featx.training.fit import FitOutcome
from featx.training.network import predict
from featx.training.rows import FitRows


def network_record(
    kind: str,
    network: Any,
    outcome: FitOutcome,
    *,
    features: FeatureSet,
    test: TestRows,
    about: Mapping[str, Any],
    draw: Draw,
    rows: FitRows,
    head: HeadSpec,
    params: Mapping[str, Any],
    backbone: str = "",
    extract_seconds: float = 0.0,
    select_seconds: float = 0.0,
    cost: Mapping[str, Any] | None = None,
) -> RunRecord:
    """Freeze a trained network, hand it the test rows once, and write down what it did.

    Parameters
    ----------
    kind : str
        "baseline" or "finetune".
    network : keras.Model
        uint8 pixels to probabilities, trained.
    outcome : FitOutcome
    features : FeatureSet
        Of `load_images`.
    test : TestRows
    about : mapping
        `featx.evaluate.run.about_split`.
    draw, rows
        What it was trained on.
    head : HeadSpec
        What the row of the table is called.
    params : mapping
        Everything it was trained with.
    backbone : str
        Text of the pretrained backbone, where there is one.
    extract_seconds : float
        Of features computed, beside the decoding of the images.
    select_seconds : float
    cost : mapping, optional
        More to put among the costs.

    Returns
    -------
    RunRecord

    Raises
    ------
    ProtocolError
        This run has had the test rows before.
    """
    words = (kind, backbone, head.text, f"{draw.shots or 'all'} shots", f"draw {draw.number}")
    run = " ".join(w for w in words if w)
    test.freeze(run, params)
    X_test, y_test = test.hand_out(run)
    started = time.perf_counter()
    found = predict(network, X_test)
    predict_seconds = time.perf_counter() - started
    y_pred = found.argmax(axis=1)
    metrics = score(
        y_test,
        y_pred,
        n_classes=len(features.classes),
        scores=found,
        probabilities=found,
        seed=draw.seed,
    )
    history = outcome.history
    keras = import_keras()
    return RunRecord(
        kind=kind,
        dataset=features.dataset,
        key=None,
        backbone=backbone,
        tap="",
        head=head,
        params=to_json(params),
        shots=draw.shots,
        draw=draw.number,
        split={**about, "n_train": len(draw.train), "n_val": len(draw.val)},
        metrics=to_json(metrics),
        selection={
            "on": rows.on,
            "parameter": "epoch",
            "chosen": outcome.best_epoch,
            "held_out": len(rows.held),
            "curve": [],
        },
        seconds={
            "extract": float(features.provenance.get("decode_seconds") or 0.0) + extract_seconds,
            "select": select_seconds,
            "fit": outcome.fit_seconds,
            "predict": predict_seconds,
        },
        cost=to_json(
            {
                "feature_dim": None,
                "epochs": len(history["seconds"]),
                "epoch_seconds": float(np.mean(history["seconds"])) if history["seconds"] else 0.0,
                "best_epoch": outcome.best_epoch,
                **({"before": outcome.start} if outcome.start else {}),
                "resumed_after": outcome.resumed_after,
                "history": history,
                **outcome.parameters,
                "peak_memory_bytes": peak_memory(),
                **(cost or {}),
            }
        ),
        environment={
            **environment(),
            "keras": keras.__version__,
            "keras_backend": keras.backend.backend(),
        },
        classes=features.classes,
        arrays={
            "test_rows": test.rows.astype(np.int64),
            "y_true": y_test.astype(np.int32),
            "y_pred": y_pred.astype(np.int32),
            **keep_scores(found),
            **keep_confidence(found),
        },
    )
