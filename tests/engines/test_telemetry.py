"""An engine that is loaded sends nothing anywhere."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

LOAD = """
import sys

def audit(event, arguments):
    if event in ("os.fork", "os.posix_spawn", "socket.connect", "socket.getaddrinfo"):
        print(event, arguments)

sys.addaudithook(audit)

from featx.backbones import parse_backbone, resolve_weights
from featx.engines import ENGINES
from featx.records import TapSpec

spec = parse_backbone("mobilenet(alpha=0.25)", weights="random", image_size=32)
ENGINES.get("openvino").load(spec, resolve_weights(spec), [TapSpec.parse("avg")], "float32")
print("loaded")
"""


@pytest.mark.slow
def test_openvino_is_loaded_without_a_word_to_anyone() -> None:
    environment = {k: v for k, v in os.environ.items() if k != "CI"}  # there it would keep still
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env=environment,
    )
    assert done.stdout == "loaded\n", done.stderr[-3000:]
