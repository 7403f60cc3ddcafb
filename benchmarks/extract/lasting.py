"""What long runs do: memory by the number of images, and speed over time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from extract.contestants import Loaded, ReadyEngine
from extract.photos import make_photos
from extract.speed import Rows, Settings

BACKBONE, SIZE, TAPS = "mobilenet(alpha=0.25)", 128, ("avg", "flatten")
"""Of the memory curve: quick, with a tap of 4,096 values a row."""

SLICES = 10


def memory(settings: Settings) -> Rows:
    """Peak memory by the number of images, each in a process of its own."""
    most = settings.memory_images
    rows = []
    for count in sorted({min(1000 * 10**power, most) for power in range(10)}):
        folder = make_photos(settings.temp / f"many-{count}", count, 96, 128, quality=80)
        done = subprocess.run(
            [sys.executable, __file__, settings.engine, folder, settings.temp / f"many-{count}-to"],
            env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[1])},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
    for row in rows:
        row["peak over the first's"] = row["peak MiB"] / rows[0]["peak MiB"]
    return rows


def _memory_child(engine: str, data: Path, cache: Path) -> dict[str, Any]:
    from extract.speed import extract

    loaded = Loaded(engine, BACKBONE, taps=TAPS, image_size=SIZE)
    before = _memory_mib("VmRSS")
    seconds, images = extract(
        data,
        cache,
        ReadyEngine([loaded]).name,
        backbone=BACKBONE,
        pooling=list(TAPS),
        image_size=SIZE,
    )
    features = sum(path.stat().st_size for path in cache.rglob("*.h5")) / 2**20
    return {
        "backbone": f"{BACKBONE} at {SIZE}",
        "taps": ", ".join(TAPS),
        "images": images,
        "features MiB": features,
        "loaded MiB": before,
        "peak MiB": _memory_mib("VmHWM"),
        "images/s": images / seconds,
    }


def _memory_mib(what: str) -> float:
    """Return VmRSS (held now) or VmHWM (the most held) of this process.

    Not `ru_maxrss`, which begins with the peak of the process that started this one.
    """
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(what):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"No {what} in /proc/self/status: the memory section needs Linux.")


def steady(settings: Settings) -> Rows:
    """Images a second in ten consecutive slices of one long run."""
    backbone = settings.backbones[0]
    loaded = Loaded(settings.engine, backbone)
    count = max(SLICES, round(settings.minutes * 60 * loaded.run_alone(256) * 0.85))
    folder = make_photos(settings.temp / "steady", count)
    clocked = _Clocked(loaded.runner)
    loaded.runner = clocked
    from extract.speed import extract

    engine = ReadyEngine([loaded]).name
    started = time.perf_counter()
    extract(folder, settings.temp / "steady-to", engine, backbone=backbone)
    times = np.array([0.0, *(t - started for t, _ in clocked.notes)])
    done = np.cumsum([0, *(n for _, n in clocked.notes)])
    edges = np.interp(np.linspace(0, done[-1], SLICES + 1), done, times)
    rates = done[-1] / SLICES / np.diff(edges)
    row: dict[str, Any] = {"backbone": backbone, "precision": "float32", "images": int(done[-1])}
    row["seconds"] = float(times[-1])
    row |= {f"slice {i + 1}": float(rate) for i, rate in enumerate(rates)}
    # The first slice holds what comes before the first batch: the index, and filling the pipeline.
    row["last over second"] = float(rates[-1] / rates[1])
    row["slowest over fastest, from the second"] = float(rates[1:].min() / rates[1:].max())
    return [row]


class _Clocked:
    """A runner that notes when each batch came out."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.taps, self.batch_size = runner.taps, runner.batch_size
        self.notes: list[tuple[float, int]] = []

    def stream(self, batches: Any) -> Iterator[Any]:
        for rows in self._runner.stream(batches):
            self.notes.append((time.perf_counter(), len(rows["avg"])))
            yield rows


if __name__ == "__main__":
    print(json.dumps(_memory_child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
