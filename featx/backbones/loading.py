"""Weights into a backbone: of the backbone alone or of the whole classifier, or random ones."""

from __future__ import annotations

import contextlib
import io
import math
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from featx.backbones.initial import draw_weights
from featx.errors import WeightsError
from featx.quiet import import_keras
from featx.records import BackboneSpec, WeightsRecord

Shapes = list[tuple[int, ...]]

# What Keras and h5py raise for files that are damaged or of another network.
_LOAD_ERRORS = (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile)

# Per channel, of the pixels of ImageNet as fractions (red, green, blue).
_IMAGENET_STDDEV = np.array([0.229, 0.224, 0.225], np.float32)


def load_weights(
    backbone: Any,
    spec: BackboneSpec,
    weights: WeightsRecord,
    build_classifier: Callable[[int], Any],
) -> None:
    """Fill the Keras model `backbone` of `spec` with `weights`.

    Parameters
    ----------
    backbone : keras.Model
        Without classifier.
    spec : BackboneSpec
    weights : WeightsRecord
        Of `resolve_weights(spec)`.
    build_classifier : callable
        Takes the number of classes and returns the same network with its classifier; called
        where the file turns out to hold that.

    Raises
    ------
    WeightsError
        The file is damaged, or is not what the backbone needs.
    """
    if weights.kind == "random":
        draw_weights(backbone, int(weights.digest.rpartition("-")[2]))
        return
    if weights.path.endswith((".weights.h5", ".keras")):
        _load_keras_3(backbone, spec, weights.path, build_classifier)
    else:
        _load_legacy(backbone, spec, weights.path, build_classifier)
    if weights.kind == "imagenet" and spec.preprocess == "efficientnet":
        _square_root_stddev(backbone)


def load_classifier(
    classifier: Any,
    spec: BackboneSpec,
    weights: WeightsRecord,
    build_backbone: Callable[[], Any],
) -> None:
    """Fill the whole Keras classifier of `spec` with the weights of a file.

    Parameters
    ----------
    classifier : keras.Model
    spec : BackboneSpec
    weights : WeightsRecord
        Of `resolve_weights(spec)`; a file.
    build_backbone : callable
        Returns the same network without its classifier; called where the file does not fit, to
        tell whether it is of that.

    Raises
    ------
    WeightsError
        The file is damaged, has no classifier, or is of another network.
    """
    path = weights.path
    if path.endswith((".weights.h5", ".keras")):
        held, needed = _held_shapes(path), [tuple(w.shape) for w in classifier.weights]
        if Counter(held) != Counter(needed):
            if Counter(held) == Counter(tuple(w.shape) for w in build_backbone().weights):
                raise _headless(spec, path)
            told = f"does not fit the classifier of {spec.text}: {_difference(held, needed)}"
            raise WeightsError(f"{path} {told}")
        _load(classifier, path, spec)
    else:
        try:
            _load(classifier, path, spec)
        except WeightsError as error:
            try:
                _load(build_backbone(), path, spec)
            except WeightsError:
                raise error from None
            raise _headless(spec, path) from None
    if weights.kind == "imagenet" and spec.preprocess == "efficientnet":
        _square_root_stddev(classifier)


def _headless(spec: BackboneSpec, path: str) -> WeightsError:
    return WeightsError(
        f"{path} holds {spec.text} without its classifier (a notop file), which cannot name a "
        "class: give the weights of the whole classifier (with its top), or --weights imagenet."
    )


def _load_keras_3(
    backbone: Any, spec: BackboneSpec, path: str, build_classifier: Callable[[int], Any]
) -> None:
    held = _held_shapes(path)
    needed = [tuple(w.shape) for w in backbone.weights]
    extra = Counter(held) - Counter(needed)
    if not extra and len(held) == len(needed):
        _load(backbone, path, spec)
        return
    # The classifier's last bias has one value a class.
    widths = sorted((s[0] for s in extra if len(s) == 1), key=lambda n: (n != 1000, n))
    if not Counter(needed) - Counter(held):
        for classes in widths:
            classifier = build_classifier(classes)
            if Counter(tuple(w.shape) for w in classifier.weights) == Counter(held):
                _load(classifier, path, spec)
                _cut(classifier, backbone)
                return
    raise WeightsError(f"{path} does not fit {spec.text}: {_difference(held, needed)}")


def _load_legacy(
    backbone: Any, spec: BackboneSpec, path: str, build_classifier: Callable[[int], Any]
) -> None:
    """Load a whole-model .h5, such as Keras distributes; layers are matched by their order."""
    try:
        _load(backbone, path, spec)
    except WeightsError as error:
        if not isinstance(error.__cause__, ValueError):
            raise
        classifier = build_classifier(1000)
        try:
            _load(classifier, path, spec)
        except WeightsError:
            raise error from None
        _cut(classifier, backbone)


def _load(model: Any, path: str, spec: BackboneSpec) -> None:
    try:
        model.load_weights(path)
    except _LOAD_ERRORS as error:
        raise WeightsError(f"{path} does not fit {spec.text}: {_one_line(error)}") from error


def _cut(classifier: Any, backbone: Any) -> None:
    """Copy the first weights of `classifier`, which are those of `backbone`."""
    for mine, theirs in zip(backbone.weights, classifier.weights, strict=False):
        mine.assign(theirs.value)
    for layer in backbone.layers:
        if hasattr(layer, "finalize_state"):  # Normalization works on copies of its weights
            layer.finalize_state()


def _square_root_stddev(backbone: Any) -> None:
    """Divide EfficientNet's input by the square root of ImageNet's deviation once more.

    Keras adds a layer that does so when it loads its ImageNet weights, for these were trained that
    way; here the variance of the layer before takes it in.
    """
    for layer in backbone.layers:
        if hasattr(layer, "finalize_state"):
            layer.adapt_variance.assign(layer.adapt_variance * _IMAGENET_STDDEV)
            layer.finalize_state()


def _held_shapes(path: str) -> Shapes:
    keras = import_keras(describes=True)
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it reports to the terminal
            tree = keras.saving.KerasFileEditor(path).weights_dict
    except _LOAD_ERRORS as error:
        raise WeightsError(f"Cannot read the weights file {path}: {_one_line(error)}") from error
    return _leaf_shapes(tree)


def _leaf_shapes(tree: Mapping[str, Any]) -> Shapes:
    shapes: Shapes = []
    for name, value in tree.items():
        if isinstance(value, Mapping):
            # The state of dropout's random generator is no weight.
            shapes += [] if name == "seed_generator" else _leaf_shapes(value)
        else:
            shapes.append(tuple(value.shape))
    return shapes


def _difference(held: Shapes, needed: Shapes) -> str:
    """Say in a few words how the arrays of a file differ from those needed."""
    text = f"the file holds {_totals(held)}, the backbone needs {_totals(needed)}"
    extra, lacking = Counter(held) - Counter(needed), Counter(needed) - Counter(held)
    if extra and lacking:
        one, other = max(extra, key=math.prod), max(lacking, key=math.prod)
        text += f"; for instance {_times(one)} there, {_times(other)} here"
    return text + ". Is it of another backbone, or made with other parameters?"


def _totals(shapes: Shapes) -> str:
    return f"{len(shapes)} arrays with {sum(map(math.prod, shapes)):,} numbers"


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(map(str, shape))


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 240 else text[:237] + "..."
