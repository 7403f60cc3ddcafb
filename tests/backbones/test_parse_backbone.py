from __future__ import annotations

import subprocess
import sys

import pytest

from featx.backbones import bound_params, list_backbones, parse_backbone
from featx.errors import ImageSizeError, SpecError, UnknownNameError
from featx.records import ImageSpec


def test_every_name_parses_to_its_defaults() -> None:
    assert len(list_backbones()) == 40
    for name in list_backbones():
        spec = parse_backbone(name)
        assert spec.text == name
        assert spec.params == {}
        assert spec.weights == "imagenet"
        assert spec.image.height == spec.image.width >= 224


def test_parameters_that_equal_the_default_are_dropped() -> None:
    plain = parse_backbone("mobilenet")
    assert parse_backbone("mobilenet(alpha=1.0)") == plain
    assert parse_backbone("mobilenet(alpha=1, depth_multiplier=1)") == plain
    assert parse_backbone("mobilenet(1.0)") == plain
    changed = parse_backbone("mobilenet(depth_multiplier=2, alpha=0.25)")
    assert changed.text == "mobilenet(alpha=0.25, depth_multiplier=2)"
    assert bound_params(parse_backbone("mobilenet(0.5)")) == {"alpha": 0.5, "depth_multiplier": 1}


def test_whole_numbers_become_floats_where_keras_has_floats() -> None:
    alpha = parse_backbone("mobilenet_v2(alpha=2)").params["alpha"]
    assert type(alpha) is float


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("resnet5", ["'resnet50'", "featx list backbones"]),
        ("ResNet50V2", ["'resnet50_v2'"]),
        ("MobileNet", ["'mobilenet'"]),
    ],
)
def test_unknown_name_is_an_error_with_the_near_miss(text: str, words: list[str]) -> None:
    with pytest.raises(UnknownNameError) as caught:
        parse_backbone(text)
    assert all(word in str(caught.value) for word in words)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("mobilenet(alfa=0.5)", ["'alfa'", "'alpha'"]),
        ("resnet50(alpha=0.5)", ["'alpha'", "none"]),
        ("mobilenet(include_top=True)", ["'include_top'", "alpha"]),
        ("mobilenet(alpha='big')", ["alpha='big'", "float"]),
        ("mobilenet(alpha=0)", ["alpha=0", "above 0"]),
        ("mobilenet(alpha=True)", ["alpha=True", "float"]),
        ("mobilenet(depth_multiplier=1.5)", ["depth_multiplier=1.5", "int"]),
        ("mobilenet_v3_small(minimalistic=1)", ["minimalistic=1", "bool"]),
        ("mobilenet(1.0, 1, 2)", ["2 parameter"]),
        ("mobilenet(", ["Cannot read"]),
    ],
)
def test_wrong_parameters_are_named(text: str, words: list[str]) -> None:
    with pytest.raises(SpecError) as caught:
        parse_backbone(text)
    assert all(word in str(caught.value) for word in words), str(caught.value)
    assert "\n" not in str(caught.value)


def test_image_size() -> None:
    assert parse_backbone("vgg16", image_size=96).image == ImageSpec(96, 96)
    assert parse_backbone("vgg16", image_size=(96, 128)).image == ImageSpec(96, 128)


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("inception_v3", 74, ["74x74", "75x75", "299x299"]),
        ("xception", (71, 70), ["71x70", "71x71"]),
        ("mobilenet", 31, ["31x31", "32x32"]),
        ("mobilenet", -5, ["32x32"]),
        ("mobilenet", 100_000, ["4096"]),
        ("mobilenet", (224, 224, 3), ["height and width"]),
        ("mobilenet", (224.0, 224), ["whole number"]),
    ],
)
def test_unfit_image_sizes_are_refused(name: str, size, words: list[str]) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ImageSizeError) as caught:
        parse_backbone(name, image_size=size)
    assert all(word in str(caught.value) for word in words), str(caught.value)


def test_empty_weights_are_refused() -> None:
    with pytest.raises(SpecError, match="imagenet, random, auto"):
        parse_backbone("vgg16", weights=" ")


def test_parsing_and_random_weights_import_nothing_heavy() -> None:
    code = (
        "import sys, featx.backbones as b, featx.engines as e\n"
        "b.resolve_weights(b.parse_backbone('vgg16', weights='random')); e.choose_engine()\n"
        "heavy = {'keras', 'tensorflow', 'openvino', 'jax', 'h5py', 'PIL', 'sklearn'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
