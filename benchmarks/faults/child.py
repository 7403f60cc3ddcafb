"""The real `featx` command in a process forked from one that has imported everything already.

Nothing of featx is replaced but for three things: parts are closed after a few rows, so that there
are many; the OpenVINO graph is read from the file that the real engine's graph was saved to, which
spares the seconds that Keras takes; and what is computed is written to a log, which outlives
a kill.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import featx.engines.openvino
import featx.store.entry
import featx.store.writer
from faults.trap import Trap
from featx.cli import main as featx_main
from featx.engines.openvino import Requests
from featx.engines.openvino_graph import OpenVinoGraph
from featx.extraction import steps
from featx.records import BackboneSpec, TapSpec, WeightsRecord


@dataclass(frozen=True)
class Small:
    """What is made smaller than it is in life.

    Attributes
    ----------
    part_bytes : int
        Of rows in a part.
    many_small : int
        Small parts that an entry may have before they are merged.
    """

    part_bytes: int
    many_small: int = 64


@dataclass
class Log:
    """What a child wrote down before it ended."""

    forward: set[str] = field(default_factory=set)
    derive: dict[str, set[str]] = field(default_factory=dict)
    appended: int = 0
    calls: int = 0
    sprung: bool = False

    @classmethod
    def read(cls, path: Path) -> Log:
        log = cls()
        for line in path.read_bytes().splitlines():
            for what, value in json.loads(line).items():
                if what == "forward":
                    log.forward |= set(value)
                elif what == "derive":
                    for tap, digests in value.items():
                        log.derive.setdefault(tap, set()).update(digests)
                elif what == "appended":
                    log.appended += value
                elif what == "calls":
                    log.calls = value
                else:
                    log.sprung = True
        return log


def fork_featx(
    arguments: Sequence[str],
    output: Path,
    small: Small,
    graph: Path,
    *,
    trap: Trap | None = None,
    join: Path | None = None,
) -> int:
    """Start `featx ARGUMENTS` in a forked process and return its number.

    Parameters
    ----------
    arguments : sequence of str
    output : Path
        Its stdout goes to `output`.out, stderr to .err, the log to .log.
    small : Small
    graph : Path
        The saved OpenVINO graph.
    trap : Trap, optional
    join : Path, optional
        The cgroup.procs file of a control group to enter.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    for suffix in (".out", ".err", ".log"):
        Path(f"{output}{suffix}").write_bytes(b"")  # a child may be killed before it gets there
    signals = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)  # until featx itself has begun
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        return pid
    status = 70
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number, suffix in ((1, ".out"), (2, ".err")):
            os.dup2(os.open(f"{output}{suffix}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
        log = os.open(f"{output}.log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND)

        def tell(what: dict[str, Any]) -> None:
            os.write(log, json.dumps(what).encode() + b"\n")

        make_small(small)
        read_saved_graph(graph)
        watch(tell)
        if join:
            join.write_text(str(os.getpid()))
        calls = trap.arm(tell) if trap else None
        sys.argv = ["featx", *arguments]
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
        try:
            featx_main()
        except SystemExit as stop:
            status = stop.code if isinstance(stop.code, int) else 1
        if calls:
            tell({"calls": calls()})
    except BaseException:  # noqa: BLE001 - whatever escapes featx's own boundary is shown
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


def make_small(small: Small) -> None:
    """Change the defaults of the public writer options, in this process."""
    featx.store.entry.CacheEntry.writer.__kwdefaults__["part_bytes"] = small.part_bytes
    featx.store.writer.PartWriter.__init__.__kwdefaults__["part_bytes"] = small.part_bytes
    featx.store.entry.MANY_SMALL = small.many_small


def save_graph(path: Path) -> None:
    """Make the real engine save the graph that it has made; for the reference run."""
    real = featx.engines.openvino.make_graph

    def make(spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec]) -> OpenVinoGraph:
        graph = real(spec, weights, taps)
        path.write_bytes(graph.xml)
        path.with_suffix(".bin").write_bytes(graph.weights)
        path.with_suffix(".json").write_text(json.dumps(graph.shapes))
        return graph

    featx.engines.openvino.make_graph = make


def read_saved_graph(path: Path) -> None:
    """Make the engine read the saved graph, and give the taps asked for."""
    real = Requests.collect

    def make(spec: BackboneSpec, weights: WeightsRecord, taps: Sequence[TapSpec]) -> OpenVinoGraph:
        shapes = json.loads(path.with_suffix(".json").read_text())
        wanted = [list(shapes).index(tap.name) for tap in taps]

        def collect(requests: Requests, request: Any) -> list[Any]:
            rows = real(requests, request)
            return [rows[i] for i in wanted]

        # The others are computed too: OpenVINO gives a tap that is alone other last bits.
        Requests.collect = collect
        return OpenVinoGraph(
            path.read_bytes(),
            path.with_suffix(".bin").read_bytes(),
            {tap.name: tuple(shapes[tap.name]) for tap in taps},
        )

    featx.engines.openvino.make_graph = make


def watch(tell: Any) -> None:
    """Log what is about to be computed, and what reaches the cache's writer."""
    run_jobs, derive_rows = steps.run_jobs, steps.derive_rows
    append = featx.store.writer.PartWriter.append
    forwarding = False

    def run(jobs: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal forwarding
        tell({"forward": sorted({digest for job in jobs for digest in job.digests})})
        forwarding = True
        try:
            return run_jobs(jobs, *args, **kwargs)
        finally:
            forwarding = False

    def derive(entry: Any, wanted: Mapping[str, Sequence[str]], **options: Any) -> int:
        if wanted:
            tell({"derive": {tap: list(digests) for tap, digests in wanted.items()}})
        return derive_rows(entry, wanted, **options)

    def note(writer: Any, digests: Sequence[str], rows: Any) -> None:
        if forwarding:
            tell({"appended": len(digests)})
        append(writer, digests, rows)

    steps.run_jobs, steps.derive_rows = run, derive
    featx.store.writer.PartWriter.append = note
