"""A frozen backbone as a scikit-learn transformer: images in, a row of features each."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin

from featx.backbones import BACKBONES, parse_backbone, tap_shapes
from featx.engines import ENGINES, choose_precision
from featx.errors import ImageError, ImageSizeError, SpecError
from featx.extraction.images import read_images
from featx.extraction.loaded import find_kept
from featx.extraction.rows import Wanted, compute_files, compute_pixels
from featx.records import BackboneSpec, TapSpec

if TYPE_CHECKING:
    from featx.backbones.parse import Size


class FeatureExtractor(TransformerMixin, BaseEstimator):
    """Features of images from a frozen backbone, as a step of a scikit-learn pipeline.

    There is nothing to fit. The graph is compiled when the first image comes, and kept in the
    process: clones and equal extractors share it, and it is not pickled.

    Parameters
    ----------
    backbone : str
        Spec string: "mobilenet(alpha=0.25)". See: featx list backbones.
    weights : str
        "imagenet", "random", "auto" or the path of a weights file.
    pooling : str or sequence of str
        Taps: "avg", "max", "flatten", "block4_pool:avg". Those of several stand side by side.
    image_size : int or (height, width), optional
        Input size in pixels, to which images are resized; default: the backbone's own.
    precision : str
        Of the forward pass: "float32", "bfloat16", "float16" or "auto".
    engine : str
        "auto", "openvino", "tensorflow" or "jax".
    cache_dir : path or URL, optional
        Where rows of image files are looked up by the bytes of the file, and kept. What
        `featx.extract` cached there counts too. Pixels given as arrays are always computed.

    See Also
    --------
    featx.extract : Caches a whole data set with its labels, and sets bad images aside.

    Examples
    --------
    >>> from sklearn.linear_model import RidgeClassifier
    >>> from sklearn.pipeline import make_pipeline
    >>> pixels = np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), np.uint8)
    >>> small = FeatureExtractor("mobilenet(alpha=0.25)", weights="random", image_size=32)
    >>> model = make_pipeline(small, RidgeClassifier()).fit(pixels, [0, 1] * 3)
    >>> model[:-1].transform(pixels).shape
    (6, 256)
    """

    def __init__(
        self,
        backbone: str = "mobilenet",
        *,
        weights: str = "imagenet",
        pooling: str | Sequence[str] = "avg",
        image_size: Size | None = None,
        precision: str = "float32",
        engine: str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.backbone = backbone
        self.weights = weights
        self.pooling = pooling
        self.image_size = image_size
        self.precision = precision
        self.engine = engine
        self.cache_dir = cache_dir

    def fit(self, X: Any, y: Any = None) -> FeatureExtractor:
        """Check the parameters; no image is opened.

        Parameters
        ----------
        X, y
            Ignored.

        Raises
        ------
        SpecError, ImageSizeError
            A parameter that cannot be used.
        """
        self._spec()
        self._taps()
        if self.precision != "auto":
            choose_precision(self.precision, self.engine)
        if self.engine != "auto":
            ENGINES.get(self.engine)
        return self

    def transform(self, X: Any) -> np.ndarray:
        """Return the features of images.

        Parameters
        ----------
        X : sequence of n paths, or uint8 pixels of shape (n, height, width, 3)
            Image files (JPEG, PNG, WebP, BMP, GIF, TIFF) as a list, an array or a column of text;
            or RGB pixels, also as a list of arrays of different sizes.

        Returns
        -------
        ndarray of shape (n, width), float32

        Raises
        ------
        ImageError
            An image cannot be decoded; names the file. A transformer owes a row for each.
        SpecError
            X is neither, or a parameter cannot be used.
        BackboneError, EngineError, CacheError
            With a message that names the remedy.
        """
        paths, pixels = read_images(X)
        wanted = Wanted(self._spec(), self._taps(), self.engine, self.precision)
        if pixels:
            rows = compute_pixels(pixels, wanted)
        else:
            try:
                rows = compute_files(paths, wanted, self.cache_dir)
            except ImageError as error:
                raise ImageError(
                    f"{error.reason}. Every image needs a row here: leave this one out, or use "
                    "featx.extract, which sets bad images aside",
                    error.path,
                ) from error
        return np.concatenate([rows[tap.name] for tap in wanted.taps], axis=1)

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """Return a name a column: "mobilenet_avg_0".

        Parameters
        ----------
        input_features
            Ignored: images have no columns.

        Returns
        -------
        ndarray of str objects
        """
        spec, taps = self._spec(), self._taps()
        runner = find_kept(spec, taps)
        size = (spec.image.height, spec.image.width)
        shapes = runner.taps if runner else _tap_shapes(spec.text, size, taps)
        names = [
            f"{spec.name}_{tap.name}_{i}"
            for tap in taps
            for i in range(math.prod(shapes[tap.name]))
        ]
        return np.array(names, object)

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.no_validation = True
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _spec(self) -> BackboneSpec:
        return parse_backbone(
            self.backbone, weights=os.fspath(self.weights), image_size=_plain_size(self.image_size)
        )

    def _taps(self) -> tuple[TapSpec, ...]:
        texts = [self.pooling] if isinstance(self.pooling, str) else list(self.pooling)
        if not texts:
            raise SpecError("No tap is asked for. Give pooling='avg', 'max', 'flatten' or a layer.")
        return tuple(dict.fromkeys(TapSpec.parse(text) for text in texts))


def _plain_size(image_size: Any) -> Size | None:
    """Return a size in Python's own integers: searches over parameters hand out NumPy's."""
    if image_size is None:
        return None
    try:
        if np.ndim(image_size) == 0:
            return operator.index(image_size)
        height, width = map(operator.index, image_size)
    except (TypeError, ValueError):
        raise ImageSizeError(
            f"Image size {image_size!r}: give one whole number or height and width, in pixels."
        ) from None
    return height, width


@lru_cache(64)
def _tap_shapes(
    backbone: str, image_size: Size, taps: tuple[TapSpec, ...]
) -> dict[str, tuple[int, ...]]:
    spec = parse_backbone(backbone, image_size=image_size)
    if not spec.params and all(not t.layer and t.pooling != "flatten" for t in taps):
        return {tap.name: (BACKBONES.get(spec.name).width,) for tap in taps}  # without Keras
    return tap_shapes(spec, taps)
