"""The folders of the cache: `<cache_dir>/<data set>/<backbone>-<digest12>`."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import xxhash

from featx.errors import CacheCorruptError, CacheMissError
from featx.records import FORMAT_VERSION, ExtractionKey, to_json
from featx.store.atomic import make_folder, reporting, require_writable, sweep, write_file
from featx.store.claim import Claim
from featx.store.mirror import forget, sending

DATASET_FILE = "dataset.json"
ENTRY_FILE = "entry.json"
PARTS = "parts"
VIEW = "cache.h5"


def prepare_cache_dir(cache_dir: str | os.PathLike[str]) -> None:
    """Create the cache directory where it is not there, and require that it can be written.

    Raises
    ------
    CacheWriteError
    """
    make_folder(Path(cache_dir))
    sweep(Path(cache_dir))
    require_writable(Path(cache_dir))


def dataset_dir(
    cache_dir: str | os.PathLike[str], index_name: str, root: str, *, create: bool = False
) -> Path:
    """Return the folder of a data set in the cache.

    The folder is the data set's name. Where that belongs to another root that still exists, the
    name gets a digest of the root appended; a root that was moved (the old one is gone) keeps its
    folder, since rows are named by content anyway.

    Parameters
    ----------
    cache_dir : path
    index_name, root : str
        `DatasetIndex.name` and `DatasetIndex.root`.
    create : bool
        Create the folder and note name and root in its dataset.json.

    Raises
    ------
    CacheCorruptError
        The folder's dataset.json cannot be read.
    CacheWriteError
        The folder cannot be created.
    """
    folder = _choose(Path(cache_dir), index_name, root)
    if create:
        write_dataset(folder, index_name, root)
    return folder


def _choose(cache: Path, index_name: str, root: str) -> Path:
    name = re.sub(r"[^\w.+-]+", "_", index_name).strip("._") or "data"
    suffixed = f"{name}-{hashlib.sha256(os.fsencode(root)).hexdigest()[:8]}"
    if (cache / suffixed).is_dir():
        return cache / suffixed
    other = read_dataset(cache / name).get("root", root)
    if other == root or not os.path.exists(other):
        return cache / name
    return cache / suffixed


def read_dataset(folder: Path) -> dict[str, Any]:
    """Return what `folder` says of its data set: "name" and "root"; empty where it says nothing."""
    return _read_json(folder / DATASET_FILE)


def write_dataset(folder: Path, name: str, root: str) -> None:
    """Note the data set that `folder` belongs to, unless it says so already."""
    make_folder(folder)
    sweep(folder)  # also where nothing is to be noted: a killed run may have died doing so
    if read_dataset(folder) != {"name": name, "root": root}:
        with sending(folder / DATASET_FILE):
            write_file(folder / DATASET_FILE, _dump({"name": name, "root": root}))


def entry_name(key: ExtractionKey) -> str:
    """Return the folder name of an entry: backbone and the first 12 digits of the key's digest."""
    return f"{key.backbone}-{key.digest()[:12]}"


def remove(path: str | os.PathLike[str], wait: bool | float = False) -> int:
    """Remove an entry, or all entries of a data set or cache; return the number of entries.

    Only what featx made goes; a data set's folder goes with its last entry.

    Raises
    ------
    CacheMissError
        There is no entry at `path`.
    CacheBusyError
        A process is at work in one.
    CacheWriteError
    """
    folders = entry_folders(Path(path))
    if not folders:
        raise CacheMissError(f"{path} is not a cache entry. See: featx cache ls")
    for folder in folders:
        with Claim(folder, wait), reporting(folder):
            # The view goes first, so that nobody reads an entry that is half gone.
            for path in (folder / VIEW, *(folder / PARTS).glob("*.h5"), folder / ENTRY_FILE):
                forget(path)
                path.unlink(missing_ok=True)
            with suppress(FileNotFoundError):  # another machine has removed the entry meanwhile
                shutil.rmtree(folder / PARTS)
        with reporting(folder):
            sweep(folder)
            with suppress(OSError):
                folder.rmdir()  # stays where somebody put other files
            if not entry_folders(folder.parent):
                forget(folder.parent / DATASET_FILE)
                (folder.parent / DATASET_FILE).unlink(missing_ok=True)
                with suppress(OSError):
                    folder.parent.rmdir()
    return len(folders)


def entry_folders(root: Path) -> list[Path]:
    """Return the folders of the entries in a cache, in a data set's folder, or `root` itself."""
    if (root / PARTS).is_dir():
        return [root]
    return sorted(p.parent for pattern in ("*", "*/*") for p in root.glob(f"{pattern}/{PARTS}"))


def read_entry(folder: Path) -> dict[str, Any]:
    """Return what the entry's folder says of itself: "format_version" and "key"; may be empty."""
    return _read_json(folder / ENTRY_FILE)


def write_entry(folder: Path, key: ExtractionKey) -> None:
    """Note the key that the entry in `folder` belongs to."""
    said = {"format_version": FORMAT_VERSION, "key": to_json(key)}
    with sending(folder / ENTRY_FILE):
        write_file(folder / ENTRY_FILE, _dump(said))


def _dump(fields: dict[str, Any]) -> bytes:
    """Return `fields` as JSON with a checksum, in the one form that `_read_json` takes."""
    plain = json.dumps(fields, indent=1, sort_keys=True)
    seal = xxhash.xxh3_64_hexdigest(plain.encode())
    return json.dumps({**fields, "checksum": seal}, indent=1, sort_keys=True).encode() + b"\n"


def _read_json(path: Path) -> dict[str, Any]:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CacheCorruptError(f"{path} cannot be read ({error.strerror}).", str(path)) from error
    try:
        fields = json.loads(data)
        fields.pop("checksum")
        if _dump(fields) == data:
            return dict(fields)
    except (ValueError, AttributeError, KeyError, TypeError):
        pass
    raise CacheCorruptError(f"{path} is damaged. Run featx cache repair.", str(path))
