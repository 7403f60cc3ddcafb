"""An extraction step by step: add backbones, compute what the cache lacks, publish, report."""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import platform
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featx import __version__
from featx.backbones import resolve_weights
from featx.columns import Digests, Finder
from featx.datasets.decode import read_image
from featx.engines import Runner, choose_engine
from featx.errors import (
    CacheWriteError,
    DatasetError,
    EngineError,
    ImageError,
    SpecError,
)
from featx.extraction.estimate import measure
from featx.extraction.loaded import Loader, load_runner
from featx.extraction.pipeline import Job, PassOutcome, Sink, run_jobs
from featx.extraction.planning import Wanted, hash_seconds, plan_needs
from featx.extraction.report import ExtractReport
from featx.extraction.request import make_key
from featx.extraction.target import Target
from featx.memory import peak_memory
from featx.progress import Bars
from featx.records import BackboneSpec, DatasetIndex, ExtractionKey, Samples, TapSpec
from featx.store import (
    CacheEntry,
    EntryState,
    RowPlan,
    about_view,
    dataset_dir,
    derive_rows,
    entry_name,
    plan_rows,
)

if TYPE_CHECKING:
    from featx.cluster import Room
    from featx.extraction.dispatch import Graphs
    from featx.extraction.work import Work

log = logging.getLogger("featx")

SPARE_BYTES = 64 << 20
"""What an extraction leaves free on the disk."""
MOST_SAVED = 4
"""Compressed rows may take this many times less: a plan stops only where even that is too much."""


