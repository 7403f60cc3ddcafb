"""A place with photos, a cache and runs, for tests of deployment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from featx.runs import load_run

SMALL, OTHER = "mobilenet(alpha=0.25)", "mobilenet_v2(alpha=0.35)"


@dataclass(frozen=True)
class Place:
    """Folders that belong together."""

    photos: Path
    cache: Path
    runs: Path

    def run(self, head: str, tap: str = "avg", backbone: str = SMALL, fused: bool = False) -> Path:
        """The record of the one run of this head on these features."""
        found = [
            path
            for path in self.runs.glob("*.json")
            if (record := load_run(path)).head.text == head
            and record.tap in (tap, "")
            and (record.backbone.startswith(backbone) or not record.backbone)
            and bool(record.parts) == fused
        ]
        (path,) = found
        return path

    def folders(self) -> dict[str, Path]:
        return {"runs_dir": self.runs, "cache_dir": self.cache}
