"""Real engines that truly run out of memory: in a process of their own whose memory is limited."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

from featx.backend import is_installed

CHILD = """
import json, logging, resource, sys
import numpy as np

engine, size, spare_mib = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
from featx.backbones import parse_backbone, resolve_weights
from featx.engines import ENGINES, choose_engine
import featx.engines.jax, featx.engines.openvino, featx.engines.tensorflow
from featx.records import TapSpec

FREE = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
told = []

def tell(record):
    told.append(record.getMessage())
    resource.setrlimit(resource.RLIMIT_AS, FREE)  # near its limit C++ ends the process

handler = logging.Handler()
handler.emit = tell
logging.getLogger("featx").addHandler(handler)
choose_engine(engine)
spec = parse_backbone("mobilenet(alpha=0.25)", weights="random", image_size=224)
taps = [TapSpec("conv_pw_1_relu", "avg")]  # a graph of few layers compiles quickly

def load(batch_size):
    module = sys.modules[f"featx.engines.{engine}"]
    module.cpu_batch_size = lambda *_: batch_size
    return ENGINES.get(engine).load(spec, resolve_weights(spec), taps, "float32")

pixels = np.random.default_rng(0).integers(0, 256, (size + 3, 224, 224, 3), np.uint8)
wanted = load(8).run(pixels[::64])[taps[0].name]
runner = load(size) if engine != "openvino" else None  # which takes its memory on compiling
held = int(next(l for l in open("/proc/self/status") if l.startswith("VmSize")).split()[1])
resource.setrlimit(resource.RLIMIT_AS, (held * 1024 + (spare_mib << 20), FREE[1]))
runner = runner or load(size)
found = runner.run(pixels)[taps[0].name]
error = float(np.linalg.norm(found[::64] - wanted) / np.linalg.norm(wanted))
print(json.dumps({"size": runner.batch_size, "rows": len(found), "error": error, "told": told}))
"""


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.skipif(sys.platform != "linux", reason="limits memory by what /proc tells")
@pytest.mark.parametrize(
    ("engine", "size", "spare_mib"),
    [("openvino", 512, 450), ("tensorflow", 512, 300), ("jax", 128, 60)],
)
def test_a_batch_too_large_for_the_memory_is_halved(engine: str, size: int, spare_mib: int) -> None:
    if not is_installed(engine):
        pytest.skip(f"{engine} is not installed")
    environment = {k: v for k, v in os.environ.items() if k != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", CHILD, engine, str(size), str(spare_mib)],
        env={**environment, "TF_CPP_MIN_LOG_LEVEL": "3"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    outcome = json.loads(done.stdout.splitlines()[-1])
    assert outcome["told"][0].endswith(
        f"no memory for {size} images at once; going on with {size // 2}"
    )
    assert outcome["size"] == size >> len(outcome["told"])
    assert outcome["rows"] == size + 3
    assert outcome["error"] < 1e-5
