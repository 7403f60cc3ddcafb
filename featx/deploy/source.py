"""What a run was made from: its cached features, and the backbones and weights that made them."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featx.errors import CacheMissError, DeployError, WeightsError
from featx.records import (
    BackboneSpec,
    ExtractionKey,
    FeatureSet,
    RunRecord,
    StrataRecord,
    TapSpec,
    WeightsRecord,
)
from featx.store import ViewInfo, about_view, load_features
from featx.targets import Attributes, add_column

_VIEWS = re.compile(r" with \d+ views?$")


@dataclass(frozen=True)
class PartSpec:
    """One backbone of a run, with its tap.

    Attributes
    ----------
    key : ExtractionKey
    tap : str
    view : ViewInfo
        The cache entry.
    """

    key: ExtractionKey
    tap: str
    view: ViewInfo

    def backbone(self, weights: Sequence[str] = ()) -> tuple[BackboneSpec, WeightsRecord, TapSpec]:
        """Return what `featx.backbones.build_graph` takes.

        Parameters
        ----------
        weights : sequence of str
            Files to look for the weights in, where they are not where they were.

        Raises
        ------
        WeightsError
            The weights are not there any more, or are others.
        """
        key, said = self.key, self.view.provenance
        kind = str(said.get("weights_kind") or "file")
        spec = BackboneSpec(
            key.backbone, key.params, str(said.get("weights") or kind), key.preprocess, key.image
        )
        if kind == "random":
            return spec, WeightsRecord("random", key.weights), TapSpec.parse(self.tap)
        places = [*weights, str(said.get("weights") or "")]
        digests = {place: _digest(place) for place in places if place}
        for place, digest in digests.items():
            if digest == key.weights:
                return spec, WeightsRecord(kind, digest, place), TapSpec.parse(self.tap)
        if kind == "imagenet" and not any(digests.values()):
            record = _imagenet(spec)
            if record.digest == key.weights:
                return spec, record, TapSpec.parse(self.tap)
        there = [place for place, digest in digests.items() if digest]
        if there:
            raise WeightsError(
                f"{there[0]} is not the weights that {spec.text} was extracted with (SHA-256 "
                f"{digests[there[0]][:12]}…, not {key.weights[:12]}…). Give these with --weights."
            )
        raise WeightsError(
            f"The weights of {spec.text} are not at {said.get('weights')!r} any more. Give the "
            f"file with --weights (its SHA-256 begins with {key.weights[:12]})."
        )


def find_parts(record: RunRecord, cache_dir: str | os.PathLike[str]) -> list[list[PartSpec]]:
    """Find the cache entries that a run of a head was made on.

    Parameters
    ----------
    record : RunRecord
        Of kind "head", on one set of features or a fusion.
    cache_dir : path

    Returns
    -------
    list of list of PartSpec
        The parts in their order; one list for each data set of that name in the cache.

    Raises
    ------
    DeployError
        Features that cannot be told from the record, or that an exported model cannot make.
    CacheMissError
        They are not in the cache any more.
    """
    if _VIEWS.search(record.backbone):
        raise DeployError(
            f"{record.backbone} averages its scores over altered copies of each image, which an "
            "exported model does not make. Export a run without --views."
        )
    if record.split.get("test_on"):
        raise DeployError(
            f"The run was tested on another data set, {record.split['test_on']}, and the head is "
            f"fitted again only for runs on one. Run featx classify on {record.dataset} without "
            "--test-on, and export that run."
        )
    wanted = [(p["key"], p["tap"]) for p in record.parts] or [(record.key, record.tap)]
    if any(key is None for key, _ in wanted):
        raise DeployError(f"{record.head.text} is on features that featx did not extract.")
    keys = [(ExtractionKey.from_json(k) if isinstance(k, Mapping) else k, tap) for k, tap in wanted]
    if any(key.image.view for key, _ in keys):
        raise DeployError("The features are of altered copies of the images: export another run.")
    digests = {key.digest()[:12] for key, _ in keys}
    views = [
        view
        for path in sorted(Path(cache_dir).glob("*/*/cache.h5"))
        if path.parent.name[-12:] in digests and (view := about_view(path.parent))
    ]
    views = [view for view in views if view.dataset == record.dataset]
    found = []
    for folder in dict.fromkeys(view.path.parent for view in views):
        mine = {v.key.digest(): v for v in views if v.path.parent == folder}
        if all(key.digest() in mine and tap in mine[key.digest()].taps for key, tap in keys):
            found.append([PartSpec(key, tap, mine[key.digest()]) for key, tap in keys])
    if not found:
        raise CacheMissError(
            f"The features of {record.dataset!r} from {record.backbone} {record.tap} are not in "
            f"{os.fspath(cache_dir)!r}. Give the cache with --cache-dir, or run featx extract and "
            "featx classify again."
        )
    return found


def load_parts(parts: Sequence[PartSpec], record: RunRecord) -> FeatureSet:
    """Load the features that a run was made on, with the labels that it learnt and drew by."""
    from featx.fuse import fuse

    made = record.split.get("attributes")
    target = str(record.split["target"])
    own = made["of"] if made else target
    lazy = len(parts) > 1
    loaded = [load_features(p.view.path, p.tap, target=own, lazy=lazy) for p in parts]
    features = fuse(loaded) if lazy else loaded[0]
    if made:
        values: Mapping[str, Any] = {target: made["values"]}
        features = add_column(features, Attributes("the run record", own, values), target)
    by = record.split.get("drawn_by")
    if by is None or by["column"] == target:
        return replace(features, strata=None)
    column = load_features(parts[0].view.path, parts[0].tap, target=by["column"], lazy=True)
    return replace(features, strata=StrataRecord(by["column"], column.y, column.classes))


def _digest(path: str) -> str:
    try:
        with open(os.path.expanduser(path), "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _imagenet(spec: BackboneSpec) -> WeightsRecord:
    from featx.backbones import resolve_weights

    return resolve_weights(replace(spec, weights="imagenet"))
