"""What each step costs at 10 thousand to 10 million images: time and memory, without pixels.

    python benchmarks/bench_scale.py [--sizes 10000,100000,1000000,10000000] [--dir FOLDER]

Every step runs in a process of its own. Memory is the most that it held, above what the process
held once featx was imported. 10 million rows take some 10 minutes, 6 GB of disk and of memory.
Writes benchmarks/results/scale.json, docs/scale.svg and the tables in docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import pickle
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from machine import describe_machine
from scale.page import write_page
from scale.synthetic import make_entry, make_folder, make_manifest, remember_folder

from featx.datasets import index_dataset
from featx.split import draw_shots
from featx.store import CacheEntry, load_features, plan_rows, verify
from featx.store.publish import publish_view

FOLDER_MOST = 1_000_000
"""Most names to make in folders: they take 30 s a million."""
RESULTS = Path(__file__).parent / "results" / "scale.json"
INDEX = "index.pickle"
REPEATS = 3
"""Tries of small sizes, of which the fastest counts."""

# --- steps: what is prepared first is not counted ----------------------------------------------


def step_folder(folder: Path) -> Callable[[], Any]:
    """Index a folder of class folders whose files are all known."""
    return lambda: index_dataset(folder / "photos", work_dir=folder / "work")


def step_index(folder: Path) -> Callable[[], Any]:
    """Index a manifest whose files are all known."""
    return lambda: index_dataset(folder / "photos.csv", work_dir=folder / "work")


def step_plan(folder: Path) -> Callable[[], Any]:
    """See what an entry holds and what it lacks."""
    index, entry = _index(folder), _entry(folder)

    def work() -> None:
        plan = plan_rows(entry.state(), index.samples.digests, ["avg", "max"])
        assert len(plan.extract) == len(index.samples)

    return work


def step_view(folder: Path) -> Callable[[], Any]:
    """Build the view."""
    index, entry = _index(folder), _entry(folder)
    state = entry.state()
    entry.view_path.unlink(missing_ok=True)
    return lambda: publish_view(
        entry.view_path, entry.key, state, index, taps=None, quarantined=(), provenance={}
    )


def step_shots(folder: Path) -> Callable[[], Any]:
    """Open the entry, draw 100 images a class and read their rows."""
    entry = _entry(folder)

    def work() -> None:
        features = load_features(entry.path, "avg", lazy=True)
        rows = np.arange(len(features.y))
        (chosen,) = draw_shots(features.y, rows, 100, draws=1, seed=0, digests=features.digests)
        assert features.X.rows(chosen).shape == (100 * 100, 8)

    return work


def step_verify(folder: Path) -> Callable[[], Any]:
    """Check every byte of the cache."""
    entry = _entry(folder)

    def work() -> None:
        assert verify(entry.path)["bad"] == []

    return work


STEPS = {
    "folder": step_folder,
    "index": step_index,
    "plan": step_plan,
    "view": step_view,
    "shots": step_shots,
    "verify": step_verify,
}


def _entry(folder: Path) -> CacheEntry:
    (path,) = (folder / "cache" / "scale").glob("mobilenet-*")
    return CacheEntry.at(path)


def _index(folder: Path) -> Any:
    with open(folder / INDEX, "rb") as file:  # our own, of a moment ago
        return pickle.load(file)  # noqa: S301


# --- measuring ---------------------------------------------------------------------------------


def memory(field: str) -> int:
    """Return VmRSS or VmHWM of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise ValueError(field)


def measure(step: str, folder: Path) -> dict[str, float]:
    """Run one step in this process; seconds and bytes."""
    imported = memory("VmRSS")
    work = STEPS[step](folder)
    Path("/proc/self/clear_refs").write_text("5")  # the peak counts from now on
    started, busy = time.perf_counter(), time.process_time()
    made = work()
    found = {
        "seconds": time.perf_counter() - started,
        "processor_seconds": time.process_time() - busy,
        "bytes": memory("VmHWM") - imported,
    }
    if step == "index":  # what the other steps begin with
        with open(folder / INDEX, "wb") as file:
            pickle.dump(made, file, protocol=5)
    return found


def run_step(step: str, folder: Path, repeats: int) -> dict[str, float]:
    """Run one step in processes of its own; the fastest counts."""
    command = [sys.executable, __file__, "--step", step, "--dir", str(folder)]
    found = [
        json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        for _ in range(repeats)
    ]
    return min(found, key=lambda f: f["seconds"])


def measure_size(n: int, folder: Path) -> dict[str, dict[str, float]]:
    """Make `n` images' worth of metadata and measure every step on it."""
    repeats = REPEATS if n <= 100_000 else 1
    found = {}
    if n <= FOLDER_MOST:
        tree = folder / "tree"
        tree.mkdir()
        remember_folder(make_folder(tree, n), tree / "work", n)
        found["folder"] = run_step("folder", tree, repeats)
        shutil.rmtree(tree)
    make_manifest(folder, n, folder / "work")
    found["index"] = run_step("index", folder, repeats)
    make_entry(folder / "cache", _index(folder).samples.digests)
    for step in ("plan", "view", "shots", "verify"):
        found[step] = run_step(step, folder, repeats)
    view = _entry(folder).view_path.stat().st_size
    found["view"]["view_bytes"] = view
    for step, figures in found.items():
        print(
            f"{n:>12,} {step:<8} {figures['seconds']:8.2f} s "
            f"({figures['processor_seconds']:.2f} s busy) {figures['bytes'] / 1e6:9.0f} MB"
        )
    print(flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default="10000,100000,1000000,10000000")
    parser.add_argument("--dir", type=Path, help="where to write (default: a temporary folder)")
    parser.add_argument("--step", choices=list(STEPS), help=argparse.SUPPRESS)
    parser.add_argument("--keep-docs", action="store_true", help="only print")
    options = parser.parse_args()
    if options.step:
        print(json.dumps(measure(options.step, options.dir)))
        return
    found: dict[str, Any] = {"machine": describe_machine("numpy", "h5py"), "sizes": {}}
    for n in map(int, options.sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=options.dir) as folder:
            found["sizes"][str(n)] = measure_size(n, Path(folder))
    if not options.keep_docs:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n")
        write_page(found)


if __name__ == "__main__":
    main()
