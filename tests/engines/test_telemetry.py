"""An engine that is loaded sends nothing anywhere, nor does the process that builds its graph."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Python runs it at the start of every process, before anything else.
AUDIT = """
import os, sys

def tell(*what):
    with open(os.environ["AUDIT_LOG"], "a") as file:
        print(*what, file=file)

def audit(event, arguments):
    if event == "subprocess.Popen":
        tell("starts", os.fspath(arguments[0]))
    elif event in ("os.fork", "os.forkpty", "os.posix_spawn", "os.exec", "os.system",
                   "socket.connect", "socket.getaddrinfo"):
        tell(event, arguments)

tell("began")
sys.addaudithook(audit)
"""

# h5py asks for the processor when it is imported.
HARMLESS = ("starts uname",)

LOAD = """
from featx.backbones import parse_backbone, resolve_weights
from featx.engines import ENGINES
from featx.records import TapSpec

spec = parse_backbone("mobilenet(alpha=0.25)", weights="random", image_size=32)
ENGINES.get("openvino").load(spec, resolve_weights(spec), [TapSpec.parse("avg")], "float32")
print("loaded")
"""


@pytest.mark.slow
def test_openvino_is_loaded_without_a_word_to_anyone(tmp_path: Path) -> None:
    hooks, log = tmp_path / "hooks", tmp_path / "log"
    hooks.mkdir()
    (hooks / "sitecustomize.py").write_text(AUDIT)
    environment = {k: v for k, v in os.environ.items() if k != "CI"}  # there it would keep still
    path = os.pathsep.join(filter(None, [str(hooks), os.environ.get("PYTHONPATH")]))
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**environment, "PYTHONPATH": path, "AUDIT_LOG": str(log)},
    )
    assert done.stdout == "loaded\n", done.stderr[-3000:]
    # The process itself, and the one that it starts to build the graph; no more, and no network.
    seen = [line for line in log.read_text().splitlines() if line not in HARMLESS]
    assert seen == ["began", f"starts {sys.executable}", "began"]
