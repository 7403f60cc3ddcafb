"""Figures of the cache: reading, checking, compressing, and a warm look at 100,000 rows.

Run with `python -m benchmarks.bench_store [--rows N] [--dir DIR]`, or `make bench-store`. All
ratios are measured side by side in one run; files are in the page cache unless said otherwise.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from featx.records import DatasetIndex, ExtractionKey, ImageSpec, Sample
from featx.store import CacheEntry, load_features, plan_rows, verify

WIDTH = 1024
FLAT = (7, 7, 1024)


def best(work: Callable[[], Any], repeat: int = 5) -> float:
    """Return the least seconds of a few runs."""
    seconds = []
    for _ in range(repeat):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def show(name: str, value: str) -> None:
    print(f"{name:<66} {value}", flush=True)


def relu(rng: np.random.Generator, n: int, shape: tuple[int, ...]) -> np.ndarray:
    """Return values like those after a ReLU: three quarters zeros, unevenly over channels."""
    bias = rng.normal(-0.9, 0.8, shape[-1])
    scale = np.exp(rng.normal(0, 0.5, shape[-1]))
    values = (rng.standard_normal((n, *shape), np.float32) + bias) * scale
    return np.maximum(values, 0).astype(np.float32).reshape(n, -1)


def make_index(n: int) -> DatasetIndex:
    names = [hashlib.sha256(str(i).encode()).hexdigest() for i in range(n)]
    classes = tuple(f"class_{i:03d}" for i in range(100))
    samples = sorted(
        (
            Sample(f"{classes[i % 100]}/image_{i:06d}.jpg", (classes[i % 100],), "", names[i])
            for i in range(n)
        ),
        key=lambda s: s.relpath,
    )
    return DatasetIndex("bench", "/bench", (classes,), tuple(samples))


def make_entry(folder: Path, index: DatasetIndex, tap: str, shape: tuple[int, ...], **options: Any):
    key = ExtractionKey(
        "mobilenet",
        {},
        hashlib.sha256(repr(options).encode()).hexdigest(),
        "mobilenet",
        ImageSpec(224, 224),
        stored=options.pop("stored", "float32"),
    )
    entry = CacheEntry.open(folder, "bench", key, create=True)
    rng = np.random.default_rng(0)
    spent = 0.0
    with entry.claim(), entry.writer({tap: shape}, part_seconds=1e9, **options) as writer:
        for start in range(0, len(index.samples), 512):
            names = [s.digest for s in index.samples[start : start + 512]]
            rows = relu(rng, len(names), shape)
            started = time.perf_counter()
            writer.append(names, {tap: rows})
            spent += time.perf_counter() - started
        started = time.perf_counter()
        writer.close()
        spent += time.perf_counter() - started
    return entry, spent


def reading(folder: Path, n: int) -> None:
    index = make_index(n)
    entry, spent = make_entry(folder, index, "avg", (WIDTH,))
    size = n * WIDTH * 4
    show(
        f"avg, {n:,} rows of {WIDTH} float32, {size / 2**20:.0f} MiB: written and flushed at",
        f"{size / spent / 2**20:.0f} MiB/s",
    )
    started = time.perf_counter()
    entry.publish_view(index)
    show("view built", f"{time.perf_counter() - started:.2f} s, {len(entry.part_paths())} parts")

    def warm() -> None:
        again = CacheEntry.open(folder, "bench", entry.key, create=True)
        plan = plan_rows(again.state(), [s.digest for s in index.samples], ["avg"])
        assert not plan.extract
        again.publish_view(index)

    show("warm: open, plan and leave the view as it is", f"{best(warm, 3):.2f} s")
    show(
        "load_features(lazy=True): labels, paths, digests",
        f"{best(lambda: load_features(entry.path, lazy=True), 3):.2f} s",
    )

    lazy = load_features(entry.path, lazy=True).X
    whole = np.asarray(lazy)
    copy = best(lambda: whole.copy())
    fresh = best(lambda: np.asarray(load_features(entry.path, lazy=True).X), 3)
    again = best(lambda: np.asarray(lazy))
    with h5py.File(entry.view_path, "r", locking=False) as file:
        view = best(lambda: file["features/avg"][:], 3)
    rate = size / 2**30
    show("whole tap: memory copy (numpy, into new memory)", f"{rate / copy:.2f} GiB/s")
    show("whole tap: featx, checked, checks remembered", f"{rate / again:.2f} GiB/s")
    show("whole tap: h5py on the view", f"{rate / view:.2f} GiB/s")
    show("whole tap with labels and paths, nothing remembered", f"{fresh:.3f} s")

    def whole_tap(checked: bool) -> None:
        found = load_features(entry.path, lazy=True).X
        if not checked:
            for number in range(len(entry.part_paths())):
                found._pool[number]._sound[:] = True
        started = time.perf_counter()
        np.asarray(found)
        spans[checked].append(time.perf_counter() - started)

    spans: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(7):
        for checked in (True, False):
            whole_tap(checked)
    cost = min(spans[True]) / min(spans[False]) - 1
    show("cost of checking a whole tap, in the page cache", f"{cost:+.1%}")

    rng = np.random.default_rng(1)
    with h5py.File(folder / "plain.h5", "w") as file:
        file["x"] = whole
    with h5py.File(folder / "plain.h5", "r") as plain, h5py.File(entry.view_path, "r") as cache:
        for shots in (5, 20, 100):
            rows = np.sort(rng.choice(n, min(n, shots * 100), replace=False))
            fancy = best(lambda rows=rows: plain["x"][rows], 2)
            through_view = best(lambda rows=rows: cache["features/avg"][rows], 2)
            times = []
            for _ in range(5):
                one = load_features(entry.path, lazy=True).X
                started = time.perf_counter()
                found = one.rows(rows)
                times.append(time.perf_counter() - started)
            assert (found == whole[rows]).all()
            later = best(lambda rows=rows, one=one: one.rows(rows))
            show(
                f"{shots} shots of 100 classes ({len(rows):,} rows): h5py fancy on one plain file",
                f"{fancy * 1e3:.1f} ms; on the view {through_view * 1e3:.1f} ms",
            )
            show(
                "    featx, first time (maps, checks)",
                f"{min(times) * 1e3:.2f} ms: {fancy / min(times):.0f}x, "
                f"{through_view / min(times):.0f}x",
            )
            show(
                "    featx, later draws of the same rows",
                f"{later * 1e3:.2f} ms: {fancy / later:.0f}x, {through_view / later:.0f}x",
            )
    (folder / "plain.h5").unlink()
    started = time.perf_counter()
    report = verify(folder)
    spent = time.perf_counter() - started
    assert not report["bad"]
    total = sum(p.stat().st_size for p in folder.rglob("*") if p.is_file())
    show("verify, every byte, in the page cache", f"{total / spent / 2**30:.2f} GiB/s")


def scattered(folder: Path, n: int) -> None:
    """The worst case: no two neighbours of the view are neighbours in a part."""
    index = make_index(n)
    key = ExtractionKey("mobilenet", {}, "scattered", "mobilenet", ImageSpec(224, 224))
    entry = CacheEntry.open(folder, "scattered", key, create=True)
    names = [s.digest for s in index.samples]
    order = np.random.default_rng(0).permutation(n)
    with entry.writer({"avg": (64,)}, part_bytes=n * 16) as writer:
        for start in range(0, n, 4096):
            chosen = [names[i] for i in order[start : start + 4096]]
            writer.append(chosen, {"avg": np.ones((len(chosen), 64), np.float32)})
    started = time.perf_counter()
    entry.publish_view(index)
    built = time.perf_counter() - started
    with h5py.File(entry.view_path, "r") as file:
        through_view = best(lambda: file["features/avg"][:], 1)
    ours = best(lambda: np.asarray(load_features(entry.path, lazy=True).X), 2)
    show(f"{n:,} rows in random order: view built", f"{built:.2f} s")
    show("    whole tap: featx, h5py on the view", f"{ours:.2f} s, {through_view:.2f} s")


def columns(folder: Path, n: int) -> None:
    index = make_index(n)
    size = n * int(np.prod(FLAT)) * 4
    sizes = {}
    for name, options in {
        "float32": {},
        "float16": {"stored": "float16"},
        "float32 + blosc2": {"compression": "blosc2"},
        "float16 + blosc2": {"stored": "float16", "compression": "blosc2"},
    }.items():
        entry, spent = make_entry(folder, index, "flatten", FLAT, **options)
        entry.publish_view(index)
        sizes[name] = sum(p.stat().st_size for p in entry.part_paths())
        lazy = load_features(entry.path, "flatten", lazy=True).X
        read = best(lambda lazy=lazy: np.asarray(lazy), 2)
        one = best(lambda lazy=lazy: lazy.columns(8192, 12288), 2)
        rows = np.sort(np.random.default_rng(2).choice(n, 100, replace=False))
        few = best(lambda lazy=lazy, rows=rows: lazy.rows(rows), 2)
        show(
            f"flatten {n:,}x{size // n // 4:,} as {name}: size, write",
            f"{sizes[name] / size:.2f} of float32, {size / spent / 2**20:.0f} MiB/s",
        )
        show(
            "    whole, 4,096 of the columns, 100 rows",
            f"{read:.3f} s, {one:.3f} s ({read / one:.1f}x less), {few:.3f} s",
        )
        if name == "float32":
            block = best(lambda lazy=lazy: lazy.columns(8192, 12288), 5)
            blind = load_features(entry.path, "flatten", lazy=True).X

            def fresh(checked: bool, entry: CacheEntry = entry) -> float:
                blind = load_features(entry.path, "flatten", lazy=True).X
                for number in range(len(entry.part_paths())):
                    blind._pool[number].tap("flatten")._sound[:] = not checked
                started = time.perf_counter()
                blind.columns(8192, 12288)
                return time.perf_counter() - started

            first = min(fresh(True) for _ in range(5))
            unchecked = min(fresh(False) for _ in range(5))
            assert blind.shape
            show(
                "    columns: first time checked, unchecked, checks remembered",
                f"{first * 1e3:.0f} ms, {unchecked * 1e3:.0f} ms, {block * 1e3:.0f} ms",
            )


def checksums() -> None:
    data = np.random.default_rng(0).bytes(1 << 26)
    for name, work in {
        "XXH3-64": lambda: xxhash.xxh3_64_intdigest(data),
        "XXH3-64 in 256 KiB": lambda: [
            xxhash.xxh3_64_intdigest(data[i : i + (1 << 18)]) for i in range(0, 1 << 26, 1 << 18)
        ],
        "SHA-256": lambda: hashlib.sha256(data).digest(),
    }.items():
        show(f"checksum {name}", f"{len(data) / best(work, 3) / 2**30:.1f} GiB/s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--flat-rows", type=int, default=1_500)
    parser.add_argument("--dir", default=None, help="where to write (default: a temporary folder)")
    options = parser.parse_args()
    show("machine", f"{os.cpu_count()} processors, HDF5 {h5py.version.hdf5_version}")
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        checksums()
        reading(Path(folder) / "avg", options.rows)
        scattered(Path(folder) / "scattered", options.rows)
        columns(Path(folder) / "flat", options.flat_rows)


if __name__ == "__main__":
    main()
