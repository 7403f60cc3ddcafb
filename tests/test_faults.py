"""The fault campaign of benchmarks/, in short; and that it sees faults where featx is broken."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parent.parent
BENCHMARKS = REPO / "benchmarks"

BROKEN = """
import os, sys
os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1")
sys.path[:0] = [sys.argv[1], sys.argv[2]]
import json, pathlib
import featx.store.entry, featx.store.sealed
from faults.campaign import run_campaign
{sabotage}
document = run_campaign(pathlib.Path(sys.argv[3]), {faults}, 0, each=6, only=[{stage!r}])
print(json.dumps(document["total"]))
"""


@pytest.mark.slow
@pytest.mark.shared
def test_no_fault_loses_a_row_or_goes_undetected(shared: Path, tmp_path: Path) -> None:
    command = [sys.executable, str(BENCHMARKS / "bench_faults.py"), "--faults", "30"]
    command += ["--each", "6", "--seed", "1", "--out", str(tmp_path), "--dir", str(tmp_path)]
    environment = {**os.environ, "FEATX_SHARED": str(shared)}
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=280, check=False, env=environment
    )
    assert (tmp_path / "faults.json").exists(), done.stderr[-3000:]
    document = json.loads((tmp_path / "faults.json").read_text())
    total = document["total"]
    assert (total["rows_lost"], total["undetected"]) == (0, 0), done.stdout
    assert total["recovered"] == total["faults"], done.stdout
    assert total["faults"] >= 30 - len(document["skipped"])
    assert set(document["skipped"]) <= {
        "disk full",
        "disk full, data set edited",
        "disk turned read-only",
        "out of memory, killed by the kernel",
    }
    assert done.returncode == 0
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith("featx-faults")] == []
    assert str(tmp_path) not in (tmp_path / "faults.md").read_text()


@pytest.mark.slow
@pytest.mark.shared
@pytest.mark.parametrize(
    ("sabotage", "stage", "faults", "count"),
    [
        (  # every checksum fits, but for those of trailers
            "real = featx.store.sealed.checksum\n"
            "for name, module in list(sys.modules.items()):\n"
            "    if name.startswith('featx.store.') and hasattr(module, 'checksum'):\n"
            "        module.checksum = lambda b: real(b) if b'\"kind\"' in bytes(b) else 0\n",
            "stand-in engine: bytes flipped",
            12,
            "undetected",
        ),
        (  # every run begins by taking the newest part away
            "E = featx.store.entry.CacheEntry\n"
            "real = E.open.__func__\n"
            "def forget(cls, *args, **options):\n"
            "    entry = real(cls, *args, **options)\n"
            "    [path.unlink() for path in entry.part_paths()[-1:]]\n"
            "    return entry\n"
            "E.open = classmethod(forget)\n",
            "stand-in engine: SIGKILL",
            6,
            "rows_lost",
        ),
    ],
    ids=["blind", "forgetful"],
)
def test_a_broken_cache_is_seen(
    shared: Path, sabotage: str, stage: str, faults: int, count: str
) -> None:
    script = BROKEN.format(sabotage=sabotage, faults=faults, stage=stage)
    done = subprocess.run(
        [sys.executable, "-c", script, str(BENCHMARKS), str(REPO / "tests"), str(shared)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)[count] > 0


INTERRUPTED = """
import os, signal, sys, threading, time
from pathlib import Path
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[1])
photos = Path(sys.argv[2])

import fakes
from featx.datasets import index_dataset
from featx.extraction.pipeline import Job, run_jobs
from featx.records import BackboneSpec, ImageSpec, TapSpec, WeightsRecord

image = ImageSpec(32, 32)
spec = BackboneSpec("mobilenet", {}, "random", "mobilenet", image)
weights = WeightsRecord("random", "random-0")
runner = fakes.ProjectionEngine().load(spec, weights, [TapSpec.parse("avg")], "float32")
index = index_dataset(photos, work_dir=photos.parent / "work")
paths = {s.digest: str(photos / s.relpath) for s in index.samples[:4]}
begun, ended = threading.Event(), threading.Event()

def sink(digests, rows):
    begun.set()
    time.sleep(1.0)
    ended.set()

def interrupt():
    begun.wait(30)
    time.sleep(0.3)  # by now the main thread has nothing to do but wait
    os.kill(os.getpid(), signal.SIGINT)

threading.Thread(target=interrupt).start()
try:
    run_jobs([Job(image, runner, set(paths), sink)], paths)
except KeyboardInterrupt:
    print("written" if ended.is_set() else "still writing")
"""


def test_a_signal_waits_for_the_batch_that_is_being_written(photos: Path) -> None:
    """Rows written by a thread that nobody waits for go out twice, or not at all."""
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED, str(REPO / "tests"), str(photos)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.stdout == "written\n", done.stderr[-3000:]
