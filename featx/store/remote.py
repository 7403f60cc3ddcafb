"""A cache in object storage (s3://, gs://, any store of fsspec), worked on through a mirror.

The mirror is a folder on the local disk with the cache's own layout, so that everything else works
on plain files. What is published in it is sent at once, in the order in which the cache publishes:
parts before the view that names them, and what a view no longer names is removed after it. An
object appears whole or not at all, so a reader elsewhere sees a whole view at any moment.

The store is what counts: `local_cache` brings the mirror up to date with it. Small files are
fetched then; of a part only its name and size, until it is opened. Two marks lie beside files::

    .NAME.unsent    not sent yet; by the process that the mark names, if that lives
    .NAME.away      only a place holder of the right size; the bytes are in the store
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from asyncio import AbstractEventLoop
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

from featx.errors import CacheError, CacheWriteError, FeatxError, SpecError
from featx.owner import Owner
from featx.store.atomic import make_folder, reporting, temp_path, write_file

T = TypeVar("T")
R = TypeVar("R")

NOTE = ".featx-mirror.json"
"""In a mirror's root: the URL that it mirrors."""
UNSENT, AWAY = "unsent", "away"
_NAME = r"[\w+-][\w.+-]*"
_KEPT = re.compile(rf"{_NAME}/(dataset\.json|{_NAME}/(entry\.json|cache\.h5|parts/{_NAME}\.h5))")
"""What a store's names must look like to be taken; nothing of that leaves the mirror."""
_HEAD_BYTES, _END_BYTES = 4 << 20, 1 << 18  # of a part: its digests, and its trailer
_TAIL_BYTES = 64  # of a view: they hold the checksum of its checksums
_AT_ONCE = 16
_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs"}
"""What featx has an extra for, by protocol."""
_CREDENTIALS = {
    "s3": "aws configure, or AWS_ACCESS_KEY_ID and the like",
    "gs": "gcloud auth application-default login, or GOOGLE_APPLICATION_CREDENTIALS",
}