@dataclass
class Extraction:
    """One call of `featx.extract`.

    Attributes
    ----------
    index : DatasetIndex
    source : str
        What the data set was asked for as; remembered in the cache.
    taps : tuple of TapSpec
        Wanted of every backbone.
    cache_dir : Path
    engine, precision, stored : str
        As asked for.
    compression : str or None
        "none" or "blosc2"; None goes on as the entry's parts are.
    bars : Bars
    load : callable
        What compiles a graph: `featx.extraction.loaded.load_runner`, or `keep_runner`.
    cluster : str or None
        Compute on the workers of this cluster (`featx.cluster.connect`).
    """

    index: DatasetIndex
    source: str
    taps: tuple[TapSpec, ...]
    cache_dir: Path
    engine: str
    precision: str
    stored: str
    compression: str | None
    bars: Bars
    load: Loader = load_runner
    cluster: str | None = None
    targets: list[Target] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"decode": 0.0, "forward": 0.0, "write": 0.0}
    )

    def __post_init__(self) -> None:
        self._folder = dataset_dir(self.cache_dir, self.index.name, self.index.root)
        self._forwarded: set[str] = set()
        self._engine_used = ""

    def add(self, spec: BackboneSpec, *, create: bool) -> None:
        """Add a backbone: find its weights and its entry, and plan."""
        weights = resolve_weights(spec)
        key = make_key(spec, weights, self.precision, self.stored)
        if any(t.key == key for t in self.targets):
            raise SpecError(f"The backbone {spec.text} with the same weights is asked for twice.")
        path = self._folder / entry_name(key)
        entry = self._open(key, create=create) if create or path.is_dir() else None
        self.targets.append(
            Target(spec, weights, key, path, entry, self._plan(entry), about_view(path))
        )

    def _open(self, key: ExtractionKey, *, create: bool) -> CacheEntry:
        if create:  # notes whose folder it is: another data set may have the same name
            dataset_dir(self.cache_dir, self.index.name, self.index.root, create=True)
        return CacheEntry.open(self.cache_dir, self._folder, key, create=create)

    def _plan(self, entry: CacheEntry | None) -> RowPlan:
        """Plan rows; images that must be extracted give every tap that the entry has."""
        state = entry.state() if entry else EntryState()
        wanted = [t.name for t in self.taps]
        return plan_rows(state, self.index.samples.digests, wanted, also=state.rows)

    def compute(self, strict: bool) -> None:
        """Compute the rows that are missing; what was computed is kept whatever happens."""
        with ExitStack() as stack:
            # In one order everywhere, so that two runs never wait for each other.
            for target in sorted(self.targets, key=lambda t: t.path):
                if not (target.plan.extract or target.plan.derive):
                    continue
                claim = stack.enter_context(target.cache.claim(wait=True, notify=log.warning))
                target.token = claim.token
                # Others may have done some of it meanwhile, or removed the entry from a bucket.
                self._open(target.key, create=True)
                target.plan = self._plan(target.entry)
                derive_rows(target.cache, target.plan.derive, compression=self._compression(target))
            self._set_bad_aside(strict)
            todo = [t for t in self.targets if t.plan.extract]
            if todo:
                self._forward(todo, strict)

    def _set_bad_aside(self, strict: bool) -> None:
        """Take the images that were bad last time, and still are, out of the plans.

        Engines take seconds to load; a run with nothing but an old bad image to do needs none.
        """
        for target in self.targets:
            before = {path for path, _ in target.before.quarantined} if target.before else set()
            for sample in self.index.samples if before else ():
                if sample.relpath in before and sample.digest in target.plan.extract:
                    try:
                        path = os.path.join(self.index.root, sample.relpath)
                        read_image(path, target.spec.image)
                    except ImageError as error:
                        if strict:
                            raise
                        self.bad[sample.digest] = error.reason
            good = target.plan.extract.without(self.bad)
            target.plan = dataclasses.replace(target.plan, extract=good)

    def _forward(self, todo: Sequence[Target], strict: bool) -> None:
        paths = self._paths_of(todo)
        started = time.perf_counter()
        outcome = (self._run_there if self.cluster else self._run_here)(todo, paths, strict)
        elapsed = time.perf_counter() - started
        self.bad.update(outcome.bad)
        self._forwarded |= paths.keys() - outcome.bad.keys()
        self.seconds["decode"] += outcome.decode_seconds
        self.seconds["forward"] += sum(outcome.forward_seconds)
        self.seconds["write"] += sum(outcome.write_seconds)
        # The clock's time is shared out by what each backbone kept the machine busy with.
        busy = [f + w for f, w in zip(outcome.forward_seconds, outcome.write_seconds, strict=True)]
        for target, part in zip(todo, busy, strict=True):
            target.seconds = elapsed * part / (sum(busy) or 1.0)

    def _run_here(
        self, todo: Sequence[Target], paths: Mapping[str, str], strict: bool
    ) -> PassOutcome:
        """Compute the rows in this process."""
        runners = self._load(todo)
        self._require_space({t.path: runners[t.path].taps for t in todo})
        with ExitStack() as stack:
            jobs = [_job(t, runners, self._sink(t, runners[t.path], stack)) for t in todo]
            return run_jobs(jobs, paths, strict=strict, on_rows=self._counter(todo))

    def _run_there(
        self, todo: Sequence[Target], paths: Mapping[str, str], strict: bool
    ) -> PassOutcome:
        """Compute the rows on the cluster's workers; no graph is compiled here."""
        from featx.cluster import connect, find_room, prepare
        from featx.extraction.dispatch import Graphs, spread_work

        assert self.cluster
        with ExitStack() as stack:
            # Before Ray is imported, which keeps this process busy.
            openvino = choose_engine(self.engine)[0] == "openvino"
            graphs = Graphs(todo if openvino else (), stack)
            prepare(self.cluster)
            stack.enter_context(connect(self.cluster))
            room = find_room(use_gpus=self.engine != "openvino")
            work = self._work(todo, room, graphs)
            self.bars("load on the workers", 0, 0)
            return spread_work(
                work,
                [target.plan.extract for target in todo],
                paths,
                room,
                strict=strict,
                on_shapes=lambda shapes: self._require_space(
                    {t.path: s for t, s in zip(todo, shapes, strict=True)}
                ),
                on_rows=self._counter(todo),
            )

    def _work(self, todo: Sequence[Target], room: Room, graphs: Graphs) -> Work:
        """Return what the workers are told."""
        from featx.extraction.dispatch import make_share, new_run
        from featx.extraction.work import Work

        self._choose(todo, gpus=room.gpus)
        shares = [
            make_share(
                target,
                compression=self._compression(target),
                provenance=self._provenance(target),
                graph=graphs.take() if self._engine_used == "openvino" else None,
            )
            for target in todo
        ]
        return Work(
            new_run(), tuple(shares), self._engine_used, self.precision, room.cores, room.gpus > 0
        )

    def _counter(self, todo: Sequence[Target]) -> Callable[[int], None]:
        """Return what shows that so many rows more are done."""
        total = sum(len(t.plan.extract) for t in todo)
        return lambda n: self.bars.add("extract", n, total)

    def _choose(self, todo: Sequence[Target], gpus: int = 0) -> None:
        """Choose the engine, for a cluster by what its workers have."""
        asked = "tensorflow" if gpus and self.engine == "auto" else self.engine
        name, reason = choose_engine(asked)
        log.info("engine %s: %s", name, reason)
        self._engine_used = name
        for target in todo:
            self._require_same_engine(target, name)

    def _load(self, todo: Sequence[Target]) -> dict[Path, Runner]:
        """Choose the engine and compile the graphs; by the path of the target."""
        self._choose(todo)
        runners: dict[Path, Runner] = {}
        for target in todo:
            taps = [TapSpec.parse(t) for t in target.plan.extract_taps]
            self.bars(f"load {target.spec.text}", 0, 0)
            runners[target.path] = self.load(
                self._engine_used, target.spec, target.weights, taps, self.precision
            )
        return runners

    def _require_same_engine(self, target: Target, name: str) -> None:
        """Raise where the entry has rows of an engine whose values differ.

        At float32 engines agree; below it each rounds in its own way.
        """
        if self.precision == "float32" or target.entry is None:
            return
        others = {str(p.get("engine", "")) for p in target.entry.provenances()} - {"", name}
        if others:
            raise EngineError(
                f"{target.path} has {self.precision} features made by {', '.join(sorted(others))}, "
                f"and those of {name} would differ from them. Use --engine {min(others)}, "
                "--precision float32, or another --cache-dir."
            )

    def _paths_of(self, todo: Sequence[Target]) -> dict[str, str]:
        """Return the files to read, by digest, in the order of the index."""
        samples = self.index.samples
        finder = Finder(samples.digests)
        rows = [finder.find(t.plan.extract.digests) for t in todo]
        chosen = samples.take(np.unique(np.concatenate([np.zeros(0, np.int64), *rows])))
        paths = (os.path.join(self.index.root, relpath) for relpath in chosen.relpaths)
        return dict(zip(chosen.digests, paths, strict=True))

    def _compression(self, target: Target) -> str:
        return self.compression or target.cache.state().compression

    def _sink(self, target: Target, runner: Runner, stack: ExitStack) -> Sink:
        """Return what writes a batch: each row with the taps that it lacks."""
        wanted = dict(target.plan.extract.items())
        writers = {
            taps: stack.enter_context(
                target.cache.writer(
                    {tap: runner.taps[tap] for tap in taps},
                    provenance=self._provenance(target),
                    compression=self._compression(target),
                )
            )
            for taps in target.plan.extract.counts()
        }

        def write(digests: Sequence[str], rows: Mapping[str, np.ndarray]) -> None:
            for taps, writer in writers.items():
                mine = [i for i, digest in enumerate(digests) if wanted[digest] == taps]
                if len(mine) == len(digests):
                    writer.append(digests, {tap: rows[tap] for tap in taps})
                elif mine:
                    writer.append([digests[i] for i in mine], {t: rows[t][mine] for t in taps})

        return write

    def publish(self) -> None:
        """Make the view of every entry; readers of an earlier one keep it."""
        left_out = [(s.relpath, self.bad[s.digest]) for s in self._left_out()]
        if len(left_out) == len(self.index.samples):
            path, reason = left_out[0]
            raise DatasetError(
                f"None of the {len(left_out)} images of {self.index.name} can be used. "
                f"The first, {path!r}: {reason}."
            )
        for target in self.targets:
            target.cache.publish_view(
                self.index, quarantined=left_out, provenance=self._provenance(target)
            )

    def _left_out(self) -> Samples:
        """Return the samples whose image is bad."""
        samples = self.index.samples
        bad = Finder(Digests.of(self.bad)).find(samples.digests) >= 0
        return samples.take(np.flatnonzero(bad))

    def report(self, total_seconds: float) -> ExtractReport:
        """Return what was done, or where nothing was published, what would be."""
        quarantined = self._left_out()
        reasons = [(s.relpath, self.bad[s.digest]) for s in quarantined]
        good = len(self.index.samples.digests.distinct()) - len(quarantined.digests.distinct())
        duplicates = len(self.index.samples) - len(quarantined) - good
        extracted = len(self._forwarded - self.bad.keys())
        return ExtractReport(
            dataset=self.index.name,
            images=len(self.index.samples) + len(self.index.unreadable),
            extracted=extracted,
            reused=good - extracted,
            duplicates=duplicates,
            quarantined=tuple([*reasons, *self.index.unreadable]),
            caches=tuple(t.about() for t in self.targets),
            seconds={"total": total_seconds, **self.seconds},
            engine=self._engine_used,
            precision=self.precision,
        )

    def plan_report(
        self, total_seconds: float, *, images: int | None = None, deadline: float | None = None
    ) -> ExtractReport:
        """Return what `compute` would do; a few images are run to tell how long that takes.

        Parameters
        ----------
        total_seconds : float
            Spent so far.
        images : int, optional
            Plan for so many images like these, none of them known, instead of these.
        deadline : float, optional
            Seconds to be done in: the workers that this takes are counted.
        """
        if images:  # as if nothing were cached
            for target in self.targets:
                target.plan = self._plan(None)
        todo = [t for t in self.targets if t.plan.extract]
        started = time.perf_counter()
        runners = self._load(todo) if todo else {}
        load_seconds = time.perf_counter() - started
        paths = self._paths_of(todo)
        jobs = [_job(t, runners, lambda names, rows: None) for t in todo]
        self.bars("try a few images", 0, 0)
        seconds = measure(jobs, paths)
        self._forwarded = set(paths)
        wanted = [
            Wanted(len(t.plan.extract), self._bytes(t, runners[t.path].taps)).scaled(images)
            for t in todo
        ]
        needs = plan_needs(
            wanted,
            images=images or len(self.index.samples),
            image_seconds=seconds,
            forward_images=images or len(paths),
            start_seconds=load_seconds,
            hash_seconds=hash_seconds(list(paths.values())) if images else 0.0,
            deadline=deadline,
        )
        needs["free_bytes"] = disk_free(self._folder)
        needs["memory_bytes"] += peak_memory()
        if images:
            needs["images"] = images
        report = self.report(total_seconds)
        return dataclasses.replace(report, needs=needs)

    def _bytes(self, target: Target, shapes: Mapping[str, Sequence[int]]) -> int:
        values = sum(
            count * math.prod(shapes[t])
            for taps, count in target.plan.extract.counts().items()
            for t in taps
        )
        return values * np.dtype(self.stored).itemsize

    def _require_space(self, shapes: Mapping[Path, Mapping[str, Sequence[int]]]) -> None:
        need = sum(self._bytes(t, shapes[t.path]) for t in self.targets if t.path in shapes)
        least = need // MOST_SAVED if self.compression == "blosc2" else need
        free = disk_free(self._folder)
        if least + SPARE_BYTES > free:
            raise CacheWriteError(
                f"The features need {need / 1e9:.2f} GB and {self._folder} has {free / 1e9:.2f} GB "
                "free. Free some space, choose another --cache-dir, or take fewer taps "
                "(avg is far smaller than flatten)."
            )

    def _provenance(self, target: Target) -> dict[str, Any]:
        before = target.before.provenance if target.before else {}
        return {
            "source": self.source,
            "backbone": target.label,
            "weights": os.path.abspath(target.weights.path) if target.weights.path else "",
            "weights_kind": target.weights.kind,
            "engine": self._engine_used or before.get("engine", ""),
            "featx": __version__,
            "python": platform.python_version(),
            "extract_seconds": before.get("extract_seconds", 0.0) + target.seconds,
        }


def _job(target: Target, runners: Mapping[Path, Runner], sink: Sink) -> Job:
    return Job(target.spec.image, runners[target.path], set(target.plan.extract), sink)


def disk_free(folder: Path) -> int:
    """Return the bytes free where `folder` is or will be."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    return shutil.disk_usage(there).free
