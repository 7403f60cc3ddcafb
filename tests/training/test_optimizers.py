"""Optimizers by spec string."""

from __future__ import annotations

import pytest

from featx.errors import SpecError, UnknownNameError
from featx.training import OPTIMIZERS, build_optimizer, parse_optimizer


@pytest.mark.parametrize("name", list(OPTIMIZERS))
def test_every_optimizer_is_built_with_its_rate(name: str) -> None:
    optimizer = build_optimizer(parse_optimizer(f"{name}(2e-4)"))
    assert float(optimizer.learning_rate) == pytest.approx(2e-4)
    assert type(optimizer).__name__.lower() == name


def test_parameters_reach_keras() -> None:
    optimizer = build_optimizer(parse_optimizer("sgd(1e-4, momentum=0.9, nesterov=True)"))
    assert (optimizer.momentum, optimizer.nesterov) == (0.9, True)
    assert build_optimizer(parse_optimizer("adamw(weight_decay=0.1)")).weight_decay == 0.1


@pytest.mark.parametrize("text", ["adam", "adam(1e-05)", "sgd(0.0001, momentum=0.9)"])
def test_text_is_what_was_given(text: str) -> None:
    assert parse_optimizer(text).text == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("adm", "Did you mean 'adam'"),
        ("adam(rte=1)", "Unknown parameter 'rte'"),
        ("sgd(momntum=0.9)", "Did you mean 'momentum'"),
        ("adam(0)", "above 0"),
        ("adam(-1e-3)", "above 0"),
        ("adam('fast')", "expected a number"),
        ("adam(True)", "expected a number"),
        ("sgd(momentum=1)", "below 1"),
        ("sgd(nesterov=1)", "True or False"),
        ("adam(1e-3", "Cannot read"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(text: str, expected: str) -> None:
    with pytest.raises(SpecError, match=expected):
        parse_optimizer(text)


def test_unknown_names_point_to_the_list() -> None:
    with pytest.raises(UnknownNameError, match="featx list optimizers"):
        parse_optimizer("lion")
