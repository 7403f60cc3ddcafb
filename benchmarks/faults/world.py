"""Photos, reference and prepared caches, and starting featx on them."""

from __future__ import annotations

import ctypes
import gc
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from faults.audit import Reference, entry_of
from faults.child import Log, Small, fork_featx
from faults.trap import Trap, remount

BACKBONE = "mobilenet(alpha=0.25)"
WEIGHTS = "mobilenet_0.25_224_notop.weights.h5"
ROWS_A_PART = 8
TAPS = ("avg", "flatten")
GIVE_UP_SECONDS = 240.0
DISK_MIB = 96


@dataclass
class Run:
    """How a child ended.

    Attributes
    ----------
    status : int
        Exit status; minus the signal where one ended it.
    seconds : float
    log : Log
    errors : str
        Its stderr.
    """

    status: int
    seconds: float
    log: Log
    errors: str

    def said_why(self) -> bool:
        """Tell whether it stopped with one readable error and no traceback."""
        return self.status == 1 and "Error: " in self.errors and "Traceback" not in self.errors


@dataclass
class World:
    """One engine, its data sets and caches, below one folder.

    Attributes
    ----------
    folder : Path
        Empty at first; the photos are at `photos`, the cache at `cache`.
    shared : Path
        Real photos and weights.
    engine : str
        "openvino", or "projection": the stand-in of the tests, for faults below the engine.
    each : int
        Photos a class.
    rng : numpy Generator
        Chooses the photos.
    """

    folder: Path
    shared: Path
    engine: str
    each: int
    rng: np.random.Generator
    shown: str = ""
    variants: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.photos, self.cache = self.folder / "photos", self.folder / "cache"
        self.graph = self.folder / "graph.xml"
        self.weights = self.shared / "weights" / WEIGHTS
        width = 7 * 7 * 256 if self.engine == "openvino" else 4 * 4 * 6
        pooled = 256 if self.engine == "openvino" else 6
        self.small = Small(ROWS_A_PART * (4 * (width + pooled) + 64) + 32)
        self.shape = (7, 7, 256) if self.engine == "openvino" else (4, 4, 6)
        self.batch = 32 if self.engine == "openvino" else 8
        self._seconds: dict[str, float] = {}
        self._calls: dict[str, int] = {}
        if self.engine == "projection":
            import fakes

            fakes.register()

    # --- data sets -----------------------------------------------------------------------------

    def make_photos(self) -> None:
        """Make the variants of the data set: "base"; "later", edited; "all", both together."""
        pool: dict[str, list[Path]] = {}
        for folder in sorted((self.shared / "datasets" / "trashnet").iterdir()):
            files = sorted(folder.glob("*.jpg"))
            picked = self.rng.choice(len(files), self.each + 4, replace=False)
            pool[folder.name] = [files[i] for i in picked]
        base = {f"{c}/{p.name}": p for c, files in pool.items() for p in files[: self.each]}
        later = dict(base)
        for name, files in pool.items():
            old = [f"{name}/{p.name}" for p in files]
            del later[old[0]]
            later[old[1]] = files[self.each]  # edited: other bytes under the same name
            later[f"{name}/renamed.jpg"] = later.pop(old[2])
            later[f"{name}/copy.jpg"] = files[3]
            for path in files[self.each + 1 :]:
                later[f"{name}/{path.name}"] = path
        every = base | {f"{p.split('/')[0]}/later-{p.split('/')[1]}": f for p, f in later.items()}
        for variant, files_of in (("base", base), ("later", later), ("all", every)):
            digests = {}
            for name, source in files_of.items():
                target = self.folder / f"photos.{variant}" / name
                target.parent.mkdir(parents=True, exist_ok=True)
                data = source.read_bytes()
                target.write_bytes(data)
                digests[name] = hashlib.sha256(data).hexdigest()
            self.variants[variant] = digests
        time.sleep(2.1)  # files that have just changed are not remembered in the stat cache

    def show(self, variant: str) -> dict[str, str]:
        """Put a variant in the data set's place; return its paths and digests."""
        if variant != self.shown:
            if self.shown:
                self.photos.rename(self.folder / f"photos.{self.shown}")
            (self.folder / f"photos.{variant}").rename(self.photos)
            self.shown = variant
        return self.variants[variant]

    # --- caches --------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Make the photos and the reference: the real command in a process of its own."""
        self.make_photos()
        self.show("all")
        target = self.folder / "reference"
        arguments = self.extract_arguments(target)
        if self.engine == "openvino":
            options = {"save": str(self.graph)}
            with self.command(options, arguments) as process:
                assert process.wait() == 0, "the reference run failed"
        else:
            run = self.run(arguments)
            assert run.status == 0, run.errors
        entry = entry_of(target)
        assert entry is not None
        self.reference = Reference.read(entry, self.shape)

    def fresh(self, name: str = "", where: Path | None = None) -> Path:
        """Return the cache's folder, empty or as the prepared cache `name`."""
        cache = where or self.cache
        shutil.rmtree(cache, ignore_errors=True)
        if name:
            shutil.copytree(self.prepared(name), cache)
        return cache

    def prepared(self, name: str) -> Path:
        """Make a cache to start from, once.

        "whole": both taps of base. "flatten", "avg": one tap. "later": whole, then the later
        data set.
        """
        folder = self.folder / f"prepared-{name}"
        if not folder.exists():
            shown = self.shown
            self.show("base")
            taps = (name,) if name in TAPS else TAPS
            assert self.run(self.extract_arguments(folder, taps)).status == 0
            if name == "later":
                self.show("later")
                assert self.run(self.extract_arguments(folder, taps)).status == 0
            self.show(shown)
        return folder

    # --- running featx -------------------------------------------------------------------------

    def extract_arguments(self, cache: Path, taps: Sequence[str] = TAPS) -> list[str]:
        """Return the arguments of `featx extract`."""
        given = ["extract", str(self.photos), "--backbone", BACKBONE]
        given += ["--weights", str(self.weights), "--pooling", ",".join(taps)]
        return [*given, "--engine", self.engine, "--cache-dir", str(cache), "--json", "--quiet"]

    def command(self, options: dict[str, object], arguments: Sequence[str]) -> subprocess.Popen:
        """Start the command line proper."""
        script = Path(__file__).parent / "command.py"
        return subprocess.Popen(
            [sys.executable, str(script), json.dumps(options), *arguments],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def start(
        self,
        arguments: Sequence[str],
        *,
        trap: Trap | None = None,
        join: Path | None = None,
        many_small: int = 64,
        tag: str = "child",
    ) -> int:
        """Start featx in a forked process."""
        small = Small(self.small.part_bytes, many_small)
        return fork_featx(arguments, self.folder / tag, small, self.graph, trap=trap, join=join)

    def wait(
        self, pid: int, started: float, tag: str = "child", poke: Callable[[], None] | None = None
    ) -> Run:
        """Wait until the child has ended; after `poke`."""
        if poke:
            poke()
        until = time.monotonic() + GIVE_UP_SECONDS
        while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
            if time.monotonic() > until:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                raise AssertionError(f"a child did not end within {GIVE_UP_SECONDS:.0f} s")
            time.sleep(0.002)
        status = os.waitstatus_to_exitcode(ended[1])
        errors = Path(f"{self.folder / tag}.err").read_text(errors="replace")
        log = Log.read(Path(f"{self.folder / tag}.log"))
        return Run(status, time.monotonic() - started, log, errors)

    def run(self, arguments: Sequence[str], **options: object) -> Run:
        """Run featx in a forked process to its end."""
        started = time.monotonic()
        return self.wait(self.start(arguments, **options), started)  # type: ignore[arg-type]

    def seconds(self, what: str, measure: Callable[[], Run]) -> float:
        """Return how long an uninterrupted run of `what` takes, measured once."""
        if what not in self._seconds:
            self._seconds[what] = measure().seconds
        return self._seconds[what]

    def calls(self, what: str, measure: Callable[[], Run]) -> int:
        """Return how many calls a trap counts in an uninterrupted run of `what`, measured once."""
        if what not in self._calls:
            self._calls[what] = measure().log.calls
        return self._calls[what]

    # --- a small disk --------------------------------------------------------------------------

    @cached_property
    def disk(self) -> Path | None:
        """A small file system in memory, mounted; None where that is not allowed."""
        folder = self.folder / "disk"
        folder.mkdir()
        libc = ctypes.CDLL(None, use_errno=True)
        data = f"size={DISK_MIB}m".encode()
        return None if libc.mount(b"none", os.fsencode(folder), b"tmpfs", 0, data) else folder

    def clean_disk(self) -> None:
        """Make the small disk writable again and take the ballast off it."""
        assert self.disk is not None
        gc.collect()  # what this process has mapped of removed files takes space too
        remount(str(self.disk), readonly=False)
        (self.disk / "ballast").unlink(missing_ok=True)

    def close(self) -> None:
        """Unmount the small disk."""
        if self.__dict__.get("disk"):
            ctypes.CDLL(None).umount2(os.fsencode(self.folder / "disk"), 2)
