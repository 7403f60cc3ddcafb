"""Networks to train from scratch, by spec string: "simple_cnn", "scratch(mobilenet_v2)"."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from featx.backbones import build_backbone, parse_backbone
from featx.backbones.graph import preprocess_pixels
from featx.backbones.initial import draw_weights
from featx.errors import ImageSizeError, SpecError
from featx.quiet import import_keras
from featx.records import BackboneSpec, HeadSpec, WeightsRecord
from featx.registry import Registry
from featx.specstring import bind_params, format_spec, parse_spec, split_outside
from featx.training import TrainingPart, classify, pixel_input

DEFAULT_SIZE = 224
"""Input size of networks that have none of their own, in pixels."""

MOMENTUM = 0.9
"""Of small_cnn's batch normalisation: with few images an epoch has few steps, and averages over
hundreds of steps (Keras's 0.99) would lag epochs behind."""


@dataclass(frozen=True)
class NetEntry:
    """One network.

    Attributes
    ----------
    build : callable
        Takes the `TrainingPart` and the parameters; returns a Keras model from uint8 pixels to
        probabilities.
    params : mapping
        What it takes, with defaults.
    summary : str
    min_size : int
        Smallest height and width, in pixels.
    """

    build: Callable[..., Any]
    params: Mapping[str, Any]
    summary: str
    min_size: int = 8


NETS = Registry[NetEntry]("network", hint="See: featx list nets")
"""Every network by name. "scratch" stands for every backbone, with random weights."""


@dataclass(frozen=True)
class NetSpec:
    """A network to train from scratch.

    Attributes
    ----------
    head : HeadSpec
        What its row is called.
    image_size : (int, int)
        Height and width, in pixels.
    build : callable
        Takes a `TrainingPart`.
    """

    head: HeadSpec
    image_size: tuple[int, int]
    build: Callable[[TrainingPart], Any]


def parse_net(text: str, image_size: int | tuple[int, int] | None = None) -> NetSpec:
    """Read a network's spec string.

    Parameters
    ----------
    text : str
        "simple_cnn", "small_cnn(dropout=0.5)", "scratch(mobilenet_v2)" or
        "scratch(mobilenet, alpha=0.25)": a name of `featx list nets`, and in `scratch` one of
        `featx list backbones` with its parameters.
    image_size : int, (int, int) or None
        Input size in pixels; None is the backbone's own, else `DEFAULT_SIZE`.

    Returns
    -------
    NetSpec

    Raises
    ------
    UnknownNameError
        No such network or backbone; names the nearest.
    SpecError
        An unknown parameter, or a value that cannot be used.
    ImageSizeError
        The images are smaller than the network can take.

    Examples
    --------
    >>> parse_net("scratch(mobilenet, alpha=0.25)", 96).head.text
    'scratch(mobilenet, alpha=0.25)'
    """
    stripped = text.strip()
    inner = re.fullmatch(r"scratch\s*\((.*)\)", stripped, re.DOTALL)
    if inner or stripped == "scratch":
        return _parse_scratch(inner.group(1) if inner else "", image_size)
    name, given = parse_spec(stripped)
    entry = NETS.get(name)
    bound = bind_params(name, given, entry.params)
    for key, value in bound.items():
        _check(name, key, value)
    size = _size(name, image_size or DEFAULT_SIZE, entry.min_size)
    shown = {key: value for key, value in bound.items() if value != entry.params[key]}
    return NetSpec(HeadSpec(name, shown), size, partial(entry.build, **bound))


def build_simple_cnn(part: TrainingPart, filters: tuple[int, ...]) -> Any:
    """Build the plainest CNN: 2×2 convolutions, each with a max pooling, then an average.

    The benchmark of a published study of transfer learning; 17,044 parameters at 100 classes.
    """
    keras = import_keras()
    pixels = pixel_input(part.image_size)
    values = keras.layers.Rescaling(1 / 255)(pixels)
    for count in filters:
        values = keras.layers.Conv2D(count, 2, padding="same", activation="relu")(values)
        values = keras.layers.MaxPooling2D()(values)
    values = keras.layers.GlobalAveragePooling2D()(values)
    return _seeded("simple_cnn", pixels, classify(values, len(part.classes)), part.seed)


def build_small_cnn(part: TrainingPart, filters: tuple[int, ...], dropout: float) -> Any:
    """Build a CNN of 3×3 convolutions with batch normalisation, a max pooling after each block.

    Images of 64 pixels or more are halved by the first convolution.
    """
    keras = import_keras()
    pixels = pixel_input(part.image_size)
    values = keras.layers.Rescaling(1 / 127.5, offset=-1)(pixels)
    strides = 2 if min(part.image_size) >= 64 else 1
    for number, count in enumerate(filters):
        values = _block(keras, values, count, 1 if number else strides)
        values = keras.layers.MaxPooling2D(padding="same")(values)
    values = keras.layers.GlobalAveragePooling2D()(values)
    values = keras.layers.Dropout(dropout)(values)
    return _seeded("small_cnn", pixels, classify(values, len(part.classes)), part.seed)


def build_scratch(part: TrainingPart, spec: BackboneSpec) -> Any:
    """Build a backbone with random weights, its average pooling and a softmax."""
    keras = import_keras()
    weights = WeightsRecord("random", f"random-{part.seed}")
    pixels = pixel_input(part.image_size)
    values = preprocess_pixels(spec, keras.ops.cast(pixels, "float32"))
    values = build_backbone(spec, weights)(values)
    values = keras.layers.GlobalAveragePooling2D()(values)
    outputs = classify(values, len(part.classes), part.seed)
    return keras.Model(pixels, outputs, name=spec.name)


NETS.register(
    "simple_cnn",
    NetEntry(
        build_simple_cnn,
        {"filters": (16, 32, 64)},
        "three 2×2 convolutions with max pooling, average, softmax: 17,044 parameters at 100 "
        "classes",
    ),
)
NETS.register(
    "small_cnn",
    NetEntry(
        build_small_cnn,
        {"filters": (32, 64, 128, 256), "dropout": 0.2},
        "four 3×3 convolutions with batch normalisation; stronger, still quick on a CPU",
    ),
)
NETS.register(
    "scratch",
    NetEntry(
        build_scratch,
        {},
        "any backbone from random weights: scratch(mobilenet_v2), scratch(mobilenet, alpha=0.25)",
    ),
)


def _parse_scratch(inside: str, image_size: int | tuple[int, int] | None) -> NetSpec:
    name, *rest = split_outside(inside, ",")
    name = name.strip("'\"")
    if not name:
        raise SpecError(
            "scratch needs a backbone: scratch(mobilenet_v2). See: featx list backbones"
        )
    whole = f"{name}({', '.join(rest)})" if rest else name
    spec = parse_backbone(whole, weights="random", image_size=image_size)
    parts = [spec.name, *(f"{key}={value!r}" for key, value in spec.params.items())]
    return NetSpec(
        HeadSpec(f"scratch({', '.join(parts)})"),
        (spec.image.height, spec.image.width),
        partial(build_scratch, spec=spec),
    )


def _block(keras: Any, values: Any, count: int, strides: int = 1) -> Any:
    values = keras.layers.Conv2D(count, 3, strides, padding="same", use_bias=False)(values)
    return keras.layers.ReLU()(keras.layers.BatchNormalization(momentum=MOMENTUM)(values))


def _seeded(name: str, pixels: Any, outputs: Any, seed: int) -> Any:
    """Return the model, its kernels drawn so that every Keras backend starts from the same."""
    network = import_keras().Model(pixels, outputs, name=name)
    draw_weights(network, seed)
    return network


def _size(name: str, image_size: int | tuple[int, int], least: int) -> tuple[int, int]:
    pair = (image_size, image_size) if isinstance(image_size, int) else image_size
    if min(pair) < least:
        raise ImageSizeError(
            f"Image size {pair[0]}x{pair[1]} is below the minimum of {name}: {least}x{least} "
            f"pixels. Its default is {DEFAULT_SIZE}x{DEFAULT_SIZE}."
        )
    return pair


def _check(name: str, key: str, value: Any) -> None:
    shown = format_spec(name, {key: NETS.get(name).params[key]})
    if key == "filters":
        whole = isinstance(value, tuple) and all(type(v) is int and 0 < v <= 4096 for v in value)
        if not whole or not 1 <= len(value) <= 6:
            raise SpecError(f"filters={value!r} of {name}: one to six whole numbers, as in {shown}")
    elif not isinstance(value, (int, float)) or isinstance(value, bool) or not 0 <= value < 1:
        raise SpecError(f"{key}={value!r} of {name}: a number from 0 to below 1, as in {shown}")
