"""Figures of the cache: reading, checking, layouts, compressing, a warm look at 100,000 rows.

    python benchmarks/bench_store.py [--rows 100000] [--flat-rows 1500] [--dir FOLDER]

All that is compared is measured side by side in one run, the best of several tries, with the files
in the page cache. Prints a table and writes it to benchmarks/results/store.md.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xxhash

from featx.datasets import index_dataset
from featx.extraction.request import pair_backbones, source_text
from featx.extraction.steps import Extraction
from featx.progress import Bars
from featx.records import DatasetIndex, ExtractionKey, ImageSpec, Sample, TapSpec
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


RESULTS = Path(__file__).parent / "results"
LINES: list[tuple[str, str]] = []


def show(name: str, value: str) -> None:
    LINES.append((name, value))
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

    show("cost of checking a whole tap, once it is open", checking(entry, "avg", reopen=False))
    show("cost of checking in load_features(...).X", checking(entry, "avg", reopen=True))

    cold: dict[bool, list[float]] = {True: [], False: []}
    for _ in range(3):
        for checked, seconds in cold.items():
            found = fresh_reader(entry, "avg", checked)
            forget(entry)
            started = time.perf_counter()
            np.asarray(found)
            seconds.append(time.perf_counter() - started)
    rates = " ".join(f"{rate / min(cold[c]):.2f}" for c in (True, False))
    show("whole tap from the disk, checked and unchecked", f"{rates} GiB/s")

    rng = np.random.default_rng(1)
    with h5py.File(folder / "plain.h5", "w") as file:
        file["x"] = whole
    with h5py.File(folder / "plain.h5", "r") as plain, h5py.File(entry.view_path, "r") as cache:
        for shots in (5, 20, 50, 100):
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


def checking(entry: CacheEntry, tap: str, *, reopen: bool) -> str:
    """Return what checks add to reading a whole tap; with `reopen`, to opening and reading it."""
    spans: dict[bool, list[tuple[float, float]]] = {True: [], False: []}
    for _ in range(9):
        for checked, found_times in spans.items():
            begun = time.perf_counter(), time.process_time()
            reader = fresh_reader(entry, tap, checked)
            if not reopen:
                begun = time.perf_counter(), time.process_time()
            np.asarray(reader)
            now = time.perf_counter(), time.process_time()
            found_times.append((now[0] - begun[0], now[1] - begun[1]))
    wall, processor = (
        min(t[i] for t in spans[True]) / min(t[i] for t in spans[False]) - 1 for i in (0, 1)
    )
    return f"{wall:+.1%} on the clock, {processor:+.1%} of processor time"


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
            spans = {}
            for checked in (True, False):
                spans[checked] = []
                for _ in range(7):
                    fresh = fresh_reader(entry, "flatten", checked)
                    started = time.process_time()
                    fresh.columns(8192, 12288)
                    spans[checked].append(time.process_time() - started)
            show(
                "    cost of checking those columns, the first time they are read",
                f"{min(spans[True]) / min(spans[False]) - 1:+.1%} of processor time",
            )


def warm_extract(folder: Path, n: int) -> None:
    """The command, from start to end, on `n` image files whose features are all there."""
    photos = folder / "photos"
    rng = np.random.default_rng(0)
    for i in range(n):
        target = photos / f"class_{i % 100:03d}"
        if i < 100:
            target.mkdir(parents=True)
        (target / f"image_{i:06d}.jpg").write_bytes(rng.bytes(400))  # never opened as an image
    specs = pair_backbones(["mobilenet"], ["random"], None, "random")
    index = index_dataset(str(photos), work_dir=folder / "cache" / ".sources")
    with Bars(False) as bars:
        run = Extraction(
            index=index,
            source=source_text(photos),
            taps=(TapSpec.parse("avg"),),
            cache_dir=folder / "cache",
            engine="auto",
            precision="float32",
            stored="float32",
            compression=None,
            bars=bars,
        )
        run.add(specs[0], create=True)
        entry = run.targets[0].cache
        with entry.claim(), entry.writer({"avg": (WIDTH,)}) as writer:
            for start in range(0, n, 4096):
                names = [s.digest for s in index.samples[start : start + 4096]]
                writer.append(names, {"avg": rng.random((len(names), WIDTH), np.float32)})
        run.publish()
    command = [sys.executable, "-m", "featx", "extract", str(photos), "--weights", "random"]
    command += ["--cache-dir", str(folder / "cache"), "--quiet"]

    def warm() -> None:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        assert f"0 extracted, {n} reused" in done.stdout, done.stdout

    show(f"featx extract, {n:,} images and nothing to do", f"{best(warm, 3):.2f} s")


def forget(entry: CacheEntry) -> None:
    """Drop the parts from the page cache."""
    for path in entry.part_paths():
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def fresh_reader(entry: CacheEntry, tap: str, checked: bool) -> Any:
    """Open a tap anew; unchecked, by making it believe that all was checked before."""
    lazy = load_features(entry.path, tap, lazy=True).X
    for number in range(len(entry.part_paths())):
        with lazy._pool.use(number) as part:
            if not checked:
                part._sound[:] = True
                part.tap(tap)._sound[:] = True
    return lazy


def layouts(folder: Path, n: int) -> None:
    """Why rows lie in one piece: HDF5 chunks of several shapes against it."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    width = int(np.prod(FLAT))
    data = relu(rng, n, FLAT)
    rows = np.sort(rng.choice(n, n // 15, replace=False))
    shapes = {"one piece": None, "one row": (1, width), "64 rows, 4,096 columns": (64, 4096)}
    shapes["HDF5's own guess"] = True
    for name, chunks in shapes.items():
        with h5py.File(folder / "layout.h5", "w") as file:
            file.create_dataset("x", data=data, chunks=chunks)
        with h5py.File(folder / "layout.h5", "r") as file:
            x = file["x"]
            show(
                f"h5py, {n:,}x{width:,} as {name}: whole, {len(rows)} rows, 4,096 columns",
                f"{best(lambda x=x: x[:], 2):.3f} s, {best(lambda x=x: x[rows], 2):.3f} s, "
                f"{best(lambda x=x: x[:, 8192:12288], 2):.3f} s",
            )


def checksums() -> None:
    """Why XXH3, and why blocks of 256 KiB and tiles of 16 KiB."""
    data = np.random.default_rng(0).integers(0, 255, 1 << 26, np.uint8)
    view = data.data
    for name, work in {
        "XXH3-64": lambda: xxhash.xxh3_64_intdigest(view),
        "CRC-32 (zlib)": lambda: zlib.crc32(view),
        "SHA-256": lambda: hashlib.sha256(view).digest(),
    }.items():
        show(f"checksum {name}", f"{len(view) / best(work, 3) / 2**30:.1f} GiB/s")
    out = np.empty_like(data)

    def copy(size: int, check: bool) -> None:
        for start in range(0, len(data), size):
            out[start : start + size] = data[start : start + size]
            if check:
                xxhash.xxh3_64_intdigest(out.data[start : start + size])

    for size in (1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20):
        plain, checked = best(lambda s=size: copy(s, False)), best(lambda s=size: copy(s, True))
        show(
            f"checking while copying, {size >> 10} KiB at a time",
            f"{len(view) / checked / 2**30:.1f} GiB/s, without {len(view) / plain / 2**30:.1f}",
        )


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
        layouts(Path(folder) / "layouts", options.flat_rows)
        columns(Path(folder) / "flat", options.flat_rows)
        warm_extract(Path(folder) / "warm", options.rows)
    RESULTS.mkdir(exist_ok=True)
    table = "".join(f"| {name.strip()} | {value} |\n" for name, value in LINES)
    (RESULTS / "store.md").write_text(f"| what | figure |\n| --- | --- |\n{table}")


if __name__ == "__main__":
    main()