@dataclass(frozen=True)
class RemoteCache:
    """A cache in object storage and its mirror; can be pickled.

    Attributes
    ----------
    url : str
    root : Path
        The mirror.
    """

    url: str
    root: Path

    @classmethod
    def of(cls, url: str) -> RemoteCache:
        """Return the cache at `url`; its mirror on this machine is made where there is none.

        Mirrors lie in $FEATX_MIRROR, else in featx/mirrors of the user's cache folder.

        Raises
        ------
        CacheWriteError
            The mirror cannot be made.
        """
        url = url.rstrip("/")
        caches = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
        mirrors = Path(os.environ.get("FEATX_MIRROR") or Path(caches, "featx", "mirrors"))
        readable = re.sub(r"[^\w.-]+", "-", url.partition("://")[2], flags=re.ASCII)[-40:]
        root = mirrors.absolute() / f"{readable}-{hashlib.sha256(url.encode()).hexdigest()[:12]}"
        make_folder(root)
        if not (root / NOTE).exists():
            write_file(root / NOTE, json.dumps({"url": url}).encode())
        return cls(url, root)

    def name_of(self, path: Path) -> str:
        """Return the name in the store of the file or folder `path` of the mirror."""
        return path.absolute().relative_to(self.root).as_posix()

    def names(self, below: str = "") -> list[str]:
        """Return the names of the files in the mirror that are the store's business."""
        found = []
        for dataset in self.root.iterdir():
            if not dataset.name.startswith("."):  # those are this machine's own
                patterns = ("dataset.json", "*/entry.json", "*/cache.h5", "*/parts/*.h5")
                found += [self.name_of(p) for pattern in patterns for p in dataset.glob(pattern)]
        return [name for name in found if _is_kept(name, below)]

    def pull(self, below: str = "") -> None:
        """Bring the mirror, or the entry `below` in it, up to date; parts by name and size only.

        Raises
        ------
        CacheError, CacheWriteError
        """
        # Before the store is listed: what was sent by now is in the list, or was removed there.
        here = {name: self._standing(name) for name in self.names(below)}
        with self.talking(CacheError, "read", below) as (files, base):
            listed = files.find(f"{base}/{below}".rstrip("/"), detail=True, withdirs=False)
        sizes = {path[len(base) + 1 :]: info["size"] for path, info in listed.items()}
        there = {name: size for name, size in sizes.items() if _is_kept(name, below)}
        for name, standing in here.items():
            path = self.root / name
            if standing == "sent" and name not in there:
                self._drop(name)  # removed by another machine
            elif standing == "unsent" and name.endswith("/cache.h5"):
                self._drop(name)  # of parts that may have changed; the next extraction makes it
            elif standing == "unsent":
                if path.suffix == ".h5" or name not in there:
                    self.put(path, name)
                mark_of(path, UNSENT).unlink(missing_ok=True)
        together(
            lambda name: self._update(name, there[name]),
            [name for name in there if here.get(name) != "busy"],
        )

    def put(self, path: Path, name: str) -> None:
        """Send the local file `path` to be `name` in the store; whole and durable on return.

        Raises
        ------
        CacheWriteError
        """
        with reporting(path):  # a file that is gone here is no missing bucket
            size, end = path.stat().st_size, _read_tail(path, 1)
        with self.talking(CacheWriteError, "write", name) as (files, base):
            target = f"{base}/{name}"
            if _store_of(self.url) == "gs" and end == b"\r":
                # gcsfs sends small files as lines of a message, of whose end a last carriage
                # return is taken for a part. What is committed later goes as it is.
                with path.open("rb") as file, files.open(target, "wb", autocommit=False) as out:
                    shutil.copyfileobj(file, out)
                out.commit()
            else:
                files.put_file(str(path), target)
            if (sent := files.info(target)["size"]) != size:
                raise OSError(f"{sent} of {size} bytes have arrived")

    def get(self, name: str) -> bool:
        """Fetch `name` into the mirror; return whether it is in the store.

        Raises
        ------
        CacheError, CacheWriteError
        """
        path = self.root / name
        make_folder(path.parent)
        temp = temp_path(path)
        before = _identity(path)
        try:
            with self.talking(CacheError, "read", name) as (files, base):
                try:
                    files.get_file(f"{base}/{name}", str(temp))
                except FileNotFoundError:
                    return False
            with reporting(path):
                if _identity(path) == before:  # else it was published here meanwhile
                    os.replace(temp, path)
                mark_of(path, AWAY).unlink(missing_ok=True)
                self._ends(name).unlink(missing_ok=True)
        finally:
            with suppress(OSError):
                temp.unlink(missing_ok=True)
        return True

    def get_ends(self, name: str) -> Path:
        """Fetch the beginning and the end of the part `name`, where most of it lies between them.

        Returns
        -------
        Path
            A file of the part's size with both, or the part where it was fetched as a whole or is
            gone.

        Raises
        ------
        CacheError, CacheWriteError
        """
        path, ends = self.root / name, self._ends(name)
        size = path.stat().st_size if path.exists() else 0
        if ends.exists() and ends.stat().st_size == size:
            return ends
        if size <= 2 * _HEAD_BYTES:
            self.get(name)
            return path
        make_folder(ends.parent)
        temp = temp_path(ends)
        with self.talking(CacheError, "read", name) as (files, base):
            try:
                head = files.cat_file(f"{base}/{name}", start=0, end=_HEAD_BYTES)
                end = files.cat_file(f"{base}/{name}", start=-_END_BYTES)
            except FileNotFoundError:
                return path
        with reporting(ends), temp.open("wb") as file:
            file.write(head)
            file.seek(size - len(end))
            file.write(end)
            os.replace(temp, ends)
        return ends

    def _ends(self, name: str) -> Path:
        return self.root / ".ends" / name

    def remove(self, name: str) -> None:
        """Remove `name` from the store; it may be gone already.

        Raises
        ------
        CacheWriteError
        """
        talking = self.talking(CacheWriteError, "remove", name)
        with talking as (files, base), suppress(FileNotFoundError):
            files.rm_file(f"{base}/{name}")
        with reporting(self.root):
            self._ends(name).unlink(missing_ok=True)

    @contextmanager
    def talking(
        self, kind: type[CacheError], verb: str, name: str = ""
    ) -> Iterator[tuple[Any, str]]:
        """Give fsspec's file system and the cache's path in it; name the URL in what is raised.

        Parameters
        ----------
        kind : type
            Of what is raised: CacheError, or CacheWriteError.
        verb : str
            What cannot be done: "read", "write" or "remove".
        name : str
            Of what is talked of.
        """
        url = f"{self.url}/{name}".rstrip("/")
        try:
            yield _connect(self.url, os.getpid())
        except FeatxError:
            raise
        except Exception as error:  # each store has errors of its own, with no base in common
            why, remedy = " ".join(str(error).split()), "Run the command again."
            if "Credential" in type(error).__name__ or getattr(error, "code", None) == 401:
                how = _CREDENTIALS.get(_store_of(self.url), "as this store takes them")
                remedy = f"Give credentials: {how}."
            elif isinstance(error, PermissionError) or why.startswith("Forbidden"):
                remedy = "Check the credentials, and what they may do there."
            elif isinstance(error, FileNotFoundError):
                why = "there is no such bucket"
                remedy = "Make the bucket, or give another with --cache-dir."
            if kind is CacheWriteError:
                remedy += " What was computed is kept on this machine and sent by the next run."
            why = why.rstrip(".") or type(error).__name__
            raise kind(f"Cannot {verb} {url}: {why}. {remedy}") from error

    def _standing(self, name: str) -> str:
        """Return "sent", "unsent", or "busy" where a process is about to send it."""
        try:
            owner = Owner.from_tag(mark_of(self.root / name, UNSENT).read_text())
        except FileNotFoundError:
            return "sent"
        return "busy" if owner and owner.alive() else "unsent"

    def _update(self, name: str, size: int) -> None:
        path = self.root / name
        held = path.stat().st_size if path.exists() else -1
        if name.endswith("/cache.h5"):
            if held != size or self._tail(name) != _read_tail(path):
                self.get(name)
        elif path.suffix == ".json":
            self.get(name)
            if path.name == "entry.json":
                make_folder(path.parent / "parts")
        elif held != size:  # parts never change: one that is here and as long is the same
            make_folder(path.parent)
            temp = temp_path(path)
            with reporting(path):
                mark_of(path, AWAY).touch()
                with temp.open("wb") as file:
                    file.truncate(size)
                os.replace(temp, path)

    def _tail(self, name: str) -> bytes:
        with self.talking(CacheError, "read", name) as (files, base):
            try:
                return bytes(files.cat_file(f"{base}/{name}", start=-_TAIL_BYTES))
            except FileNotFoundError:
                return b""

    def _drop(self, name: str) -> None:
        path = self.root / name
        with reporting(path):
            path.unlink(missing_ok=True)
            self._ends(name).unlink(missing_ok=True)
            unmark(path)
        entry = self.root.joinpath(*Path(name).parts[:2])
        if not (entry / "entry.json").exists():
            for folder in (entry / "parts", entry, entry.parent):
                with suppress(OSError):
                    folder.rmdir()  # stays where something is left


