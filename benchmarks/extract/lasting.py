"""What long runs do: memory by the number of images, and speed over time."""

from __future__ import annotations

import itertools
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from extract.arithmetic import measure_product
from extract.contestants import Loaded, ReadyEngine
from extract.photos import make_photos
from extract.speed import Rows, Settings

BACKBONE, SIZE, TAPS = "mobilenet(alpha=0.25)", 128, ("avg", "flatten")
"""Of the memory curve: quick, with a tap of 4,096 values a row."""

SLICES = 10
LOOK_SECONDS, SETTLE_SECONDS = 20.0, 0.3


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
    """Images a second in ten slices of one long run, beside what the machine gave meanwhile."""
    backbone = settings.backbones[0]
    loaded = Loaded(settings.engine, backbone)
    count = max(SLICES, round(settings.minutes * 60 * loaded.run_alone(256) * 0.85))
    folder = make_photos(settings.temp / "steady", count)
    watched = _Watched(loaded.runner)
    loaded.runner = watched
    from extract.speed import extract

    engine = ReadyEngine([loaded]).name
    started = time.perf_counter()
    extract(folder, settings.temp / "steady-to", engine, backbone=backbone)
    times = np.array([started, *(t for t, _ in watched.batches)])
    done = np.cumsum([0, *(n for _, n in watched.batches)])
    edges = np.interp(np.linspace(0, done[-1], SLICES + 1), done, times)
    rows: list[dict[str, Any]] = []
    for i, (begin, end) in enumerate(itertools.pairwise(edges)):
        before = [look for look in watched.looks if look.start < end]
        looks = [look for look in before if look.start >= begin]
        at_work = end - begin - sum(look.seconds for look in looks)
        looks = looks or before[-1:]
        rows.append(
            {
                "backbone": backbone,
                "precision": "float32",
                "slice": i + 1,
                "until minute": (end - started) / 60,
                "images": int(done[-1] / SLICES),
                "images/s": done[-1] / SLICES / at_work,
                "product GFLOP/s": statistics.fmean(look.product for look in looks),
                "held MiB": looks[-1].held,
            }
        )
        # The first slice holds what comes before the first batch: the index, filling the pipeline.
        second = rows[min(i, 1)]
        rows[-1]["over the second"] = rows[-1]["images/s"] / second["images/s"]
        rows[-1]["of the product, over the second"] = (
            rows[-1]["over the second"] * second["product GFLOP/s"] / rows[-1]["product GFLOP/s"]
        )
    return rows


@dataclass(frozen=True)
class _Look:
    """What was seen in a pause of a run: when it began, how long it took, and the two figures."""

    start: float
    seconds: float
    product: float
    held: float


class _Watched:
    """A runner that notes when each batch came out, and stops now and then to look around."""

    def __init__(self, runner: Any) -> None:
        self._runner = runner
        self.taps, self.batch_size = runner.taps, runner.batch_size
        self.batches: list[tuple[float, int]] = []
        self.looks: list[_Look] = [self._look()]

    def stream(self, batches: Any) -> Iterator[Any]:
        for rows in self._runner.stream(batches):
            if time.perf_counter() - self.looks[-1].start > LOOK_SECONDS:
                self.looks.append(self._look())
            self.batches.append((time.perf_counter(), len(rows["avg"])))
            yield rows

    def _look(self) -> _Look:
        started = time.perf_counter()
        time.sleep(SETTLE_SECONDS)  # until what is decoded ahead is decoded
        product = measure_product(1024, 40)
        return _Look(started, time.perf_counter() - started, product, _memory_mib("VmRSS"))


if __name__ == "__main__":
    print(json.dumps(_memory_child(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))))
