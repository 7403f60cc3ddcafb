"""Where a base ends, and where it can be cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featx.backbones import parse_backbone
from featx.errors import SpecError
from featx.finetune.base import Base, build_base, build_tail, find_cut, set_trainable
from featx.quiet import import_keras
from featx.records import WeightsRecord

RANDOM = WeightsRecord("random", "random-0")


def small_base(name: str, size: int = 32, drop_last: int = 0) -> Base:
    return build_base(parse_backbone(name, weights="random", image_size=size), RANDOM, drop_last)


def make_base(ends: str) -> Base:
    """Two convolutions side by side after a first one, joined by an addition, then a last one."""
    keras = import_keras()
    pixels = keras.Input((4, 4, 2), name="input")
    stem = keras.layers.Conv2D(3, 1, name="stem")(pixels)
    left = keras.layers.Conv2D(3, 1, name="left")(stem)
    right = keras.layers.Conv2D(3, 1, name="right")(stem)
    both = keras.layers.Add(name="add")([left, right])
    last = keras.layers.Conv2D(2, 1, name="last")(both)
    model = keras.Model(pixels, {"last": last, "add": both}[ends], name="toy")
    return Base(model, tuple(layer.name for layer in model.layers))


def cut_name(base: Base, first: str) -> str | None:
    set_trainable(base, base.names.index(first) if first else len(base.names))
    cut = find_cut(base)
    return None if cut is None else cut.layer.name


def test_the_cut_is_where_all_paths_meet_below_what_is_trained() -> None:
    base = make_base("last")
    assert cut_name(base, "last") == "add"
    # One branch is trained, so its sibling cannot be cut off: the stem is the meeting point.
    assert cut_name(base, base.names[3]) == "stem"
    assert cut_name(base, base.names[2]) == "stem"
    assert cut_name(base, "stem") is None
    assert cut_name(base, "") == "last"
    assert cut_name(make_base("add"), "add") == "add"


@pytest.mark.parametrize(
    ("name", "amount", "cut"),
    [
        ("mobilenet(alpha=0.25)", 24, "conv_dw_10"),
        ("mobilenet_v2(alpha=0.35)", 20, "block_14_add"),
        pytest.param(
            "mobilenet_v3_small", 20, "expanded_conv_8_project_bn", marks=pytest.mark.slow
        ),
        pytest.param("resnet50", 30, "conv4_block6_out", marks=pytest.mark.slow),
    ],
)
def test_a_tail_gives_what_the_whole_gives(name: str, amount: int, cut: str | None) -> None:
    base = small_base(name)
    set_trainable(base, len(base.names) - amount)
    found = find_cut(base)
    assert found is not None
    assert found.tap.layer == cut
    assert 0 < found.share < 1
    keras = import_keras()
    values = np.random.default_rng(0).normal(size=(2, 32, 32, 3)).astype(np.float32)
    whole = np.asarray(base.model(values, training=False))
    tail = build_tail(base, found)
    trunk = keras.Model(base.model.inputs, found.layer._inbound_nodes[0].output_tensors[0])
    rows = trunk(values, training=False)
    assert tuple(rows.shape[1:]) == found.shape
    np.testing.assert_allclose(np.asarray(tail(rows, training=False)), whole, rtol=1e-4, atol=1e-5)
    trained = {id(w) for w in base.model.trainable_weights}
    assert {id(w) for w in tail.trainable_weights} == trained
    assert not trunk.trainable_weights


def test_nothing_frozen_has_no_cut() -> None:
    base = small_base("mobilenet(alpha=0.25)")
    set_trainable(base, 0)
    assert find_cut(base) is None


def test_dropping_layers() -> None:
    whole, short = small_base("mobilenet(alpha=0.25)"), small_base("mobilenet(alpha=0.25)", 32, 6)
    assert len(short.names) == len(whole.names) - 6
    assert short.last == short.names[-1] == "conv_pw_12_relu"
    assert short.tap("avg").name == "conv_pw_12_relu:avg"
    assert whole.tap("avg").name == "avg"
    # The study that cut MobileNet's last convolutions off kept all that lies before them.
    values = np.ones((1, 32, 32, 3), np.float32)
    import_keras()
    layer: Any = whole.model.get_layer("conv_pw_12_relu")
    found = import_keras().Model(whole.model.inputs, layer.output)(values)
    np.testing.assert_allclose(np.asarray(short.model(values)), np.asarray(found), atol=1e-6)


def test_layers_are_not_dropped_in_the_middle_of_branches(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SpecError, match=r"has 86 layers\. Give 0 to 84"):
        build_base(parse_backbone("mobilenet"), None, 85)
    toy = make_base("last").model
    monkeypatch.setattr("featx.finetune.base.call_builder", lambda *_, **__: toy)
    assert build_base(parse_backbone("mobilenet"), None, 1).last == "add"
    with pytest.raises(SpecError, match=r"middle of branches.*Near it 1 and 3 would do"):
        build_base(parse_backbone("mobilenet"), None, 2)
    assert build_base(parse_backbone("mobilenet"), None, 4).last == "stem"


def test_a_base_is_in_inference_mode_whatever_is_around_it() -> None:
    """A network hands training=True down to a nested model that was called with False."""
    keras = import_keras()
    base = small_base("mobilenet(alpha=0.25)")
    pixels = keras.Input((32, 32, 3))
    network = keras.Model(pixels, base.model(pixels))
    values = np.random.default_rng(0).normal(size=(3, 32, 32, 3)).astype(np.float32)
    before = [np.asarray(w) for w in base.model.weights]
    trained = np.asarray(network(values, training=True))
    np.testing.assert_array_equal(trained, np.asarray(network(values, training=False)))
    for old, weight in zip(before, base.model.weights, strict=True):
        np.testing.assert_array_equal(old, np.asarray(weight))
