"""The folders of the cache: `<cache_dir>/<data set>/<backbone>-<digest12>`."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

from featx.errors import CacheCorruptError
from featx.records import ExtractionKey
from featx.store.atomic import make_folder, write_file

DATASET_FILE = "dataset.json"
ENTRY_FILE = "entry.json"
PARTS = "parts"
VIEW = "cache.h5"


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
    if read_dataset(folder) != {"name": name, "root": root}:
        make_folder(folder)
        text = json.dumps({"name": name, "root": root}, indent=1)
        write_file(folder / DATASET_FILE, text.encode("utf-8", "surrogateescape"))


def entry_name(key: ExtractionKey) -> str:
    """Return the folder name of an entry: backbone and the first 12 digits of the key's digest."""
    return f"{key.backbone}-{key.digest()[:12]}"


def read_entry(folder: Path) -> dict[str, Any]:
    """Return what the entry's folder says of itself: "key"; empty where it says nothing."""
    return _read_json(folder / ENTRY_FILE)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise CacheCorruptError(f"{path} cannot be read ({error}). Remove it.", str(path)) from None
    if not isinstance(value, dict):
        raise CacheCorruptError(f"{path} does not hold what it should. Remove it.", str(path))
    return value
