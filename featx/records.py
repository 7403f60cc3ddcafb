"""Frozen records that cross module borders.

`*Spec` describes, `*Key` identifies, `*Record` is an outcome. All but the array fields go to JSON
and back (`to_json`). Only numpy is imported here.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from featx.errors import SpecError
from featx.samples import Sample as Sample
from featx.samples import Samples as Samples
from featx.specstring import format_spec

FORMAT_VERSION = 1
"""Version of the cache format; part of every extraction key."""

SPLITS = ("train", "val", "test")
"""Names of the splits that a data set may bring itself; "" is none."""


def to_json(value: Any) -> Any:
    """Return `value` (records, mappings, tuples, numpy scalars and arrays) as JSON-able data."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            f.name: to_json(getattr(value, f.name))
            for f in dataclasses.fields(value)
            if not (f.metadata.get("left_out_by_default") and getattr(value, f.name) == f.default)
        }
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_json(v) for v in value]
    if isinstance(value, np.ndarray):
        return to_json(value.tolist())
    if isinstance(value, np.generic):
        return to_json(value.item())
    if isinstance(value, float) and not np.isfinite(value):
        return None
    return value


# --- data sets ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class DatasetIndex:
    """What images there are, and their labels.

    Attributes
    ----------
    name : str
        Name of the data set, fit for a folder name.
    root : str
        Absolute folder that the samples' paths start from.
    classes : tuple of tuple of str
        Class names a target column, sorted (by number where all are whole numbers).
    samples : Samples
        Sorted by `relpath`; any sequence of Sample is taken, and kept in columns.
    targets : tuple of str
        Names of the label columns; the first is the one meant where none is named.
    unreadable : tuple of (relpath, reason)
        Files that could not even be read; they count as quarantined.
    ignored : int
        Files among the images that are none by their name; not samples.
    """

    name: str
    root: str
    classes: tuple[tuple[str, ...], ...]
    samples: Samples
    targets: tuple[str, ...] = ("class",)
    unreadable: tuple[tuple[str, str], ...] = ()
    ignored: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "samples", Samples.of(self.samples))


# --- extraction --------------------------------------------------------------------------------


@dataclass(frozen=True)
class ImageSpec:
    """The pixels that a backbone is fed: uint8 RGB of `height` × `width`.

    Attributes
    ----------
    height, width : int
        In pixels.
    resize : str
        Name of the resize rule (`featx.datasets.decode.RESIZE`).
    colour : str
        Always "rgb" today.
    view : str
        "" is the image itself; "flip" and "augment-N" are altered copies of it
        (`featx.datasets.augment`). Left out of JSON, hence of keys, where it is "".
    """

    height: int
    width: int
    resize: str = "bilinear-antialias"
    colour: str = "rgb"
    view: str = field(default="", metadata={"left_out_by_default": True})


@dataclass(frozen=True)
class BackboneSpec:
    """A backbone, complete: all parameters bound, input size and preprocessing decided.

    Attributes
    ----------
    name : str
        Catalog name ("mobilenet").
    params : mapping
        Builder parameters that differ from Keras's defaults ({"alpha": 0.25}).
    weights : str
        As asked for: "imagenet", "random", "auto" or a path.
    preprocess : str
        Name of the preprocessing, "module" of keras.applications whose preprocess_input it is.
    image : ImageSpec
        The input.
    """

    name: str
    params: Mapping[str, Any]
    weights: str
    preprocess: str
    image: ImageSpec

    @property
    def text(self) -> str:
        """The spec string: "mobilenet(alpha=0.25)"."""
        return format_spec(self.name, self.params)


@dataclass(frozen=True)
class WeightsRecord:
    """Which weights were found.

    Attributes
    ----------
    kind : str
        "imagenet", "file" or "random".
    digest : str
        SHA-256 of the weights file in hex; for random weights "random-<seed>".
    path : str
        The file; "" for random weights.
    """

    kind: str
    digest: str
    path: str = ""


POOLINGS = ("avg", "max", "flatten")
"""What may be done with a layer's output."""


