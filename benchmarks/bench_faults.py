"""Kills, flipped bytes, full disks and more, for real, against a cache of real features.

    python benchmarks/bench_faults.py [--faults 700] [--seed 0] [--stage TEXT ...]

Real trashnet photos and MobileNet 0.25 weights come from $FEATX_SHARED, else from ../shared beside
the checkout. The first process imports everything once; every fault is then a forked process that
runs the real `featx` command. Prints a table and writes it to benchmarks/results/faults.{md,json}.
Exits 1 where a row was lost, damage went undetected or a run did not recover.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faults", type=int, default=700)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=16, help="photos a class")
    parser.add_argument("--stage", nargs="+", default=[""], help="only stages whose name has TEXT")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    parser.add_argument("--dir", type=Path, help="where to work (default: the temporary folder)")
    args = parser.parse_args()
    shared = Path(os.environ.get("FEATX_SHARED") or HERE.parent.parent / "shared")
    if not (shared / "weights").is_dir():
        parser.error(f"no real weights and photos at {shared} (set FEATX_SHARED)")

    # Before numpy is imported: no thread may run in a process that is going to fork.
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", TF_CPP_MIN_LOG_LEVEL="3")
    sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "tests")]
    from faults.campaign import run_campaign
    from faults.report import as_text, write

    document = run_campaign(
        shared, args.faults, args.seed, each=args.each, only=args.stage, where=args.dir
    )
    write(document, args.out)
    print(as_text(document))
    total = document["total"]
    sound = total["recovered"] == total["faults"]
    return 0 if sound and not total["rows_lost"] and not total["undetected"] else 1


if __name__ == "__main__":
    sys.exit(main())
