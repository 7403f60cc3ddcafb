"""Augmentation: its grammar, its layers, and that only training rows go through it."""

from __future__ import annotations

import numpy as np
import pytest

from featx.errors import SpecError, UnknownNameError
from featx.training import (
    AUGMENTS,
    PRESETS,
    FitSpec,
    Rows,
    build_augment,
    classify,
    fit_network,
    format_augment,
    parse_augment,
    parse_optimizer,
    pixel_input,
)

SIZE = (12, 16)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    """Smooth pictures, each with an inside of its own."""
    rng = np.random.default_rng(0)
    coarse = rng.integers(40, 216, (6, 3, 4, 3))
    return coarse.repeat(4, axis=1).repeat(4, axis=2).astype(np.uint8)


def apply(text: str, images: np.ndarray, *, training: bool = True, seed: int = 0) -> np.ndarray:
    return np.asarray(build_augment(parse_augment(text), SIZE, seed)(images, training=training))


@pytest.mark.parametrize("text", [*AUGMENTS, "light", "heavy"])
def test_every_kind_changes_training_images_and_no_others(text: str, images: np.ndarray) -> None:
    changed = apply(text, images)
    assert changed.dtype == np.uint8
    assert changed.shape == images.shape
    assert (changed != images).any()
    assert (apply(text, images, training=False) == images).all()


@pytest.mark.parametrize("text", list(AUGMENTS))
def test_images_of_a_batch_are_changed_each_in_its_own_way(text: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (1, *SIZE, 3)).astype(np.uint8)
    found = apply(text, picture.repeat(16, axis=0))
    assert len(np.unique(found.reshape(16, -1), axis=0)) > 1


def test_the_seed_decides(images: np.ndarray) -> None:
    text = "flip+rotation(0.1)+channel_shift(0.1)"
    assert (apply(text, images, seed=5) == apply(text, images, seed=5)).all()
    assert (apply(text, images, seed=5) != apply(text, images, seed=6)).any()


def test_flip_mirrors_and_channel_shift_moves_whole_channels(images: np.ndarray) -> None:
    flipped = apply("flip", images)
    for before, after in zip(images, flipped, strict=True):
        assert (after == before).all() or (after == before[:, ::-1]).all()
    moved = apply("channel_shift(0.1)", images).astype(int) - images
    assert np.abs(moved).max() <= 26  # a tenth of 255
    assert (moved.max(axis=(1, 2)) == moved.min(axis=(1, 2))).all()
    assert len(np.unique(moved[:, 0, 0])) > 6, "channels and images share their shifts"


def test_brightness_and_shift_stay_within_their_amounts() -> None:
    grey = np.full((40, *SIZE, 3), 128, np.uint8)
    change = apply("brightness(0.2)", grey).astype(int) - 128
    assert 25 < np.abs(change).max() <= 51
    ramp = np.tile(np.arange(16, dtype=np.uint8) * 10, (40, 12, 1))[..., None].repeat(3, axis=3)
    moved = apply("shift(0.25)", ramp).astype(int)[:, 6, 8, 0] - 80
    assert 20 < np.abs(moved).max() <= 40  # a quarter of 16 pixels, 10 a pixel


@pytest.mark.parametrize("text", ["flip", "flip(vertical)", "zoom(0.1)+flip(both)", *PRESETS])
def test_format_and_parse_are_inverse(text: str) -> None:
    steps = parse_augment(text)
    assert parse_augment(format_augment(steps)) == steps


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rotate", "Did you mean 'rotation'"),
        ("hevy", "Did you mean 'heavy'"),
        ("flip+", "empty part"),
        ("flip+flip(vertical)", "stands twice"),
        ("flip(sideways)", "flip takes horizontal, vertical, both"),
        ("flip('sideways')", "horizontal, vertical, both"),
        ("rotation(0.7)", "up to 0.5"),
        ("zoom(0)", "above 0"),
        ("zoom(True)", "expected a number"),
        ("zoom(much)", "expected a number"),
        ("zoom(amuont=0.1)", "Did you mean 'amount'"),
        ("brightness(0.1, 0.2)", "1 parameter"),
    ],
)
def test_what_cannot_be_used_is_refused_with_the_remedy(text: str, expected: str) -> None:
    with pytest.raises(SpecError, match=expected.replace("(", r"\(")):
        parse_augment(text)


def test_unknown_names_point_to_the_list() -> None:
    with pytest.raises(UnknownNameError, match="featx list augmentations"):
        parse_augment("mixup")


def test_validation_rows_are_scored_and_networks_saved_without_augmentation(
    images: np.ndarray,
) -> None:
    """Half of all pixels of training images are shifted out of range; those scored never are."""
    keras = pytest.importorskip("keras")
    pixels = pixel_input(SIZE)
    seen: list[np.ndarray] = []

    class Watch(keras.layers.Layer):  # type: ignore[misc,name-defined]
        def call(self, values: object, training: bool = False) -> object:
            return values

    values = Watch()(keras.layers.Rescaling(1 / 255)(pixels))
    network = keras.Model(
        pixels, classify(keras.layers.GlobalAveragePooling2D()(values), 2), name="watched"
    )
    labels = np.array([0, 1] * 3)
    fit = FitSpec(parse_optimizer("sgd(1e-6)"), parse_augment("brightness(1)"), epochs=1)
    real = network.predict_on_batch

    def predict_on_batch(batch: np.ndarray) -> np.ndarray:
        seen.append(np.asarray(batch))
        return real(batch)

    network.predict_on_batch = predict_on_batch
    outcome = fit_network(network, Rows(images, labels), Rows(images, labels), fit, seed=0)
    assert (seen[0][: len(images)] == images).all()
    expected = np.asarray(network(images))[np.arange(6), labels]
    assert outcome.history["val_loss"][0] == pytest.approx(-np.log(expected).mean(), rel=1e-4)
    assert outcome.history["loss"][0] != pytest.approx(outcome.history["val_loss"][0], rel=1e-3)
    assert "augment" not in [layer.name for layer in network.layers]
