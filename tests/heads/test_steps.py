"""Steps before a head: what is written, what is built, what it does to the rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from featx.errors import SpecError, UnknownNameError
from featx.heads import STEPS, make_head, parse_head
from featx.heads.components import Components
from featx.heads.power import SignedPower
from featx.heads.saving import from_arrays, to_arrays
from featx.heads.steps import make_steps
from featx.records import HeadSpec, StepSpec


@pytest.fixture
def rows() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = np.arange(120) % 3
    X = rng.normal(size=(3, 20))[y] + rng.normal(size=(120, 20))
    return X.astype(np.float32), y


def test_steps_are_read_in_their_order() -> None:
    spec = parse_head(" power(0.3) + l2 + linear_svc(C=1) ")
    assert spec == HeadSpec(
        "linear_svc", {"C": 1}, (StepSpec("power", {"alpha": 0.3}), StepSpec("l2"))
    )
    assert spec.text == "power(alpha=0.3)+l2+linear_svc(C=1)"
    assert parse_head(spec.text) == spec
    assert parse_head("power(alpha=1e+0)+knn").steps[0].params == {"alpha": 1.0}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("l2", "l2 is a step, not a head: write a head after it"),
        ("linear_svc+l2", "write a head after it"),
        ("knn+linear_svc", "knn is a head, and a head is written last"),
        ("l2+", "write steps and a head"),
        ("+knn", "write steps and a head"),
        ("pcaa+knn", "Unknown step 'pcaa'. Did you mean 'pca'"),
        ("l2+knnn", "Unknown head 'knnn'. Did you mean 'knn'"),
        ("pca(n=0)+knn", "share of the variance"),
        ("pca(n=1.0)+knn", "share of the variance"),
        ("pca(n=True)+knn", "share of the variance"),
        ("pca(m=3)+knn", "Unknown parameter 'm' of pca"),
        ("power(alpha=0)+knn", "a number above 0"),
        ("l2(1)+knn", "l2 takes 0 parameter(s)"),
    ],
)
def test_wrong_steps_are_explained(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_head(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_step_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError):
        make_head(HeadSpec("knn", {}, (StepSpec("pcaa"),)))


@pytest.mark.parametrize("name", STEPS.names())
def test_rows_describe_the_transformer(name: str) -> None:
    entry = STEPS.get(name)
    (step,) = make_steps([StepSpec(name)])
    assert set(entry.parameters) <= set(step.get_params())
    assert entry.summary
    for parameter in entry.parameters.values():
        assert parameter.accepts(parameter.default)


@pytest.mark.parametrize("name", STEPS.names())
def test_row_wise_steps_are_those_that_learn_nothing_of_other_rows(name: str, rows: Any) -> None:
    X, _ = rows
    (step,) = make_steps([StepSpec(name)])
    alone = step.fit(X[:2]).transform(X[:2])
    among = step.fit(X).transform(X)[:2]
    same = alone.shape == among.shape and np.allclose(alone, among, atol=1e-6)
    assert same == STEPS.get(name).row_wise


@pytest.mark.slow
@pytest.mark.parametrize("step", [SignedPower(), Components(n=2), Components(n=0.9)])
def test_sklearn_accepts_it(step: Any) -> None:
    results = check_estimator(step, on_skip=None)
    assert sum(r["status"] == "passed" for r in results) > 30


def test_signed_power_keeps_the_sign_and_the_type() -> None:
    X = np.array([[4.0, -9.0, 0.0]], np.float32)
    found = SignedPower(alpha=0.5).fit_transform(X)
    np.testing.assert_array_equal(found, [[2, -3, 0]])
    assert found.dtype == np.float32
    np.testing.assert_array_equal(X, [[4, -9, 0]])


@pytest.mark.parametrize(
    ("shape", "n"), [((120, 20), 5), ((120, 20), 0.8), ((15, 60), 10), ((15, 60), 0.7)]
)
def test_components_are_those_of_a_full_decomposition(shape: tuple[int, int], n: float) -> None:
    X = np.random.default_rng(0).normal(size=shape) * np.linspace(1, 5, shape[1])
    found = Components(n=n).fit(X)
    expected = PCA(n_components=n, svd_solver="full").fit(X)
    np.testing.assert_allclose(found.components_, expected.components_, atol=1e-8)
    np.testing.assert_allclose(found.transform(X), expected.transform(X), atol=1e-8)
    ratios = expected.explained_variance_ratio_
    np.testing.assert_allclose(found.explained_variance_ratio_, ratios)


@pytest.mark.parametrize("shape", [(6, 20), (6, 4), (2, 3)])
def test_more_components_than_there_can_be_are_all_there_are(shape: tuple[int, int]) -> None:
    X = np.random.default_rng(0).normal(size=shape)
    found = Components(n=128).fit_transform(X)
    assert found.shape == (shape[0], min(shape[0] - 1, shape[1]))
    centred = X - X.mean(axis=0)
    np.testing.assert_allclose(found @ found.T, centred @ centred.T, atol=1e-9)  # nothing is lost


def test_rows_that_are_all_the_same_have_no_components() -> None:
    with pytest.raises(ValueError, match="all rows are the same"):
        Components().fit(np.ones((5, 3)))


def test_a_head_with_steps_is_their_pipeline(rows: Any) -> None:
    X, y = rows
    head = make_head("standardize+pca(n=5)+l2+logreg(C=0.1)").fit(X, y)
    assert isinstance(head, Pipeline)
    assert [name for name, _ in head.steps] == ["standardize", "pca", "l2", "head"]
    Z = PCA(5).fit_transform(StandardScaler().fit_transform(X))
    Z /= np.linalg.norm(Z, axis=1, keepdims=True)
    expected = make_head("logreg(C=0.1)").fit(Z, y)
    np.testing.assert_allclose(head.predict_proba(X), expected.predict_proba(Z), atol=1e-4)


def test_the_seed_reaches_the_head_behind_steps() -> None:
    assert make_head("l2+pca+l2+mlp", seed=7)[-1].random_state == 7


@pytest.mark.parametrize("text", ["power+l2+linear_svc", "standardize+pca(n=4)+knn(k=3)"])
def test_a_fitted_head_with_steps_is_kept_without_pickle(text: str, rows: Any) -> None:
    X, y = rows
    head = make_head(text).fit(X, y)
    arrays, document = to_arrays(head)
    back = from_arrays(arrays, json.loads(json.dumps(document)))
    assert all(array.dtype.kind in "fiu" for array in arrays.values())
    np.testing.assert_array_equal(back.predict(X), head.predict(X))
    assert str(back) == str(head)