@lru_cache(maxsize=8)
def _connect(url: str, pid: int) -> tuple[Any, str]:
    """Return fsspec's file system for `url` and the path in it; one for all threads of a process.

    Raises
    ------
    CacheError
        A package is not installed.
    SpecError
    """
    try:
        from fsspec.core import url_to_fs

        files, base = url_to_fs(url, use_listings_cache=False)
    except ImportError as error:
        extra = _store_of(url)
        remedy = f'Run: pip install "featx[{extra}]"' if extra else "Install it with pip."
        raise CacheError(
            f"A cache at {url} needs a package that is not installed ({error}). {remedy}"
        ) from error
    except ValueError as error:
        raise SpecError(f"Cannot keep a cache at {url}: {error}.") from error
    loop = getattr(files, "loop", None)
    if loop is not None and loop.get_exception_handler() is None:
        loop.set_exception_handler(_tell_unless_cut)
    return files, str(base).rstrip("/")


def _tell_unless_cut(loop: AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leave out what a cut line did to a task in the background: the call it was part of says it.

    asyncio would log it with a traceback ("Task exception was never retrieved").
    """
    if not isinstance(context.get("exception"), OSError):
        loop.default_exception_handler(context)


def _store_of(url: str) -> str:
    """Return "s3", "gs", or "" for any other store."""
    return _STORES.get(url.partition("://")[0], "")


def _is_kept(name: str, below: str) -> bool:
    return bool(_KEPT.fullmatch(name)) and (not below or name.startswith(f"{below}/"))


def mark_of(path: Path, kind: str) -> Path:
    """Return the mark of the `kind` (UNSENT or AWAY) beside the file `path`."""
    return path.with_name(f".{path.name}.{kind}")


def unmark(path: Path) -> None:
    """Remove the marks beside the file `path`."""
    for kind in (UNSENT, AWAY):
        with suppress(OSError):
            mark_of(path, kind).unlink(missing_ok=True)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _read_tail(path: Path, size: int = _TAIL_BYTES) -> bytes:
    with path.open("rb") as file:
        file.seek(-min(size, os.fstat(file.fileno()).st_size), os.SEEK_END)
        return file.read()


def together(work: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """Do `work` on all items, several at once: a store answers late but to many."""
    if len(items) < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(min(_AT_ONCE, len(items))) as pool:
        return list(pool.map(work, items))
