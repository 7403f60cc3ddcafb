"""`.zip` and `.tar` archives of any other kind of data set, unpacked once.

Nothing is written outside the target: a member with an absolute path, "..", a link or a device
stops the unpacking, and members are written by this module, never by the archive's own rules
(owners, modes and times are not taken over). What comes out may be at most `MAX_GROWTH` times the
archive, or `FREE_GROWTH` bytes, and must fit on the disk.
"""

from __future__ import annotations

import errno
import lzma
import os
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from featx.datasets.digest import digest_path
from featx.datasets.folder import SPLIT_NAMES
from featx.datasets.kinds import KINDS, DatasetKind, Listing, find_kind
from featx.datasets.manifest import SUFFIXES as MANIFEST_SUFFIXES
from featx.datasets.scan import is_image_name, list_folder
from featx.datasets.workdir import WorkDir
from featx.errors import ArchiveError

ZIP_SUFFIXES = (".zip",)
TAR_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")

MAX_GROWTH = 100
"""Photos hardly shrink in an archive; plain bitmaps may shrink this much, bombs far more."""

FREE_GROWTH = 1 << 30
"""Bytes that any archive may grow to."""

MAX_MEMBERS = 20_000_000

_BROKEN = (
    OSError,
    EOFError,
    ValueError,
    KeyError,
    RuntimeError,
    NotImplementedError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    lzma.LZMAError,
)
# Troubles of the disk, not of the archive.
_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE)


def list_images(data: str, workdir: WorkDir) -> Listing:
    """Unpack an archive once and list what is in it, whatever kind of data set that is.

    Raises
    ------
    ArchiveError
        The archive is damaged, a bomb, or has a member that reaches outside its target.
    DatasetError
        There is too little space, or what is inside is no data set.
    """
    path = os.path.abspath(os.path.expanduser(data))
    key = f"archive-v1-{digest_path(path, workdir)[:20]}"
    folder = workdir.materialise(key, lambda draft: unpack(path, draft, workdir))
    inside = find_inside(str(folder))
    return find_kind(inside).list_images(inside, workdir)


def unpack(path: str, target: Path, workdir: WorkDir) -> None:
    """Unpack the archive `path` below the folder `target`.

    Raises
    ------
    ArchiveError
        See `list_images`.
    """
    size = os.path.getsize(path)
    left = max(FREE_GROWTH, MAX_GROWTH * size)
    done = 0
    made: set[Path] = set()
    members = _zip_members if path.lower().endswith(ZIP_SUFFIXES) else _tar_members
    try:
        for name, kind, length, content in members(path):
            place = target / _checked(path, name, kind)
            done += 1
            left -= length
            if left < 0 or done > MAX_MEMBERS:
                raise ArchiveError(
                    f"{path!r} grows beyond {max(FREE_GROWTH, MAX_GROWTH * size):,} bytes when "
                    f"unpacked (at {name!r}): if you trust it, unpack it yourself and give the "
                    "folder."
                )
            if kind == "folder":
                place.mkdir(parents=True, exist_ok=True)
                continue
            if place.parent not in made:
                place.parent.mkdir(parents=True, exist_ok=True)
                made.add(place.parent)
            _write(path, name, place, content, length)
            if done % 500 == 0:
                workdir.progress("unpack", done, 0)
    except _BROKEN as error:
        if isinstance(error, OSError) and error.errno in _DISK:
            raise
        raise ArchiveError(f"{path!r} cannot be unpacked: {_why(error)}.") from error


def find_inside(folder: str) -> str:
    """Return what of an unpacked archive is the data set: a folder or a file.

    Folders around everything are stepped through, down to the first that is of a known layout, has
    one .csv, .tsv or .npz file and no class folders, or has more than one folder in it.
    """
    while True:
        folders, files = list_folder(folder)
        tables = [f for f in files if f.lower().endswith((*MANIFEST_SUFFIXES, ".npz"))]
        special = find_kind(folder) is not KINDS.get("folder")
        if special or any(is_image_name(name) for name in files):
            return folder
        if len(tables) == 1 and len(folders) <= 1:
            return os.path.join(folder, tables[0])
        only = folders[0] if len(folders) == 1 else None
        if only is None or only.name.lower() in SPLIT_NAMES or not _steps_on(only.path):
            return folder
        folder = only.path


def _steps_on(folder: str) -> bool:
    folders, files = list_folder(folder)
    tables = (*MANIFEST_SUFFIXES, ".npz")
    return (
        bool(folders)
        or find_kind(folder) is not KINDS.get("folder")
        or any(name.lower().endswith(tables) for name in files)
    )


Member = tuple[str, str, int, IO[bytes] | None]


def _zip_members(path: str) -> Iterator[Member]:
    with zipfile.ZipFile(path) as archive:
        for info in archive.infolist():
            mode = info.external_attr >> 16
            kind = "folder" if info.is_dir() else "file"
            if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
                kind = "link" if stat.S_ISLNK(mode) else "device"
            if kind == "file":
                with archive.open(info) as content:
                    yield info.filename, kind, info.file_size, content
            else:
                yield info.filename, kind, 0, None


def _tar_members(path: str) -> Iterator[Member]:
    with tarfile.open(path) as archive:
        for info in archive:
            if info.isdir():
                yield info.name, "folder", 0, None
            elif info.isreg():
                yield info.name, "file", info.size, archive.extractfile(info)
            else:
                yield info.name, "link" if info.islnk() or info.issym() else "device", 0, None
        # `tarfile` takes a damaged header for the end; the true end is a block of zeros.
        stream = archive.fileobj
        assert stream is not None
        stream.seek(archive.offset)
        if stream.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise EOFError(f"damaged or truncated after {len(archive.getmembers())} members")


def _checked(path: str, name: str, kind: str) -> Path:
    parts = name.replace("\\", "/").split("/")
    bad = ""
    if name.startswith(("/", "\\")) or (len(parts[0]) == 2 and parts[0].endswith(":")):
        bad = "has an absolute path"
    elif ".." in parts:
        bad = "reaches outside its target"
    elif "\0" in name:
        bad = "has a zero byte in its name"
    elif kind in ("link", "device"):
        bad = f"is a {kind}"
    if bad:
        raise ArchiveError(
            f"{path!r} is not unpacked: its member {name!r} {bad}. Make the archive anew without "
            "it, or unpack it yourself and give the folder."
        )
    return Path(*[part for part in parts if part not in ("", ".")])


def _write(path: str, name: str, place: Path, content: IO[bytes] | None, length: int) -> None:
    if content is None:
        raise ArchiveError(f"{path!r} is damaged at its member {name!r}.")
    # Not in Python 3.11's copyfileobj: a limit. A zip's sizes are claims until they are counted.
    left = length
    with open(place, "wb") as out:
        while block := content.read(min(1 << 20, left + 1)):
            left -= len(block)
            if left < 0:
                raise ArchiveError(f"{path!r} is damaged: {name!r} is longer than it says.")
            out.write(block)
    if left:
        raise ArchiveError(f"{path!r} is damaged: {name!r} is shorter than it says.")


def _why(error: BaseException) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0].rstrip(".: ") if len(lines) == 1 else "it is not a whole archive of its kind"


KIND = DatasetKind(
    "a .zip or .tar (.gz, .bz2, .xz) of any other kind",
    claims=lambda data: (
        data.lower().endswith((*ZIP_SUFFIXES, *TAR_SUFFIXES))
        and os.path.isfile(os.path.expanduser(data))
    ),
    list_images=list_images,
)
