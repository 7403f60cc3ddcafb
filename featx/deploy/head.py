"""A fitted head as Keras layers: features in, probabilities out, scalers and steps folded in.

Only layers and operations of Keras itself are used, so that a saved model needs no featx. Linear
maps are one `Dense` each, computed in float32 from coefficients that were fitted in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from featx.errors import DeployError
from featx.evaluate.refit import RefitRecord
from featx.heads import HEADS
from featx.heads.knn import PRIOR_VOTES
from featx.quiet import import_keras
from featx.records import HeadSpec

ROWS_BYTES = 2**28
"""Nearest neighbours keep their training rows in the model; up to this size."""


def build_head(spec: HeadSpec, refit: RefitRecord, width: int, n_classes: int, name: str) -> Any:
    """Build the network of a fitted head.

    Parameters
    ----------
    spec : HeadSpec
    refit : RefitRecord
        With the head fitted.
    width : int
        Of the features.
    n_classes : int
    name : str

    Returns
    -------
    keras.Model
        Takes float32 (n, width), gives float32 (n, n_classes): the head's own probabilities, or
        the softmax of its scores over the temperature of the run.

    Raises
    ------
    DeployError
        A head that cannot be put into a model.
    """
    keras = import_keras()
    estimator = refit.head
    last = estimator[-1] if spec.steps else estimator
    features = keras.Input((width,), name="features")
    values = features
    for step, fitted in zip(spec.steps, estimator[:-1] if spec.steps else (), strict=True):
        values = _STEPS[step.name](keras, values, fitted)
    build = _HEADS.get(spec.name)
    if build is None:
        known = ", ".join(name for name in HEADS.names() if name in _HEADS)
        raise DeployError(f"A {spec.name} head cannot be exported; these can: {known}.")
    temperature = 1.0 if refit.temperature is None else refit.temperature
    values = build(keras, values, last, temperature)
    if len(last.classes_) < n_classes:  # classes without a training image have probability 0
        spread = np.zeros((len(last.classes_), n_classes))
        spread[np.arange(len(last.classes_)), last.classes_] = 1
        values = _linear(keras, values, spread, None, "all_classes")
    return keras.Model(features, values, name=name)


def _linear(
    keras: Any, x: Any, kernel: np.ndarray, bias: np.ndarray | None, name: str, **options: Any
) -> Any:
    """Return x @ kernel + bias."""
    layer = keras.layers.Dense(kernel.shape[1], use_bias=bias is not None, name=name, **options)
    values = layer(x)
    layer.set_weights([a.astype(np.float32) for a in (kernel, bias) if a is not None])
    return values


def _scaled(keras: Any, x: Any, mean: np.ndarray, scale: np.ndarray, name: str) -> Any:
    """Return (x - mean) / scale."""
    layer = keras.layers.BatchNormalization(
        center=False, scale=False, epsilon=0.0, trainable=False, name=name
    )
    values = layer(x)
    layer.set_weights([mean.astype(np.float32), np.square(scale).astype(np.float32)])
    return values


def _unit_length(keras: Any, x: Any, name: str) -> Any:
    return keras.layers.UnitNormalization(name=name)(x)


# --- steps -------------------------------------------------------------------------------------


def _power(keras: Any, x: Any, step: Any) -> Any:
    size = keras.ops.abs(x)
    size = keras.ops.sqrt(size) if step.alpha == 0.5 else keras.ops.power(size, step.alpha)
    return keras.ops.sign(x) * size


def _l2(keras: Any, x: Any, step: Any) -> Any:
    return _unit_length(keras, x, "l2")


def _standardize(keras: Any, x: Any, step: Any) -> Any:
    return _scaled(keras, x, step.mean_, step.scale_, "standardize")


def _pca(keras: Any, x: Any, step: Any) -> Any:
    kernel = step.components_.T.astype(np.float64)
    return _linear(keras, x, kernel, -step.mean_.astype(np.float64) @ kernel, "pca")


_STEPS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "power": _power,
    "l2": _l2,
    "standardize": _standardize,
    "pca": _pca,
}


# --- heads -------------------------------------------------------------------------------------


def _softmax_of(
    keras: Any, x: Any, coef: np.ndarray, intercept: np.ndarray, temperature: float
) -> Any:
    """Return the softmax of linear scores; a single one, d, stands for (-d, d)."""
    if len(coef) == 1:
        coef, intercept = np.concatenate([-coef, coef]), np.concatenate([-intercept, intercept])
    coef, intercept = coef / temperature, intercept / temperature
    return _linear(keras, x, coef.T, intercept, "head", activation="softmax")


def _decision(keras: Any, x: Any, head: Any, temperature: float) -> Any:
    return _softmax_of(keras, x, head.coef_, head.intercept_, temperature)


def _logreg(keras: Any, x: Any, head: Any, temperature: float) -> Any:
    if len(head.coef_) == 1:  # the log odds d of the second class: the softmax of (-d/2, d/2)
        return _softmax_of(keras, x, head.coef_, head.intercept_, 2.0)
    if head.multi_class == "multinomial":
        return _softmax_of(keras, x, head.coef_, head.intercept_, 1.0)
    scores = _linear(keras, x, head.coef_.T, head.intercept_, "head")
    # Sigmoids over their sum, without underflow.
    return keras.layers.Softmax(name="softmax")(keras.ops.log_sigmoid(scores))


def _centroid(keras: Any, x: Any, head: Any, temperature: float) -> Any:
    x = _prepared(keras, x, head)
    coef = head.centroids_.astype(np.float64)
    intercept = np.zeros(len(coef))
    if head.metric == "euclidean":
        intercept = -np.einsum("ij,ij->i", coef, coef) / 2
    if len(coef) == 2:
        coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
    return _softmax_of(keras, x, coef, intercept, temperature)


def _mlp(keras: Any, x: Any, head: Any, temperature: float) -> Any:
    layers = list(zip(head.coefs_, head.intercepts_, strict=True))
    for number, (coef, intercept) in enumerate(layers[:-1]):
        x = _linear(keras, x, coef, intercept, f"hidden{number}", activation="relu")
    return _linear(keras, x, *layers[-1], "head", activation="softmax")


def _knn(keras: Any, x: Any, head: Any, temperature: float) -> Any:
    rows, n_classes = head.rows_, len(head.classes_)
    if rows.nbytes > ROWS_BYTES:
        raise DeployError(
            f"knn keeps its {len(rows)} training rows of {rows.shape[1]} features in the model: "
            f"{rows.nbytes / 1e6:.0f} MB, more than {ROWS_BYTES / 1e6:.0f} MB. Export a run of "
            "another head, of fewer --shots, or with pca before it: 'pca(n=128)+knn'."
        )
    ops, k = keras.ops, min(head.k, len(rows))
    x = _prepared(keras, x, head)
    euclidean = head.metric == "euclidean"
    offset = -np.einsum("ij,ij->i", rows, rows, dtype=np.float64) / 2 if euclidean else None
    near, places = ops.top_k(_linear(keras, x, rows.T, offset, "rows"), k)
    labels = keras.layers.Embedding(len(rows), n_classes, name="labels")
    votes = labels(places)  # (n, k, n_classes)
    labels.set_weights([np.eye(n_classes, dtype=np.float32)[head.labels_]])
    if head.weights == "uniform":
        votes = ops.sum(votes, axis=1)
    else:
        distance = 1.0 - near
        if euclidean:
            squared = ops.sum(ops.square(x), axis=1, keepdims=True) - 2.0 * near
            distance = ops.sqrt(ops.relu(squared))
        weight = 1.0 / ops.maximum(distance, 1e-6)
        weight = weight / ops.mean(weight, axis=1, keepdims=True)
        votes = ops.sum(votes * ops.expand_dims(weight, -1), axis=1)
    return (votes + PRIOR_VOTES / n_classes) / (k + PRIOR_VOTES)


def _prepared(keras: Any, x: Any, head: Any) -> Any:
    """Standardise, and for "cosine" bring to length 1, as neighbours and centroids do."""
    if head.standardize:
        x = _scaled(keras, x, head.mean_, head.scale_, "scale")
    return _unit_length(keras, x, "direction") if head.metric == "cosine" else x


_HEADS: dict[str, Callable[[Any, Any, Any, float], Any]] = {
    "linear_svc": _decision,
    "logreg": _logreg,
    "ridge": _decision,
    "lda": _decision,
    "centroid": _centroid,
    "knn": _knn,
    "mlp": _mlp,
}
