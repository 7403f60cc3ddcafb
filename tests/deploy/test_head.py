"""Every head as layers: the same probabilities in every format, to float32's rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from featuresets import digits_features

from featx.deploy.formats import FORMATS
from featx.deploy.head import build_head
from featx.deploy.spec import ModelSpec
from featx.errors import DeployError
from featx.evaluate import evaluate
from featx.evaluate.refit import RefitRecord, refit_head
from featx.heads import HEADS, STEPS
from featx.quiet import import_keras
from featx.records import FeatureSet, ImageSpec, RunRecord

SPECS = [
    "linear_svc(C=0.01)",
    "logreg(C=0.01)",
    "logreg(C=0.01, multi_class='ovr')",
    "ridge",
    "lda",
    "centroid",
    "centroid(metric='euclidean')",
    "knn",
    "knn(k=3, metric='euclidean', weights='distance', standardize=False)",
    "knn(k=4, weights='distance')",
    "mlp(hidden=(16, 8), epochs=3, batch_norm=True)",
    "power+l2+linear_svc(C=0.01)",
    "power(alpha=0.3)+standardize+pca(n=0.9)+ridge",
    "l2+knn(k=3)",
]


def fitted(features: FeatureSet, spec: str) -> tuple[RunRecord, RefitRecord]:
    (record,) = evaluate(features, [spec])
    return record, refit_head(features, record)


def as_network(keras: Any, records: list[tuple[RunRecord, RefitRecord]], n_classes: int) -> Any:
    """One network of 8×8 grey pixels with the outputs of all heads side by side."""
    images = keras.Input((8, 8, 3), dtype="uint8", name="images")
    pixels = keras.ops.reshape(keras.ops.cast(images[..., 0], "float32"), (-1, 64))
    outputs = [
        build_head(record.head, refit, 64, n_classes, f"head{i}")(pixels)
        for i, (record, refit) in enumerate(records)
    ]
    together = keras.layers.Concatenate()(outputs) if len(outputs) > 1 else outputs[0]
    return keras.Model(images, together)


def pictures(rows: np.ndarray) -> np.ndarray:
    grey = rows.reshape(-1, 8, 8, 1).astype(np.uint8)
    return np.repeat(grey, 3, axis=3)


@pytest.fixture(scope="module")
def heads() -> list[tuple[RunRecord, RefitRecord]]:
    features = digits_features(250)
    return [fitted(features, spec) for spec in SPECS]


@pytest.fixture(scope="module")
def network(heads: list[tuple[RunRecord, RefitRecord]]) -> Any:
    return as_network(import_keras(), heads, 10)


def test_every_head_and_step_is_here() -> None:
    words = " ".join(SPECS)
    assert [name for name in (*HEADS.names(), *STEPS.names()) if name not in words] == []


@pytest.mark.parametrize("name", FORMATS.names())
def test_probabilities_are_those_of_the_cached_evaluation(
    name: str, heads: Any, network: Any, tmp_path: Path
) -> None:
    found = FORMATS.get(name)
    path = tmp_path / f"model{found.suffix}"
    spec = ModelSpec(tuple(map(str, range(10 * len(SPECS)))), ImageSpec(8, 8))
    found.save(network, path, spec)
    read, runner = found.load(path)
    assert read == spec
    rows = digits_features(250).X[heads[0][0].arrays["test_rows"]]
    together = runner.run(pictures(rows))["probabilities"]
    for i, (record, refit) in enumerate(heads):
        values = together[:, 10 * i : 10 * i + 10]
        np.testing.assert_allclose(values.sum(axis=1), 1, atol=1e-5)
        np.testing.assert_allclose(
            values, refit.probabilities, rtol=1e-4, atol=1e-5, err_msg=record.head.text
        )
        top = np.sort(refit.probabilities, axis=1)[:, -2:]
        clear = top[:, 1] - top[:, 0] > 1e-4
        assert clear.mean() > 0.8
        np.testing.assert_array_equal(
            values.argmax(axis=1)[clear], refit.probabilities.argmax(axis=1)[clear]
        )


@pytest.mark.parametrize(
    "spec",
    [
        "linear_svc(C=0.01)",
        "logreg(C=0.01)",
        "logreg(C=0.01, multi_class='ovr')",
        "ridge",
        "lda",
        "centroid",
        "centroid(metric='euclidean')",
        "knn",
        "mlp(hidden=8, epochs=2)",
    ],
)
def test_two_classes(spec: str) -> None:
    features = digits_features(300)
    keep = np.flatnonzero(features.y < 2)
    features = digits_features(
        len(keep),
        X=features.X[keep],
        y=features.y[keep],
        classes=("0", "1"),
        paths=tuple(features.paths[i] for i in keep),
    )
    record, refit = fitted(features, spec)
    network = as_network(import_keras(), [(record, refit)], 2)
    rows = features.X[record.arrays["test_rows"]]
    values = np.asarray(network(pictures(rows)))
    np.testing.assert_allclose(values, refit.probabilities, rtol=1e-4, atol=1e-5)


def test_a_class_without_training_rows_has_probability_0() -> None:
    features = digits_features(200)
    record, refit = fitted(features, "ridge")
    refit.head.classes_ = np.arange(10)  # columns 0 to 9 of twelve classes
    network = build_head(record.head, refit, 64, 12, "ridge")
    values = np.asarray(network(features.X[record.arrays["test_rows"]]))
    np.testing.assert_allclose(values[:, :10], refit.probabilities, rtol=1e-4, atol=1e-5)
    assert not values[:, 10:].any()


def test_too_many_neighbours_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featx.deploy.head.ROWS_BYTES", 1000)
    record, refit = fitted(digits_features(100), "knn(k=1)")
    with pytest.raises(DeployError, match=r"knn keeps its \d+ training rows of 64 features"):
        build_head(record.head, refit, 64, 10, "knn")