@dataclass(frozen=True, order=True)
class TapSpec:
    """Where features are read off a backbone.

    Attributes
    ----------
    layer : str
        A layer's name; "" is the backbone's last.
    pooling : str
        "avg" and "max" are over space, "flatten" keeps all values, row-major (height, width,
        channel).
    """

    layer: str = ""
    pooling: str = "avg"

    @property
    def name(self) -> str:
        """ "avg", "flatten", "block4_pool:avg"; names the data set in the cache."""
        return f"{self.layer}:{self.pooling}" if self.layer else self.pooling

    @classmethod
    def parse(cls, text: str) -> TapSpec:
        """Read "avg", "max", "flatten", "LAYER:avg" or "LAYER" (then flatten).

        Raises
        ------
        SpecError
            The pooling is none of `POOLINGS`.
        """
        layer, colon, pooling = text.strip().rpartition(":")
        if not colon:
            if pooling in POOLINGS:
                return cls("", pooling)
            layer, pooling = pooling, "flatten"
        if pooling not in POOLINGS or not layer or "/" in layer:
            raise SpecError(
                f"Cannot read the tap {text!r}. Write avg, max, flatten, or a layer with one of "
                "them: block4_pool:avg."
            )
        return cls(layer, pooling)


@dataclass(frozen=True)
class ExtractionKey:
    """Every input that changes a cached value, and nothing else.

    Two rows with one key and one image digest hold the same numbers, up to the last bits that
    engines differ in. Taps, engine, batch size, versions and host are not in it.

    Attributes
    ----------
    backbone : str
        Catalog name.
    params : mapping
        Builder parameters that differ from Keras's defaults.
    weights : str
        `WeightsRecord.digest`.
    preprocess : str
        `BackboneSpec.preprocess`.
    image : ImageSpec
        The pixels that go in.
    precision : str
        Numeric precision of the forward pass: "float32", "bfloat16" or "float16".
    stored : str
        dtype of the rows on disk: "float32" or "float16".
    format_version : int
        `FORMAT_VERSION`.
    """

    backbone: str
    params: Mapping[str, Any]
    weights: str
    preprocess: str
    image: ImageSpec
    precision: str = "float32"
    stored: str = "float32"
    format_version: int = FORMAT_VERSION

    def canonical(self) -> str:
        """Return the key as JSON text with sorted names: equal keys, equal texts."""
        return json.dumps(to_json(self), sort_keys=True, separators=(",", ":"))

    def digest(self) -> str:
        """Return the SHA-256 of `canonical()` in hex."""
        return hashlib.sha256(self.canonical().encode()).hexdigest()

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ExtractionKey:
        """Rebuild a key from `to_json(key)`."""
        fields = dict(data)
        fields["image"] = ImageSpec(**fields["image"])
        fields["params"] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in fields["params"].items()
        }
        return cls(**fields)


# --- features, splits, runs --------------------------------------------------------------------


@dataclass(frozen=True)
class StrataRecord:
    """Labels that rows are split and drawn by, where these are not the labels to learn.

    Attributes
    ----------
    target : str
        Name of their column.
    y : ndarray of shape (n,), int
        Indices into `classes`, a row each; -1 for a row that is never drawn.
    classes : tuple of str
        Class names.
    """

    target: str
    y: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class FeatureSet:
    """Cached features of one tap with what belongs to their rows; all of one length n.

    Attributes
    ----------
    X : ndarray of shape (n, width), or a lazy array of that shape
        Features. A lazy one (`featx.store.LazyFeatures`) has `shape`, `dtype`, `rows(indices)` and
        `columns(start, stop)`.
    y : ndarray of shape (n,), int32
        Indices into `classes`.
    classes : tuple of str
        Class names of the target column.
    paths : sequence of str
        `Sample.relpath` a row.
    splits : ndarray of shape (n,), str
        The data set's own "train", "val", "test" or "" a row.
    key : ExtractionKey or None
        None for features made elsewhere.
    digests : sequence of str
        Image digest a row; equal digests are duplicates.
    groups : sequence of str
        `Sample.group` a row.
    dataset, tap, target : str
        Names.
    provenance : mapping
        What the entry's attributes say: backbone text, engine, versions, extract seconds.
    views : tuple of matrix
        Features of altered copies of the images, each of the shape of X and in the order of its
        rows: learnt from beside X, and averaged with it when scoring.
    strata : StrataRecord, optional
        What splits and draws are stratified by; where there is none, by `y`. Several label columns
        of the same images have the same, and so the same training and test rows.
    """

    X: Any
    y: np.ndarray
    classes: tuple[str, ...]
    paths: Sequence[str]
    splits: np.ndarray
    key: ExtractionKey | None
    digests: Sequence[str] = ()
    groups: Sequence[str] = ()
    dataset: str = ""
    tap: str = ""
    target: str = "class"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    views: tuple[Any, ...] = ()
    strata: StrataRecord | None = None


@dataclass(frozen=True)
class Split:
    """Row numbers of each side: int64, ascending, disjoint; `val` may be empty."""

    train: np.ndarray
    val: np.ndarray
    test: np.ndarray
    seed: int


