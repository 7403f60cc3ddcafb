"""What this machine is: processor, memory, graphics cards, the cache directory's disk."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from featx.engines.device import cpu_features
from featx.memory import total_memory

SMI_SECONDS = 5.0
"""How long nvidia-smi may take."""


@dataclass(frozen=True)
class Machine:
    """The machine that featx runs on.

    Attributes
    ----------
    system : str
        Operating system and architecture: "Linux x86_64".
    cpu : str
        Model of the processor.
    cores : int
        Those that this process may use.
    features : tuple of str
        Vector instructions that matter here (`featx.engines.device.FEATURES`).
    memory_bytes : int
        Physical memory; 0 where it cannot be asked.
    gpus : tuple of str
        Models of the NVIDIA cards.
    """

    system: str
    cpu: str
    cores: int
    features: tuple[str, ...]
    memory_bytes: int
    gpus: tuple[str, ...]


@dataclass(frozen=True)
class Folder:
    """The cache directory: its path, bytes free on its disk, and whether it can be written."""

    path: str
    free_bytes: int
    writable: bool


def find_machine() -> Machine:
    """Look at this machine; nothing heavy is imported."""
    return Machine(
        system=f"{platform.system()} {platform.machine()}",
        cpu=cpu_model(),
        cores=cpu_cores(),
        features=cpu_features(),
        memory_bytes=total_memory(),
        gpus=_gpus(),
    )


def find_folder(path: str | os.PathLike[str]) -> Folder:
    """Look at the cache directory, which need not be there yet; nothing is written."""
    there = Path(path).absolute()
    while not there.is_dir() and there != there.parent:
        if there.exists():  # a file in the way
            return Folder(os.fspath(path), 0, writable=False)
        there = there.parent
    return Folder(
        os.fspath(path),
        shutil.disk_usage(there).free,
        writable=os.access(there, os.W_OK | os.X_OK) and not _is_mounted_read_only(there),
    )


def cpu_model() -> str:
    """Return the processor's name."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def cpu_cores() -> int:
    """Return the number of processors that this process may use."""
    import joblib  # knows of affinity masks and container limits

    return int(joblib.cpu_count())


def _is_mounted_read_only(folder: Path) -> bool:
    return bool(os.statvfs(folder).f_flag & os.ST_RDONLY)  # root may write all but this


def _gpus() -> tuple[str, ...]:
    """Return the names of the NVIDIA cards; none where the driver's own tool is not there."""
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=SMI_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in done.stdout.splitlines() if line.strip())
