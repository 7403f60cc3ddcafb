"""What bench_extract.py counts and makes; the measuring itself is not tested by the clock."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featx.backend import is_installed

BENCHMARKS = Path(__file__).resolve().parent.parent / "benchmarks"


@pytest.fixture(autouse=True)
def _benchmarks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [str(BENCHMARKS), *sys.path])


needs_keras = pytest.mark.skipif(
    not any(map(is_installed, ("tensorflow", "jax"))), reason="Keras has no backend here"
)

# GFLOP of one image, twice the multiplications and additions that papers and Keras's own
# documentation give, without the classifier.
KNOWN = {
    "MobileNet": (224, 1.14),
    "ResNet50": (224, 7.7),
    "VGG16": (224, 30.7),
    "InceptionV3": (299, 11.4),
}


@needs_keras
@pytest.mark.parametrize("name", list(KNOWN))
def test_operations_of_known_networks(name: str) -> None:
    import keras
    from extract.arithmetic import count_flops

    size, wanted = KNOWN[name]
    build = getattr(keras.applications, name)
    model = build(weights=None, include_top=False, input_shape=(size, size, 3))
    assert count_flops(model) / 1e9 == pytest.approx(wanted, rel=0.01)


@needs_keras
def test_operations_of_each_layer() -> None:
    import keras
    from extract.arithmetic import count_flops

    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((8, 8, 4)),
            layers.Conv2D(6, 3, strides=2, padding="same"),  # 4×4 places, 3×3×4 values, 6 filters
            layers.Conv2D(6, 1, groups=2),  # 3 channels a group
            layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            layers.SeparableConv2D(5, 3, padding="same"),  # of 12 channels
            layers.BatchNormalization(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(7),
        ]
    )
    by_hand = 16 * (3 * 3 * 4 * 6 + 3 * 6 + 3 * 3 * 12 + 3 * 3 * 12 + 12 * 5) + 5 * 7
    assert count_flops(model) == 2 * by_hand
    nested = keras.Sequential([layers.Input((8, 8, 4)), model])
    assert count_flops(nested) == 2 * by_hand


@needs_keras
def test_a_layer_without_a_rule_is_not_passed_over() -> None:
    import keras
    from extract.arithmetic import count_flops

    model = keras.Sequential([keras.layers.Input((8, 4)), keras.layers.Conv1D(3, 3, name="odd")])
    with pytest.raises(ValueError, match="No rule for the layer 'odd', a Conv1D"):
        count_flops(model)


def test_photos_are_many_files_of_different_bytes_that_all_decode(tmp_path: Path) -> None:
    from extract.photos import SAMPLES, make_photos

    folder = make_photos(tmp_path / "photos", SAMPLES + 3, 48, 64)
    files = sorted(folder.glob("*/*.jpg"), key=lambda path: path.name)
    assert len(files) == SAMPLES + 3
    assert {path.parent.name for path in files} == {"class0", "class1"}
    assert len({hashlib.sha256(path.read_bytes()).digest() for path in files}) == len(files)
    pixels = [np.asarray(Image.open(path)) for path in (files[0], files[1], files[SAMPLES])]
    assert pixels[0].shape == (48, 64, 3)
    np.testing.assert_array_equal(pixels[0], pixels[2])
    assert not np.array_equal(pixels[0], pixels[1])


def test_rows_run_again_replace_those_of_the_same_thing() -> None:
    from bench_extract import _merged

    old = [{"backbone": "a", "precision": "float32", "rate": 1}, {"backbone": "b", "rate": 2}]
    new = [{"backbone": "b", "rate": 3}, {"backbone": "a", "precision": "bfloat16", "rate": 4}]
    assert _merged(old, new) == [old[0], new[0], new[1]]
