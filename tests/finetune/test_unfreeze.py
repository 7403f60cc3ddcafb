"""What part of a base is trained, counted as Keras and the studies count."""

from __future__ import annotations

import math

import pytest

from featx.backbones import parse_backbone
from featx.errors import SpecError, UnknownNameError
from featx.finetune.base import build_base, set_trainable
from featx.finetune.unfreeze import parse_unfreeze, parse_unfreezes

NAMES = ["input", "conv1", "bn1", "relu1", "conv2", "bn2", "relu2"]


@pytest.mark.parametrize(
    ("text", "first"),
    [("none", 7), ("0", 7), ("all", 0), ("half", 3), ("2", 5), (2, 5), ("7", 0), ("from:conv2", 4),
     ("from:4", 4), ("from(4)", 4), ("from('bn1')", 2), ("from: conv1 ", 1)],
)  # fmt: skip
def test_the_first_layer_trained(text: str | int, first: int) -> None:
    assert parse_unfreeze(text).first_layer(NAMES, "toy") == first


@pytest.mark.parametrize("text", ["", "-1", "most", "halv", "from", "from:", "1.5", "from()", "²"])
def test_what_cannot_be_read(text: str) -> None:
    with pytest.raises(SpecError, match=r"unfreeze="):
        parse_unfreeze(text)


def test_messages_name_what_there_is() -> None:
    with pytest.raises(SpecError, match="toy has 7 layers"):
        parse_unfreeze("8").first_layer(NAMES, "toy")
    with pytest.raises(UnknownNameError, match=r"Did you mean 'conv2'"):
        parse_unfreeze("from:conv3").first_layer(NAMES, "toy")
    with pytest.raises(SpecError, match="numbered from 0"):
        parse_unfreeze("from:7").first_layer(NAMES, "toy")
    with pytest.raises(SpecError, match="Did you mean 'half'"):
        parse_unfreeze("halb")
    with pytest.raises(SpecError, match="Nothing to fine-tune"):
        parse_unfreezes(())


def test_one_value_given_twice_is_one_run() -> None:
    assert [s.text for s in parse_unfreezes(["half", 5, "5", "from(3)", "from:3"])] == [
        "half", "5", "from:3",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("backbone", "amount", "parameters"),
    [
        # Two studies' own counts: MobileNet with its last 24 and 12 layers trained.
        ("mobilenet", 24, 2_126_848),
        ("mobilenet", 12, 1_593_856),
        ("mobilenet", "none", 0),
        ("vgg16", "half", 13_569_280),  # block3_conv3 and up: `layers[:len(layers) // 2]` frozen
        ("vgg16", "from:block5_conv1", 3 * (9 * 512 * 512 + 512)),
    ],
)
def test_trained_parameters_are_those_of_the_studies(
    backbone: str, amount: str | int, parameters: int
) -> None:
    base = build_base(parse_backbone(backbone), None)
    set_trainable(base, parse_unfreeze(amount).first_layer(base.names, backbone))
    found = sum(math.prod(w.shape) for w in base.model.trainable_weights)
    assert found == parameters
