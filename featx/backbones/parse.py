"""Backbone spec strings: "mobilenet(alpha=0.25)" to a complete BackboneSpec."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featx.backbones.catalog import BACKBONES, BackboneRow
from featx.errors import ImageSizeError, SpecError
from featx.records import BackboneSpec, ImageSpec
from featx.specstring import bind_params, format_spec, parse_spec

IMAGE_SIZE_MAX = 4096
"""Pixels a side above which a size is taken for a slip: one image would fill the memory."""


def list_backbones() -> list[str]:
    """Return the names of all backbones, family by family."""
    return BACKBONES.names()


Size = int | tuple[int, int]


def list_sizes(image_size: Size | list[Size] | None) -> list[Size | None]:
    """Return the input sizes asked for: a list is several, a pair is height and width.

    >>> list_sizes(224), list_sizes((160, 224)), list_sizes([128, (160, 224)]), list_sizes([])
    ([224], [(160, 224)], [128, (160, 224)], [None])
    """
    if isinstance(image_size, list):
        return [*image_size] or [None]
    return [image_size]


def parse_backbone(
    text: str,
    *,
    weights: str = "imagenet",
    image_size: int | tuple[int, int] | None = None,
) -> BackboneSpec:
    """Read a backbone's spec string and decide all that it leaves open.

    Parameters
    ----------
    text : str
        A name of `list_backbones`, with parameters or without: "mobilenet(alpha=0.25)".
    weights : str
        "imagenet", "random", "auto" or the path of a weights file.
    image_size : int, (int, int) or None
        Side, or height and width, in pixels; None is the backbone's own.

    Returns
    -------
    BackboneSpec
        Only parameters that differ from Keras's defaults are in it, so that
        "mobilenet(alpha=1.0)" and "mobilenet" are one.

    Raises
    ------
    UnknownNameError
        No such backbone.
    SpecError
        An unknown parameter, or a value of the wrong type.
    ImageSizeError
        The size is below the backbone's minimum or absurdly large.

    Examples
    --------
    >>> parse_backbone("mobilenet(alpha=0.25)", image_size=160).text
    'mobilenet(alpha=0.25)'
    >>> parse_backbone("mobilenet(alpha=1)") == parse_backbone("mobilenet")
    True
    """
    name, params = parse_spec(text)
    row = BACKBONES.get(name)
    bound = bind_params(name, params, row.params)
    values = {key: _typed(name, key, value, row.params[key]) for key, value in bound.items()}
    changed = {key: value for key, value in values.items() if value != row.params[key]}
    if not weights.strip():
        raise SpecError("weights is empty. Give imagenet, random, auto or the path of a file.")
    height, width = _image_size(row, image_size)
    return BackboneSpec(name, changed, weights, row.preprocess, ImageSpec(height, width))


def bound_params(spec: BackboneSpec) -> dict[str, Any]:
    """Return all parameters of `spec`, the defaults included."""
    defaults: Mapping[str, Any] = BACKBONES.get(spec.name).params
    return {**defaults, **spec.params}


def _typed(name: str, key: str, value: Any, default: Any) -> Any:
    """Return `value` in the type of `default`; all numbers among them are positive."""
    kind = type(default)
    whole_as_float = kind is float and type(value) is int
    if type(value) is not kind and not whole_as_float:
        shown = format_spec(name, {key: default})
        raise SpecError(
            f"{key}={value!r} of {name}: expected {kind.__name__}, as in {shown} (the default)."
        )
    if kind is not bool and not 0 < value <= 64:
        raise SpecError(f"{key}={value!r} of {name}: expected a number above 0 and up to 64.")
    return kind(value)


def _image_size(row: BackboneRow, image_size: int | tuple[int, int] | None) -> tuple[int, int]:
    if image_size is None:
        return row.size, row.size
    pair = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
    if len(pair) != 2 or not all(type(side) is int for side in pair):
        raise ImageSizeError(
            f"Image size {image_size!r}: give one whole number or height and width, in pixels."
        )
    height, width = pair
    if min(pair) < row.min_size:
        raise ImageSizeError(
            f"Image size {height}x{width} is below the minimum of {row.name}: "
            f"{row.min_size}x{row.min_size} pixels. Its default is {row.size}x{row.size}."
        )
    if max(pair) > IMAGE_SIZE_MAX:
        raise ImageSizeError(
            f"Image size {height}x{width} is above {IMAGE_SIZE_MAX} pixels a side. "
            f"The default of {row.name} is {row.size}x{row.size}."
        )
    return height, width
