"""What the rest of the store asks of a cache in object storage: all of it does nothing elsewhere.

Each function finds out by itself whether a file lies in the mirror of such a cache, by the note in
the mirror's root.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from featx.errors import CacheMissError
from featx.owner import this_process
from featx.store.atomic import make_folder, reporting
from featx.store.remote import AWAY, NOTE, UNSENT, RemoteCache, mark_of, together, unmark


def is_url(path: str | os.PathLike[str]) -> bool:
    """Return whether `path` is a URL rather than a path.

    >>> is_url("s3://bucket/features"), is_url("/data/features")
    (True, False)
    """
    return "://" in os.fspath(path)


def local_cache(cache_dir: str | os.PathLike[str]) -> Path:
    """Return the folder to work in: `cache_dir`, or the mirror of a URL, brought up to date.

    Raises
    ------
    CacheError
        The store cannot be read; says the remedy.
    CacheWriteError
        What an earlier run could not send cannot be sent now either.
    SpecError
        fsspec does not know the URL.
    """
    if not is_url(cache_dir):
        return Path(cache_dir)
    cache = RemoteCache.of(os.fspath(cache_dir))
    cache.pull()
    return cache.root


def local_entry(path: str | os.PathLike[str]) -> Path:
    """Return the folder of an entry, or that of its mirror where `path` is a URL.

    Raises
    ------
    CacheMissError
        The URL has too few parts to name an entry.
    CacheError
        As `local_cache`.
    """
    if not is_url(path):
        return Path(path)
    names = os.fspath(path).rstrip("/").removesuffix("/cache.h5").rsplit("/", 2)
    if len(names) < 3 or not is_url(names[0]):
        raise CacheMissError(f"{os.fspath(path)!r} names no entry: URL/DATASET/ENTRY is wanted.")
    return local_cache(names[0]).joinpath(*names[1:])


def url_of(entry: Path) -> str:
    """Return the URL of the cache in whose mirror the folder `entry` lies; "" elsewhere."""
    cache = find_remote(entry / NOTE)
    return cache.url if cache else ""


def entry_here(entry: Path, url: str) -> Path:
    """Return the folder on this machine of an `entry` that another works in, by its `url_of`.

    That is the same path on a shared file system, and a folder of this machine's own mirror of a
    cache in object storage. What is published in that one is sent, as in any mirror.

    Raises
    ------
    CacheWriteError
        The mirror cannot be made.
    """
    if not url:
        return entry
    folder = RemoteCache.of(url).root / entry.parent.name / entry.name
    make_folder(folder / "parts")
    return folder


def is_published(path: Path) -> bool:
    """Return whether the file at `path` is there for good: in a mirror, sent to the store too.

    Whoever published it may have died in between.
    """
    return path.exists() and not mark_of(path, UNSENT).exists()


def find_remote(path: Path) -> RemoteCache | None:
    """Return the cache in whose mirror the file `path` lies; None where it lies in none."""
    for root in list(path.absolute().parents)[:4]:
        try:
            return RemoteCache(json.loads((root / NOTE).read_bytes())["url"], root)
        except (OSError, ValueError, KeyError, TypeError):
            continue
    return None


@contextmanager
def sending(path: Path) -> Iterator[None]:
    """Send the file that the block publishes at `path`; nothing more where that is no mirror.

    Raises
    ------
    CacheWriteError
        The file is kept, and the next run sends it.
    """
    cache = find_remote(path)
    if cache is None:
        yield
        return
    mark = mark_of(path, UNSENT)
    with reporting(mark):
        mark.write_text(this_process().tag)
    try:
        yield
        cache.put(path, cache.name_of(path))
        mark.unlink(missing_ok=True)
    except BaseException:
        with suppress(OSError):
            mark.write_text("")  # nobody is at it any more
        raise


def forget(path: Path) -> None:
    """Remove the file at `path`, which is about to go, from the store too.

    Raises
    ------
    CacheWriteError
    """
    cache = find_remote(path)
    if cache is not None:
        cache.remove(cache.name_of(path))
        unmark(path)


def fetch(paths: Iterable[Path]) -> None:
    """Fetch those of the parts `paths` that are only in the store.

    Where one is not there any more, the mirror of its entry is brought up to date: its view names
    other parts by now.

    Raises
    ------
    CacheError
        The store cannot be read.
    """
    wanted = [p for p in paths if mark_of(p, AWAY).exists() or not p.exists()]
    cache = find_remote(wanted[0]) if wanted else None
    if cache is not None and not all(together(cache.get, [cache.name_of(p) for p in wanted])):
        cache.pull(cache.name_of(wanted[0].parent.parent))


def list_heads(paths: Sequence[Path]) -> list[Path]:
    """Return for each of the parts `paths` a file to read its header and digests from.

    That is the part itself, but for large ones that are only in the store: of these a file that has
    nothing but the beginning and the end.

    Raises
    ------
    CacheError
        The store cannot be read.
    """
    away = [p for p in paths if mark_of(p, AWAY).exists()]
    cache = find_remote(away[0]) if away else None
    if cache is None:
        return list(paths)
    found = together(cache.get_ends, [cache.name_of(p) for p in away])
    heads = dict(zip(away, found, strict=True))
    return [heads.get(path, path) for path in paths]


def refresh(folder: Path) -> None:
    """Bring the entry at `folder` up to date with the store, if that is where it is kept.

    Raises
    ------
    CacheError, CacheWriteError
        As `local_cache`.
    """
    cache = find_remote(folder / NOTE)
    if cache is not None:
        cache.pull(cache.name_of(folder))


def distrust(folder: Path) -> None:
    """Have all files in a mirror below `folder` fetched again, so that the store's are checked.

    Raises
    ------
    CacheError, CacheWriteError
        As `local_cache`.
    """
    cache = find_remote(folder / NOTE)
    if cache is None:
        return
    for name in cache.names():
        path = cache.root / name
        if folder.absolute() in path.parents and not mark_of(path, UNSENT).exists():
            with reporting(path):
                if name.endswith("/cache.h5"):
                    path.unlink(missing_ok=True)
                elif path.suffix == ".h5":
                    mark_of(path, AWAY).touch()
    cache.pull()
