"""A small extraction without images: features are a function of the digest.

Used by the tests of the store, also from processes of their own (that get killed).
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from featx.owner import this_process
from featx.records import DatasetIndex, ExtractionKey, ImageSpec, Sample
from featx.store import CacheEntry, dataset_dir, derive_rows, plan_rows
from featx.store.derive import pool

HEIGHT, WIDTH, CHANNELS = 2, 3, 8
SHAPES: dict[str, tuple[int, ...]] = {
    "avg": (CHANNELS,),
    "max": (CHANNELS,),
    "flatten": (HEIGHT, WIDTH, CHANNELS),
    "block:avg": (5,),
}


def fake_key(**changes: Any) -> ExtractionKey:
    fields: dict[str, Any] = {
        "backbone": "mobilenet",
        "params": {"alpha": 0.25},
        "weights": "0" * 64,
        "preprocess": "mobilenet",
        "image": ImageSpec(32, 32),
    }
    return ExtractionKey(**{**fields, **changes})


def digest_of(content: object) -> str:
    return hashlib.sha256(str(content).encode()).hexdigest()


def fake_row(digest: str, tap: str) -> np.ndarray:
    """What the "backbone" gives for the image with this digest: non-negative, half of it zeros."""
    if tap == "block:avg":
        seed = int(digest_of(digest + tap)[:8], 16)
        return np.random.default_rng(seed).random(5, np.float32)
    values = np.random.default_rng(int(digest[:8], 16)).standard_normal((HEIGHT, WIDTH, CHANNELS))
    grid = np.maximum(values, 0).astype(np.float32)
    return grid.reshape(-1) if tap == "flatten" else pool(grid[None], tap)[0]


def fake_rows(digests: Sequence[str], tap: str) -> np.ndarray:
    return np.stack([fake_row(d, tap) for d in digests]) if digests else np.empty((0, 1))


def make_index(files: Mapping[str, object], name: str = "toy", root: str = "/toy") -> DatasetIndex:
    """Index `files` (path "class/name" to content) as a data set with classes "a", "b", "c"."""
    samples = tuple(
        Sample(path, (path.split("/")[0],), "test" if "7" in path else "train", digest_of(content))
        for path, content in sorted(files.items())
    )
    return DatasetIndex(name, root, (("a", "b", "c"),), samples)


def many_files(n: int) -> dict[str, object]:
    return {f"{'abc'[i % 3]}/{i:05d}.jpg": i for i in range(n)}


def extract(
    cache: Path,
    index: DatasetIndex,
    taps: Sequence[str] = ("avg", "flatten"),
    key: ExtractionKey | None = None,
    batch: int = 7,
    bad: Iterable[str] = (),
    publish: bool = True,
    forwarded: list[str] | None = None,
    **options: Any,
) -> CacheEntry:
    """Do what an extraction does: plan, derive, write, publish. `bad` are paths in quarantine."""
    folder = dataset_dir(cache, index.name, index.root, create=True)
    entry = CacheEntry.open(cache, folder, key or fake_key(), create=True)
    out = {s.digest for s in index.samples if s.relpath in set(bad)}
    wanted = [s.digest for s in index.samples if s.digest not in out]
    with entry.claim(wait=True):
        plan = plan_rows(entry.state(), wanted, taps)
        derive_rows(entry, plan.derive, **options)
        by_taps: dict[tuple[str, ...], list[str]] = {}
        for digest, missing in plan.extract.items():
            by_taps.setdefault(missing, []).append(digest)
        for missing, digests in by_taps.items():
            with entry.writer({t: SHAPES[t] for t in missing}, **options) as writer:
                for start in range(0, len(digests), batch):
                    chosen = digests[start : start + batch]
                    writer.append(chosen, {t: fake_rows(chosen, t) for t in missing})
                    if forwarded is not None:
                        forwarded.extend(chosen)
    if publish:
        entry.publish_view(index, taps=taps, quarantined=[(p, "bad") for p in bad])
    return entry


def expected(index: DatasetIndex, tap: str, bad: Iterable[str] = ()) -> np.ndarray:
    out = {s.digest for s in index.samples if s.relpath in set(bad)}
    return fake_rows([s.digest for s in index.samples if s.digest not in out], tap)


def claim_of_another(**changes: object) -> bytes:
    """Return a claim with a token of its own, as of this process but for `changes`."""
    me = this_process()
    fields = {
        "host": me.host,
        "pid": me.pid,
        "start": me.start,
        "machine": me.machine,
        "since": "2026-01-02T03:04:05+00:00",
        "token": "theirs",
    }
    return json.dumps({**fields, **changes}).encode()


def kill_holder(folder: Path) -> None:
    """Have a process take the claim on a folder and SIGKILL itself."""
    script = (
        "import sys, os, signal, pathlib\n"
        "from featx.store import Claim\n"
        "Claim(pathlib.Path(sys.argv[1])).__enter__(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", script, str(folder)], env={**os.environ})
    assert done.returncode == -signal.SIGKILL
