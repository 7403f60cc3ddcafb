"""A local cluster of nodes of one core against one process with the same cores, end to end.

    python benchmarks/bench_cluster.py --data photos --weights mobilenet.weights.h5
    python benchmarks/bench_cluster.py --rounds 5 --times 4

Both are the command `featx extract` in a process of its own, into an empty cache, in turn: first
one, then the other, the other way round in the next round. What is counted is the time from the
start of the command to its end: Python and its imports, indexing, starting workers and compiling
graphs there, decode, forward, writing, and the view. The cluster itself runs already, as clusters
do; its start is told beside. Its workers have the niceness of any process, where Ray by default
lets others go first. Medians over the rounds are told, and the overhead is the median of
the rounds' own, of the cluster's time over one process's.

Starting takes the cluster longer, once a run, whatever its length: --times 4 runs four times as
many photos (copies that differ in a byte after their end), which tells the one from the other.

Without --data, photos and weights come from $FEATX_SHARED, else from ../shared beside the checkout.
Results go to benchmarks/results/cluster.json and .md, of --times 4 to cluster-times-4.json and .md.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "tests")]

from machine import describe_machine  # noqa: E402
from ray_nodes import ray_nodes  # noqa: E402

PACKAGES = ("ray", "keras", "tensorflow", "openvino", "numpy", "pillow")


def extract(args: argparse.Namespace, cache: Path, env: dict[str, str], *more: str) -> Any:
    """Run the command; return its report with the seconds on the clock, and to the first rows."""
    command = [sys.executable, "-m", "featx", "extract", str(args.data), "--cache-dir", str(cache)]
    command += [
        "--backbone",
        args.backbone,
        "--weights",
        str(args.weights),
        "--engine",
        args.engine,
    ]
    command += ["--precision", args.precision, "--json", "--quiet", *more]
    started, first = time.perf_counter(), 0.0
    with tempfile.TemporaryFile("w+") as out:
        run = subprocess.Popen(command, env=env, stdout=out)
        while run.poll() is None:
            if not first and next(cache.glob("*/*/parts/[!.]*.h5"), None):
                first = time.perf_counter() - started
            time.sleep(0.02)
        seconds = time.perf_counter() - started
        if run.returncode:
            raise SystemExit(f"{' '.join(command)} failed")
        out.seek(0)
        return json.load(out) | {"clock": seconds, "first": first}


def multiply(photos: Path, times: int, folder: Path) -> Path:
    """Return a folder with every photo `times` times, each with other bytes."""
    for path in sorted(p for p in photos.rglob("*") if p.is_file()):
        target = folder / path.relative_to(photos)
        target.parent.mkdir(parents=True, exist_ok=True)
        data = path.read_bytes()
        for number in range(times):
            copy = target.with_stem(f"{target.stem}-{number}")
            copy.write_bytes(data + bytes([number]) * (number > 0))
    return folder


def measure(args: argparse.Namespace, folder: Path) -> dict[str, Any]:
    rounds: list[dict[str, Any]] = []
    started = time.perf_counter()
    with ray_nodes(*[1] * args.nodes) as nodes:
        start_seconds = time.perf_counter() - started
        contestants = {
            "one process": (dict(os.environ), ()),
            "cluster": (nodes.env, ("--cluster", "auto")),
        }
        for number in range(-args.warm_up, args.rounds):
            names = list(contestants)[:: -1 if number % 2 else 1]
            took = {}
            for name in names:
                env, more = contestants[name]
                took[name] = extract(args, folder / f"{number}-{name}", env, *more)
            seconds = {name: round(report["clock"], 2) for name, report in took.items()}
            print(f"round {number}: {seconds}", file=sys.stderr)
            if number >= 0:
                rounds.append(took)
    ratios = [took["cluster"]["clock"] / took["one process"]["clock"] for took in rounds]
    rows = []
    for name in contestants:
        reports = [took[name] for took in rounds]
        clock = [report["clock"] for report in reports]
        images = reports[0]["extracted"]
        rows.append(
            {
                "contestant": name,
                "seconds": statistics.median(clock),
                "from": min(clock),
                "to": max(clock),
                "images": images,
                "images/s": images / statistics.median(clock),
                "first part after s": statistics.median(r["first"] for r in reports),
            }
        )
    return {
        "nodes": args.nodes,
        "rounds": args.rounds,
        "overhead_percent": 100 * (statistics.median(ratios) - 1),
        "overheads_percent": [100 * (ratio - 1) for ratio in ratios],
        "cluster_start_seconds": start_seconds,
        "rows": rows,
    }


def markdown(document: dict[str, Any]) -> str:
    about = (__doc__ or "").split("\n\n")[2]
    lines = ["# A cluster against one process", "", about, ""]
    lines += [f"- {name}: {value}" for name, value in document["machine"].items()]
    columns = list(document["rows"][0])
    lines += ["", "| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in document["rows"]:
        lines.append("| " + " | ".join(_cell(value) for value in row.values()) + " |")
    each = ", ".join(f"{percent:.1f}" for percent in document["overheads_percent"])
    lines += [
        "",
        f"{document['nodes']} nodes of one core; {document['backbone']} in "
        f"{document['precision']} on {document['engine']}. Overhead "
        f"{document['overhead_percent']:.1f}% (rounds: {each}). Starting the cluster, not counted: "
        f"{document['cluster_start_seconds']:.1f} s.",
        "",
    ]
    return "\n".join(lines)


def _cell(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def main() -> None:
    shared = Path(os.environ.get("FEATX_SHARED") or HERE.parent.parent / "shared")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=shared / "datasets" / "trashnet")
    parser.add_argument(
        "--weights", default=str(shared / "weights" / "mobilenet_1.0_224_qat8_notop.weights.h5")
    )
    parser.add_argument("--backbone", default="mobilenet")
    parser.add_argument("--engine", default="openvino")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--nodes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--times", type=int, default=1, help="as many photos (1)")
    parser.add_argument("--warm-up", type=int, default=1, help="rounds that do not count (1)")
    parser.add_argument("--out", type=Path, default=HERE / "results", help="folder of the results")
    args = parser.parse_args()
    if not args.data.is_dir():
        parser.error(f"no photos at {args.data} (set FEATX_SHARED, or give --data and --weights)")
    args.out.mkdir(parents=True, exist_ok=True)
    document: dict[str, Any] = {
        "machine": describe_machine(*PACKAGES),
        "backbone": args.backbone,
        "engine": args.engine,
        "precision": args.precision,
    }
    with tempfile.TemporaryDirectory() as folder:
        if args.times > 1:
            args.data = multiply(args.data, args.times, Path(folder) / "photos")
        document |= measure(args, Path(folder))
    name = "cluster" if args.times == 1 else f"cluster-times-{args.times}"
    (args.out / f"{name}.json").write_text(json.dumps(document, indent=1) + "\n")
    (args.out / f"{name}.md").write_text(markdown(document))
    print(markdown(document))


if __name__ == "__main__":
    main()
