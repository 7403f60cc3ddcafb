"""The head of a network to fine-tune: as it was fitted on cached features, or drawn at random.

A linear head is one dense layer and a softmax; an MLP is dense layers with ReLU. Standardisation is
folded into the first, so that the layers take raw features and give the fitted head's own
probabilities.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from featx.errors import HeadError, SpecError
from featx.evaluate.draws import Draw
from featx.evaluate.run import fit_head
from featx.heads import HEADS, parse_head
from featx.quiet import import_keras
from featx.records import HeadSpec
from featx.selection import SteppedRows, choose_params, inner_folds

LINEAR = ("logreg", "linear_svc", "ridge", "lda")
"""Heads whose probabilities are the softmax of linear scores."""

FOLDS = 5

ABSENT = -30.0
"""Logit of a class that has no training row, below those of the others."""

Layer = tuple[np.ndarray, np.ndarray]
"""Kernel (inputs, units) and bias (units,) of a dense layer."""


@dataclass(frozen=True)
class FittedHead:
    """A head as dense layers.

    Attributes
    ----------
    layers : tuple of (kernel, bias)
        float64; the last gives logits, a column a class of the data set.
    choice : mapping
        What was chosen in fitting it, for the record; JSON-able.
    seconds : float
        Of choosing and fitting.
    """

    layers: tuple[Layer, ...]
    choice: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0


def parse_network_head(text: str) -> HeadSpec:
    """Read the head's spec string.

    Raises
    ------
    SpecError
        A head that cannot be turned into dense layers, or that has steps before it.
    """
    spec = parse_head(text)
    if spec.name != "mlp" and spec.name not in LINEAR:
        raise SpecError(
            f"A {spec.name} head cannot be trained on as layers of a network. Use one of: "
            f"{', '.join(LINEAR)}, mlp."
        )
    if spec.steps:
        raise SpecError(
            f"{spec.text!r}: steps before a head ({spec.steps[0].name}) cannot be trained on as "
            f"layers of a network. Give {spec.name} alone."
        )
    if spec.params.get("multi_class") == "ovr":
        raise SpecError("logreg(multi_class='ovr') is no softmax: give logreg without it.")
    if spec.params.get("joint"):
        raise SpecError("A network is fine-tuned for one label column: give mlp without joint.")
    return spec


def fit_layers(
    spec: HeadSpec,
    X: Any,
    y: np.ndarray,
    n_classes: int,
    *,
    held: tuple[Any, np.ndarray] | None = None,
    digests: tuple[str, ...] = (),
    groups: tuple[str, ...] = (),
    seed: int = 0,
) -> FittedHead:
    """Fit a head on features, C and the like chosen by folds inside its rows.

    Parameters
    ----------
    spec : HeadSpec
        Of `parse_network_head`.
    X : ndarray of shape (n, width), float32
    y : ndarray of shape (n,), int
        Class numbers of the data set.
    n_classes : int
    held : (X, y), optional
        Rows on which an MLP stops early; a linear head does not see them.
    digests, groups : tuple of str
        Of the rows: copies stay in one fold.
    seed : int

    Returns
    -------
    FittedHead

    Raises
    ------
    HeadError
        It cannot be fitted on these rows.
    """
    started = time.perf_counter()
    none = np.array([], np.int64)
    stops = HEADS.get(spec.name).stops_early and held is not None
    n = len(y)
    folds = (
        []
        if HEADS.get(spec.name).stops_early
        else inner_folds(y, folds=FOLDS, seed=seed, digests=digests, groups=groups)
    )
    if stops:
        assert held is not None
        X, y = np.concatenate([X, held[0]]), np.concatenate([y, held[1]])
    draw = Draw(None, 0, np.arange(n), np.arange(n, len(y)) if stops else none, seed)
    stepped = SteppedRows((), X, folds)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the network is trained further
            choice = choose_params(spec, X, y, stepped.spaces, on="folds", seed=seed)
            head = fit_head(choice.spec, draw, X, y, stepped)
    except ValueError as error:
        reason = str(error).splitlines()[0]
        raise HeadError(f"{spec.text} cannot be fitted on the features: {reason}") from error
    layers = _dense_layers(spec.name, head, choice.temperature or 1.0)
    layers[-1] = _all_classes(*layers[-1], head.classes_, n_classes)
    kept = {k: choice.record[k] for k in ("parameter", "chosen", "score") if k in choice.record}
    return FittedHead(tuple(layers), kept, time.perf_counter() - started)


def build_layers(spec: HeadSpec, n_classes: int, seed: int) -> list[Any]:
    """Return the head as Keras layers up to the logits, drawn at random, dropout among them.

    Call them one after the other; `set_layers` gives them a fitted head's weights.
    """
    keras = import_keras()
    found: list[Any] = []
    params = {**HEADS.get(spec.name).defaults, **spec.params}
    if spec.name == "mlp":
        hidden = params["hidden"]
        hidden = (hidden,) if isinstance(hidden, int) else hidden
        rates = params["dropout"]
        rates = rates if isinstance(rates, tuple) else (rates,) * len(hidden)
        for i, (units, rate) in enumerate(zip(hidden, rates, strict=True)):
            start = keras.initializers.HeUniform(seed=seed + 2 * i)
            found.append(
                keras.layers.Dense(
                    units, activation="relu", kernel_initializer=start, name=f"hidden{i}"
                )
            )
            if rate:
                found.append(keras.layers.Dropout(rate, seed=seed + 2 * i + 1, name=f"dropout{i}"))
    start = keras.initializers.GlorotUniform(seed=seed)
    found.append(
        keras.layers.Dense(n_classes, kernel_initializer=start, dtype="float32", name="logits")
    )
    return found


def set_layers(layers: list[Any], fitted: FittedHead) -> None:
    """Give built Keras layers the weights of a fitted head."""
    dense = [layer for layer in layers if layer.weights]
    for layer, (kernel, bias) in zip(dense, fitted.layers, strict=True):
        layer.set_weights([kernel.astype(np.float32), bias.astype(np.float32)])


def _dense_layers(name: str, head: Any, temperature: float) -> list[Layer]:
    if name == "mlp":
        pairs = zip(head.coefs_, head.intercepts_, strict=True)
        return [(np.asarray(c, np.float64), np.asarray(b, np.float64)) for c, b in pairs]
    coef = np.asarray(head.coef_, np.float64)
    bias = np.asarray(head.intercept_, np.float64)
    if len(coef) == 1:
        # Of two classes there is one score d: the log odds of a logistic regression, softmax of
        # (-d/2, d/2); for other heads it stands for (-d, d).
        half = 2.0 if name == "logreg" else 1.0
        coef, bias = np.concatenate([-coef, coef]) / half, np.concatenate([-bias, bias]) / half
    return [(coef.T / temperature, bias / temperature)]


def _all_classes(
    kernel: np.ndarray, bias: np.ndarray, classes: np.ndarray, n_classes: int
) -> Layer:
    if len(classes) == n_classes:
        return kernel, bias
    whole = np.zeros((len(kernel), n_classes))
    logits = np.full(n_classes, ABSENT)
    whole[:, classes], logits[classes] = kernel, bias
    return whole, logits
