"""One backbone of an extraction: what is there of it, and what is to be done."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featx.records import BackboneSpec, ExtractionKey, WeightsRecord
from featx.store import CacheEntry, RowPlan, ViewInfo, about_view


@dataclass
class Target:
    """One backbone of an extraction, and its entry in the cache (None: not there yet).

    `token` is that of the claim on the entry, while it is held.
    """

    spec: BackboneSpec
    weights: WeightsRecord
    key: ExtractionKey
    path: Path
    entry: CacheEntry | None
    plan: RowPlan
    before: ViewInfo | None
    seconds: float = 0.0
    token: str = ""

    @property
    def label(self) -> str:
        """The backbone's spec text; random weights are named as such everywhere."""
        random = " (random weights)" if self.weights.kind == "random" else ""
        view = f" ({self.spec.image.view})" if self.spec.image.view else ""
        return self.spec.text + random + view

    @property
    def cache(self) -> CacheEntry:
        """The entry, which is there unless this is only a plan."""
        assert self.entry is not None
        return self.entry

    def about(self) -> dict[str, Any]:
        """Return the entry as `extract --json` shows it."""
        view = about_view(self.path)
        taps = view.taps.items() if view else ()
        return {
            "backbone": self.label,
            "image_size": [self.spec.image.height, self.spec.image.width],
            "digest": self.key.digest(),
            "path": str(self.path),
            "taps": {
                tap: {"shape": [view.rows if view else 0, math.prod(shape)], "dtype": dtype}
                for tap, (shape, dtype) in taps
            },
        }
