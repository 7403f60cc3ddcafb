"""The real command line, with small parts: `python command.py OPTIONS ARGUMENTS...`.

OPTIONS is JSON: "part_bytes", and "save" for a path to save the OpenVINO graph at.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

if __name__ == "__main__":
    benchmarks = Path(__file__).resolve().parent.parent
    sys.path[:0] = [str(benchmarks), str(benchmarks.parent)]
    from faults.child import Small, featx_main, make_small, save_graph

    options = json.loads(sys.argv.pop(1))
    if "part_bytes" in options:
        make_small(Small(options["part_bytes"]))
    if "save" in options:
        save_graph(Path(options["save"]))
    featx_main()