@dataclass(frozen=True)
class StepSpec:
    """A step before a head: its registered name and the parameters given."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The spec string."""
        return format_spec(self.name, self.params)


@dataclass(frozen=True)
class HeadSpec:
    """A head: its registered name, the parameters given, and the steps before it."""

    name: str
    params: Mapping[str, Any] = field(default_factory=dict)
    steps: tuple[StepSpec, ...] = ()

    @property
    def text(self) -> str:
        """The spec string: "l2+linear_svc(C=1)"."""
        return "+".join([*(s.text for s in self.steps), format_spec(self.name, self.params)])


@dataclass(frozen=True)
class RunRecord:
    """Outcome of one run: one head on one tap with one draw, or one network trained.

    Attributes
    ----------
    kind : str
        "head", "baseline", "finetune" or "zeroshot".
    dataset : str
        Name of the data set.
    key : ExtractionKey or None
        Of the cache entry used, where there is one.
    backbone, tap : str
        Spec text and tap name; "" where there is none.
    head : HeadSpec
        As asked for.
    params : mapping
        Parameters as chosen and fitted with.
    shots : int or None
        Images a class; None is all.
    draw : int
        Number of the draw.
    split : mapping
        "seed", and "n_train", "n_val", "n_test", and "test_digest": SHA-256 over the test rows'
        image digests, so that only runs on the same test rows are compared.
    metrics : mapping
        `featx.metrics.score`.
    selection : mapping
        The whole curve over the values tried, and what was chosen on.
    seconds : mapping
        "extract", "select", "fit", "predict".
    cost : mapping
        Feature width, parameters trained and frozen, epochs, peak memory in bytes.
    environment : mapping
        Versions, machine, command, time.
    classes : tuple of str
        Class names.
    arrays : mapping of ndarray
        "test_rows", "y_true", "y_pred", "scores", and "confidence" (the largest probability of a
        row) where there are probabilities; kept beside the JSON in one .npz.
    parts : tuple of mapping
        Of fused features, what each part is (`featx.fuse.fuse`); else empty.
    """

    kind: str
    dataset: str
    key: ExtractionKey | None
    backbone: str
    tap: str
    head: HeadSpec
    params: Mapping[str, Any]
    shots: int | None
    draw: int
    split: Mapping[str, Any]
    metrics: Mapping[str, Any]
    selection: Mapping[str, Any]
    seconds: Mapping[str, float]
    cost: Mapping[str, Any]
    environment: Mapping[str, Any]
    classes: tuple[str, ...]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    parts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class TestSetRecord:
    """Which images a run was tested on; all of one length n, in the order of a record's arrays.

    Attributes
    ----------
    dataset : str
        Name of the data set.
    source, root : str
        What the data set was asked for as, and the folder that paths start from; "" if not known.
    target : str
        Label column.
    classes : tuple of str
    paths : tuple of str
        `Sample.relpath` a row.
    digests : tuple of str
        Image digest a row; may be empty.
    labels : ndarray of shape (n,), int32
        Indices into `classes`.
    """

    __test__: ClassVar[bool] = False  # not a test class, whatever its name

    dataset: str
    source: str
    root: str
    target: str
    classes: tuple[str, ...]
    paths: tuple[str, ...]
    digests: tuple[str, ...]
    labels: np.ndarray


@dataclass(frozen=True)
class Finding:
    """Something the user should know, with a stable code ("train-test-duplicates")."""

    code: str
    text: str


@dataclass(frozen=True)
class Comparison:
    """Rows side by side.

    Attributes
    ----------
    rows : tuple of mapping
        One a run, with the fields of `classify --json`.
    baseline : str
        Name of the row that others are held against; "" for none.
    intervals : tuple of (float, float)
        95% interval of the accuracy, a row.
    findings : tuple of Finding
    groups : tuple of mapping
        The draws of one head, tap and number of shots put together (`featx.compare.groups`).
    tests : tuple of mapping
        Paired tests against the best group at the same number of shots.
    records : tuple of RunRecord
        What the rows are of, so that comparisons can be put together; not part of equality.
    """

    rows: tuple[Mapping[str, Any], ...]
    baseline: str = ""
    intervals: tuple[tuple[float, float], ...] = ()
    findings: tuple[Finding, ...] = ()
    groups: tuple[Mapping[str, Any], ...] = ()
    tests: tuple[Mapping[str, Any], ...] = ()
    records: tuple[RunRecord, ...] = field(default=(), repr=False, compare=False)
