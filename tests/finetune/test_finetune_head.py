"""Heads fitted on features, as the layers of a network."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import softmax

from featx.errors import HeadError, SpecError
from featx.finetune.blocks import build_blocks, format_blocks, parse_blocks
from featx.finetune.head import build_layers, fit_layers, parse_network_head, set_layers
from featx.heads import make_head
from featx.quiet import import_keras

RNG = np.random.default_rng(0)
Y = np.repeat(np.arange(3), 30)
X = (RNG.normal(size=(90, 6)) * [1, 5, 0.1, 1, 30, 2] + Y[:, None] + 3).astype(np.float32)


def through_layers(text: str, y: np.ndarray, n_classes: int, **options: Any) -> np.ndarray:
    spec = parse_network_head(text)
    layers = build_layers(spec, n_classes, seed=0)
    values = import_keras().ops.convert_to_tensor(X)
    for layer in layers:  # building
        values = layer(values)
    set_layers(layers, fit_layers(spec, X, y, n_classes, **options))
    values = import_keras().ops.convert_to_tensor(X)
    for layer in layers:
        values = layer(values, training=False) if "dropout" in layer.name else layer(values)
    return softmax(np.asarray(values, np.float64), axis=1)


@pytest.mark.parametrize("classes", [2, 3])
def test_the_layers_of_a_logistic_regression_give_its_probabilities(classes: int) -> None:
    y = np.minimum(Y, classes - 1)
    found = through_layers("logreg(C=0.1)", y, classes)
    head = make_head("logreg(C=0.1)").fit(X, y)
    np.testing.assert_allclose(found, head.predict_proba(X), atol=2e-6)


def test_the_layers_of_an_mlp_give_its_probabilities() -> None:
    text = "mlp(hidden=(8, 5), dropout=(0.5, 0.0), epochs=5)"
    held = X[::7], Y[::7]
    head = make_head(text, seed=3).fit(X, Y, validation_data=held)
    found = through_layers(text, Y, 3, held=held, seed=3)
    np.testing.assert_allclose(found, head.predict_proba(X), atol=2e-5)
    kinds = [type(layer).__name__ for layer in build_layers(parse_network_head(text), 3, 0)]
    assert kinds == ["Dense", "Dropout", "Dense", "Dense"]


@pytest.mark.parametrize("name", ["linear_svc", "ridge", "lda"])
def test_other_linear_heads_call_the_same_classes(name: str) -> None:
    found = through_layers(name, Y, 3)
    fitted = fit_layers(parse_network_head(name), X, Y, 3)
    head = make_head(name).set_params(**_chosen(fitted.choice)).fit(X, Y)
    np.testing.assert_array_equal(found.argmax(axis=1), head.predict(X))


def _chosen(choice: Any) -> dict[str, Any]:
    return {choice["parameter"]: choice["chosen"]} if choice.get("parameter") else {}


def test_a_class_without_a_training_row_is_never_called() -> None:
    found = through_layers("logreg(C=1.0)", np.where(Y == 1, 2, Y), 4)
    assert found[:, [1, 3]].max() < 1e-6


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("knn", "knn head cannot be trained"),
        ("centroid", "Use one of: logreg"),
        ("l2+logreg", "steps before a head"),
        ("logreg(multi_class='ovr')", "no softmax"),
        ("mlp(joint=True)", "one label column"),
        ("lograg", "Did you mean 'logreg'"),
    ],
)
def test_heads_that_cannot_be_layers(text: str, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        parse_network_head(text)


def test_a_head_that_cannot_be_fitted() -> None:
    with pytest.raises(HeadError, match="cannot be fitted on the features"):
        fit_layers(parse_network_head("logreg(C=1.0)"), X, np.zeros(90, int), 2)


def test_added_convolutions() -> None:
    steps = parse_blocks("conv(300) + conv(8, kernel=1, batch_norm=True)")
    assert format_blocks(steps) == "conv(300)+conv(8, kernel=1, batch_norm=True)"
    assert format_blocks(parse_blocks("conv")) == "conv(256)"
    values = np.ones((2, 5, 4, 3), np.float32)
    for layer in build_blocks(steps, seed=0):
        values = layer(values)
    assert values.shape == (2, 5, 4, 8)
    assert parse_blocks(" ") == ()


@pytest.mark.parametrize(
    "text", ["dense(3)", "conv(0)", "conv(filters=2.5)", "conv(batch_norm=1)", "conv(3)+", "conv("]
)
def test_convolutions_that_cannot_be_read(text: str) -> None:
    with pytest.raises(SpecError):
        parse_blocks(text)
