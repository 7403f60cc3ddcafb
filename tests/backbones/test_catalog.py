"""The catalog's rows, held against Keras itself."""

from __future__ import annotations

import importlib
import inspect

import pytest

from featx.backbones import BACKBONES, list_backbones, parse_backbone
from featx.backbones.weights import imagenet_file
from featx.quiet import import_keras

SIZES = {"mobilenet": (128, 160, 192, 224), "mobilenet_v2": (96, 160, 224)}
TEXTS = {
    "mobilenet": ["mobilenet", *(f"mobilenet({a})" for a in (0.25, 0.5, 0.75))],
    "mobilenet_v2": [f"mobilenet_v2({a})" for a in (0.35, 1.0, 1.4)],
    "mobilenet_v3_small": [f"mobilenet_v3_small({a})" for a in ("0.75", "1.0", "1.0, True")],
    "mobilenet_v3_large": [f"mobilenet_v3_large({a})" for a in ("0.75", "1.0", "1.0, True")],
}
BUILT = ["vgg16", "resnet50_v2", "mobilenet", "mobilenet_v2", "mobilenet_v3_small", "densenet121"]


def function_of(name: str):  # type: ignore[no-untyped-def]
    import_keras()
    module, _, attribute = BACKBONES.get(name).builder.partition(":")
    return getattr(importlib.import_module(module), attribute)


class Fetched(Exception):
    """Carries what Keras was about to download."""


def fetched_by_keras(name: str, shape: tuple[int, int, int], params: dict) -> tuple:  # type: ignore[type-arg]
    """Ask Keras for ImageNet weights and catch the download before it starts."""
    with pytest.MonkeyPatch.context() as patch:

        def fetch(file: str, origin: str, **options: object) -> None:
            assert options["cache_subdir"] == "models"
            raise Fetched(file, origin, options.get("file_hash") or "")

        patch.setattr("keras.src.utils.file_utils.get_file", fetch)
        with pytest.raises(Fetched) as caught:
            function_of(name)(weights="imagenet", include_top=False, input_shape=shape, **params)
    return caught.value.args


def test_catalog_is_all_of_keras_applications() -> None:
    applications = import_keras().applications
    functions = {name for name in dir(applications) if name[0].isupper()}
    assert {BACKBONES.get(n).builder.partition(":")[2] for n in list_backbones()} == functions


@pytest.mark.parametrize("name", list_backbones())
def test_parameters_are_those_of_keras_that_change_features(name: str) -> None:
    signature = inspect.signature(function_of(name)).parameters
    others = {
        *("input_shape", "input_tensor", "include_top", "weights", "pooling", "classes", "name"),
        *("classifier_activation", "dropout", "dropout_rate", "include_preprocessing"),
    }
    mine = BACKBONES.get(name).params
    assert set(signature) - others == set(mine)
    assert {key: signature[key].default for key in mine} == dict(mine)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUILT)
def test_rows_equal_keras(name: str) -> None:
    row = BACKBONES.get(name)
    model = function_of(name)(weights=None, include_top=False, input_shape=(row.size, row.size, 3))
    assert model.count_params() == row.parameters
    assert model.output_shape[-1] == row.width
    small = row.min_size - 1
    with pytest.raises(ValueError, match=str(row.min_size)):
        function_of(name)(weights=None, include_top=False, input_shape=(small, small, 3))
    for text in TEXTS.get(name, [name]):
        for size in SIZES.get(name, (row.size,)):
            spec = parse_backbone(text, image_size=size)
            file = imagenet_file(spec)
            found = fetched_by_keras(name, (size, size, 3), dict(spec.params))
            assert (file.name, file.url, file.checksum) == found


@pytest.mark.parametrize(("height", "width"), [(96, 96), (224, 160), (300, 300)])
def test_sizes_without_weights_of_their_own_take_keras_choice(height: int, width: int) -> None:
    file = imagenet_file(parse_backbone("mobilenet(0.25)", image_size=(height, width)))
    with pytest.warns(UserWarning, match="224"):
        found = fetched_by_keras("mobilenet", (height, width, 3), {"alpha": 0.25})
    assert file.name == found[0]


def test_every_row_has_weights_for_its_defaults() -> None:
    for name in list_backbones():
        file = imagenet_file(parse_backbone(name))
        assert file.url.startswith("https://storage.googleapis.com/")
        assert file.name.endswith(".h5")
        assert 60 < BACKBONES.get(name).top1 < 90
