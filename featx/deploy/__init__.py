"""Deployment: a run as one model file, and predictions with it.

`export` writes backbone, preprocessing and head as one graph in the format of Keras, TensorFlow
(SavedModel), ONNX or OpenVINO; `load_model` reads any of them back.
"""

from __future__ import annotations

from featx.deploy.exporting import ExportRecord, export
from featx.deploy.find import find_run
from featx.deploy.images import find_images
from featx.deploy.loading import (
    DeployedModel,
    PredictionRecord,
    Predictions,
    best_classes,
    load_model,
)
from featx.deploy.spec import ModelSpec

__all__ = [
    "DeployedModel",
    "ExportRecord",
    "ModelSpec",
    "PredictionRecord",
    "Predictions",
    "best_classes",
    "export",
    "find_images",
    "find_run",
    "load_model",
]
