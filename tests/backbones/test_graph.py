from __future__ import annotations

import numpy as np
import pytest

from featx.backbones import (
    build_graph,
    graph_shapes,
    list_layers,
    parse_backbone,
    resolve_weights,
    tap_shapes,
)
from featx.errors import BackboneError, SpecError, UnknownNameError
from featx.quiet import import_keras
from featx.records import TapSpec

SPEC = parse_backbone("mobilenet(alpha=0.25)", weights="random", image_size=(64, 96))
FLATTEN = TapSpec("", "flatten")


def graph_of(*taps: str):  # type: ignore[no-untyped-def]
    return build_graph(SPEC, resolve_weights(SPEC), [TapSpec.parse(tap) for tap in taps])


def pixels(count: int = 2) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, 64, 96, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "size", "shape"),
    [
        ("vgg16", 224, (7, 7, 512)),
        ("resnet50", 224, (7, 7, 2048)),
        ("inception_v3", 224, (5, 5, 2048)),
        ("mobilenet", (96, 160), (3, 5, 1024)),
    ],
)
def test_flatten_widths(name: str, size, shape: tuple[int, ...]) -> None:  # type: ignore[no-untyped-def]
    spec = parse_backbone(name, image_size=size)
    taps = [FLATTEN, TapSpec("", "avg")]
    assert tap_shapes(spec, taps) == {"flatten": shape, "avg": shape[-1:]}
    widths = {"vgg16": 25_088, "resnet50": 100_352, "inception_v3": 51_200, "mobilenet": 15_360}
    assert np.prod(shape) == widths[name]


def test_taps_read_one_forward_pass() -> None:
    graph = graph_of("avg", "max", "flatten", "conv_pw_3_relu:avg", "conv_pw_3_relu")
    out = {name: np.asarray(value) for name, value in graph(pixels()).items()}
    assert list(out) == ["avg", "max", "flatten", "conv_pw_3_relu:avg", "conv_pw_3_relu:flatten"]
    last = out["flatten"].reshape(2, 2, 3, 256)  # height, width, channel: row-major
    np.testing.assert_allclose(out["avg"], last.mean(axis=(1, 2)), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(out["max"], last.max(axis=(1, 2)))
    early = out["conv_pw_3_relu:flatten"].reshape(2, 16, 24, 32)
    np.testing.assert_allclose(
        out["conv_pw_3_relu:avg"], early.mean(axis=(1, 2)), rtol=1e-5, atol=1e-7
    )


def test_shapes_are_those_of_the_graph() -> None:
    taps = [TapSpec.parse(t) for t in ("flatten", "avg", "conv_pw_3_relu:max", "conv1")]
    graph = build_graph(SPEC, resolve_weights(SPEC), taps)
    shapes = tap_shapes(SPEC, taps)
    assert shapes == graph_shapes(graph, taps)
    assert shapes["conv1:flatten"] == (32, 48, 8)
    for name, value in graph(pixels()).items():
        assert value.shape == (2, np.prod(shapes[name]))


def test_graph_takes_bytes_and_computes_in_inference_mode() -> None:
    graph = graph_of("avg")
    assert graph.input_shape == (None, 64, 96, 3)
    assert graph.inputs[0].dtype == "uint8"
    assert not graph.trainable_variables
    before = [w.numpy() for w in graph.weights]
    one = np.asarray(graph(pixels(), training=False)["avg"])
    other = np.asarray(graph(pixels(), training=True)["avg"])  # frozen, whatever the caller says
    np.testing.assert_array_equal(one, other)
    for a, b in zip(before, graph.weights, strict=True):
        np.testing.assert_array_equal(a, b.numpy())


def test_unknown_layer_names_the_near_miss_and_how_to_list() -> None:
    with pytest.raises(UnknownNameError) as caught:
        graph_of("conv_pw_3_rel:avg")
    text = str(caught.value)
    assert "'conv_pw_3_relu'" in text
    assert "featx list layers 'mobilenet(alpha=0.25)'" in text


def test_no_taps_and_unknown_poolings_are_refused() -> None:
    with pytest.raises(SpecError, match="avg, max, flatten"):
        build_graph(SPEC, resolve_weights(SPEC), [])
    with pytest.raises(SpecError, match="median"):
        tap_shapes(SPEC, [TapSpec("", "median")])


def test_listed_layers_are_taps_and_keep_their_names() -> None:
    spec = parse_backbone("inception_v3", image_size=80)
    first, second = list_layers(spec), list_layers(spec)
    assert first == second  # Keras itself goes on counting: conv2d_94 the second time
    names = dict(first)
    assert names["mixed7"] == (3, 3, 768)
    assert names["conv2d"] == (39, 39, 32)
    assert "conv2d_93" in names
    assert "conv2d_94" not in names
    assert tap_shapes(spec, [TapSpec("conv2d_93", "avg")]) == {"conv2d_93:avg": (192,)}


def test_networks_that_keras_cannot_build_are_a_readable_error() -> None:
    spec = parse_backbone("mobilenet(alpha=0.01)", weights="random", image_size=64)
    with pytest.raises(BackboneError, match=r"mobilenet\(alpha=0.01\) at 64x64"):
        tap_shapes(spec, [FLATTEN])


def test_users_keras_settings_are_left_alone() -> None:
    keras = import_keras()
    keras.config.set_image_data_format("channels_first")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        graph = graph_of("avg")
        assert keras.config.image_data_format() == "channels_first"
        assert keras.config.dtype_policy().name == "mixed_bfloat16"
    finally:
        keras.config.set_image_data_format("channels_last")
        keras.config.set_dtype_policy("float32")
    np.testing.assert_array_equal(graph(pixels())["avg"], graph_of("avg")(pixels())["avg"])


def test_half_precision_gives_float32_features_near_the_full_ones() -> None:
    wanted = np.asarray(graph_of("avg")(pixels())["avg"])
    half = build_graph(SPEC, resolve_weights(SPEC), [TapSpec("", "avg")], "mixed_bfloat16")
    found = np.asarray(half(pixels())["avg"])
    assert found.dtype == np.float32
    error = np.linalg.norm(found - wanted) / np.linalg.norm(wanted)
    assert 1e-5 < error < 2e-2
