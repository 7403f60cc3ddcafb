"""The registry of heads: names and parameters are data, wrong ones are explained."""

from __future__ import annotations

import subprocess
import sys

import pytest

from featx.errors import SpecError, UnknownNameError
from featx.heads import HEADS, make_head, parse_head
from featx.records import HeadSpec


def test_registry_imports_nothing_heavy() -> None:
    code = (
        "import sys; from featx.heads import HEADS, parse_head; parse_head('mlp(hidden=(8, 8))');"
        "heavy = {'sklearn', 'scipy', 'keras', 'tensorflow'} & set(sys.modules);"
        "assert not heavy, heavy; assert len(HEADS) > 5"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("name", HEADS.names())
def test_rows_describe_the_estimator(name: str) -> None:
    entry = HEADS.get(name)
    estimator = make_head(name)
    assert set(entry.parameters) <= set(estimator.get_params())
    assert entry.summary
    for parameter, row in entry.parameters.items():
        assert row.accepts(row.default), parameter
        assert row.words
        assert not row.accepts(object())
    if entry.searched:
        assert entry.searched in entry.parameters
        assert list(entry.values or estimator.path_values)
    for value in entry.values:
        assert entry.parameters[entry.searched].accepts(value)


def test_parse_head_keeps_only_what_was_written() -> None:
    assert parse_head("linear_svc") == HeadSpec("linear_svc", {})
    assert parse_head(" linear_svc(0.1) ") == HeadSpec("linear_svc", {"C": 0.1})
    assert parse_head("mlp([512, 256], dropout=(0.2, 0.0))").params == {
        "hidden": (512, 256),
        "dropout": (0.2, 0.0),
    }


def test_spec_text_reads_back() -> None:
    for text in ("knn(k=3, metric='euclidean')", "mlp(hidden=(512, 256), batch_norm=True)"):
        spec = parse_head(text)
        assert parse_head(spec.text) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("linear_svm", "Did you mean 'linear_svc'"),
        ("nothing_like_it", "featx list heads"),
        ("linear_svc(c=1)", "Did you mean 'C'"),
        ("linear_svc(C=-1)", "linear_svc: C=-1 cannot be used; write a number above 0"),
        ("linear_svc(C=True)", "write a number above 0"),
        ("linear_svc(C='1')", "write a number above 0"),
        ("linear_svc(1, C=1)", "given twice"),
        ("knn(metric='cosin')", "'cosine' or 'euclidean'"),
        ("knn(k=2.5)", "whole number"),
        ("lda(shrinkage=2)", "'auto' or a number from 0 to 1"),
        ("mlp(hidden=(512, 0))", "such as (512, 256)"),
        ("mlp(dropout=1.0)", "from 0 to below 1"),
        ("mlp((8, 8), dropout=(0.1,))", "has 1 values for 2 hidden"),
        ("centroid(k=1)", "Unknown parameter 'k' of centroid"),
        ("mlp(batch_norm='False')", "True or False"),
        ("knn(__import__('os'))", "Cannot read the value"),
    ],
)
def test_wrong_specs_are_explained(text: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        make_head(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_head_is_an_unknown_name() -> None:
    with pytest.raises(UnknownNameError):
        make_head(HeadSpec("linear_svcc", {}))


def test_seed_reaches_the_heads_that_have_one() -> None:
    assert make_head("mlp", seed=7).random_state == 7
    assert make_head("knn", seed=7).get_params().get("random_state") is None
