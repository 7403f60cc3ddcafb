"""Augmentation by spec string, as Keras layers: "flip+rotation(0.1)+brightness(0.2)".

Only training rows go through it (`featx.training.fit`): the network that is scored and saved does
not have these layers. Images come and go as uint8, so that a network sees what a file would give.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from featx.errors import SpecError, UnknownNameError
from featx.quiet import import_keras
from featx.records import StepSpec
from featx.registry import Registry, near_misses
from featx.specstring import bind_params, parse_spec, split_outside


@dataclass(frozen=True)
class AugmentEntry:
    """One kind of augmentation.

    Attributes
    ----------
    params : mapping
        What it takes, with defaults.
    summary : str
    """

    params: Mapping[str, Any]
    summary: str


AUGMENTS = Registry[AugmentEntry]("augmentation", hint="See: featx list augmentations")
"""Every kind of augmentation by name."""

for _name, _params, _summary in (
    ("flip", {"mode": "horizontal"}, "mirror half of the images: horizontal, vertical or both"),
    ("rotation", {"turn": 0.1}, "turn by up to this part of a full turn (0.1 is 36 degrees)"),
    ("zoom", {"amount": 0.2}, "enlarge or shrink by up to this part"),
    ("shift", {"amount": 0.1}, "move by up to this part of height and width"),
    ("shear", {"amount": 0.2}, "slant by up to this part of height and width"),
    ("brightness", {"amount": 0.2}, "lighten or darken by up to this part of the full range"),
    ("contrast", {"amount": 0.2}, "raise or lower the contrast by up to this part"),
    ("channel_shift", {"amount": 0.1}, "move each colour by up to this part of the full range"),
):
    AUGMENTS.register(_name, AugmentEntry(_params, _summary))

PRESETS = {
    "none": "",
    "light": "flip+rotation(0.03)+zoom(0.1)+shift(0.1)+brightness(0.1)+channel_shift(0.05)",
    "heavy": "flip(both)+rotation(0.25)+shear(0.2)+zoom(0.3)+shift(0.2)+brightness(0.3)"
    "+channel_shift(0.2)",
}
"""Names for whole chains. "light" holds the changes that a photo of the same thing could show, and
"heavy" adds turning it by up to 90 degrees, shear and upside down, as published studies did."""

FLIPS = ("horizontal", "vertical", "both")


def parse_augment(text: str) -> tuple[StepSpec, ...]:
    """Read an augmentation's spec string or the name of a preset.

    Parameters
    ----------
    text : str
        Kinds joined by "+", each with parameters or without; "", "none", "light" or "heavy".

    Returns
    -------
    tuple of StepSpec
        In the order in which they are applied, with all parameters; empty for none.

    Raises
    ------
    UnknownNameError
        No such kind; names the nearest.
    SpecError
        A parameter or value that cannot be used, or a kind twice.

    Examples
    --------
    >>> [step.text for step in parse_augment("flip+rotation(0.1)")]
    ["flip(mode='horizontal')", 'rotation(turn=0.1)']
    """
    chain = PRESETS.get(text.strip(), text).strip()
    steps: list[StepSpec] = []
    for part in split_outside(chain, "+") if chain else ():
        name, given = _parse_part(part, text)
        if name not in AUGMENTS:
            near = near_misses(name, [*AUGMENTS, *PRESETS])
            raise UnknownNameError(AUGMENTS.kind, name, near, AUGMENTS.hint)
        entry = AUGMENTS.get(name)
        bound = bind_params(name, given, entry.params)
        if any(step.name == name for step in steps):
            raise SpecError(f"{name!r} stands twice in the augmentation {text!r}: once is enough.")
        steps.append(StepSpec(name, {k: _checked(part, k, v) for k, v in bound.items()}))
    return tuple(steps)


def format_augment(steps: Sequence[StepSpec]) -> str:
    """Return the spec string of a chain; "none" where it is empty.

    >>> format_augment(parse_augment("flip+zoom(0.1)"))
    'flip+zoom(0.1)'
    """
    texts = []
    for step in steps:
        defaults = AUGMENTS.get(step.name).params
        values = [v for k, v in step.params.items() if v != defaults[k]]
        shown = [v if isinstance(v, str) else f"{v:g}" for v in values]
        texts.append(f"{step.name}({', '.join(shown)})" if shown else step.name)
    return "+".join(texts) or "none"


def build_augment(steps: Sequence[StepSpec], image_size: tuple[int, int], seed: int) -> Any:
    """Return the chain as one Keras model.

    Parameters
    ----------
    steps : sequence of StepSpec
        Of `parse_augment`; at least one.
    image_size : (height, width)
    seed : int
        Each layer has a stream of its own of it.

    Returns
    -------
    keras.Model
        uint8 (n, height, width, 3) to the same; the identity unless called with training=True.
    """
    keras = import_keras()
    pixels = keras.Input((*image_size, 3), dtype="uint8", name="pixels")
    values = keras.ops.cast(pixels, "float32")
    for number, step in enumerate(steps):
        layer = _layer(keras, step, seed + number)
        if keras.backend.backend() != "tensorflow":
            layer.supports_jit = True  # it is TensorFlow's XLA alone that lacks the operation
        values = layer(values)
    whole = keras.ops.round(keras.ops.clip(values, 0, 255))
    return keras.Model(pixels, keras.ops.cast(whole, "uint8"), name="augment")


def _layer(keras: Any, step: StepSpec, seed: int) -> Any:
    layers = keras.layers
    options: dict[str, Any] = {"seed": seed, "dtype": "float32", "name": step.name}
    value = next(iter(step.params.values()))
    if step.name == "flip":
        mode = "horizontal_and_vertical" if value == "both" else value
        return layers.RandomFlip(mode, **options)
    if step.name == "rotation":
        return layers.RandomRotation(value, **options)
    if step.name == "zoom":
        return layers.RandomZoom(value, **options)
    if step.name == "shift":
        return layers.RandomTranslation(value, value, **options)
    if step.name == "shear":
        return layers.RandomShear(value, value, **options)
    if step.name == "brightness":
        return layers.RandomBrightness(value, value_range=(0, 255), **options)
    if step.name == "contrast":
        return layers.RandomContrast(value, value_range=(0, 255), **options)
    return _channel_shift(keras, value, seed)


def _channel_shift(keras: Any, amount: float, seed: int) -> Any:
    """Return a layer that adds to each channel of each image a number of its own."""

    class ChannelShift(keras.layers.Layer):
        def __init__(self) -> None:
            super().__init__(name="channel_shift", dtype="float32")
            self.generator = keras.random.SeedGenerator(seed)

        def call(self, images: Any, training: bool = False) -> Any:
            if not training:
                return images
            shape = (keras.ops.shape(images)[0], 1, 1, 3)
            span = 255 * amount
            shifts = keras.random.uniform(shape, -span, span, seed=self.generator)
            return keras.ops.clip(images + shifts, 0, 255)

    return ChannelShift()


def _parse_part(part: str, text: str) -> tuple[str, dict[str, Any]]:
    if not part:
        raise SpecError(f"The augmentation {text!r} has an empty part: write flip+zoom(0.1).")
    # A word needs no quotes here: flip(both) is flip("both").
    return parse_spec(re.sub(r"\(\s*([A-Za-z]+)\s*\)$", r"('\1')", part))


def _checked(part: str, key: str, value: Any) -> Any:
    if key == "mode":
        if value not in FLIPS:
            raise SpecError(f"{part!r}: flip takes {', '.join(FLIPS)}.")
        return value
    most = 0.5 if key == "turn" else 1
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not 0 < value <= most:
        raise SpecError(f"{key}={value!r} in {part!r}: expected a number above 0 and up to {most}.")
    return float(value)
