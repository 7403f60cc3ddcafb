"""Walking a folder for image files.

What is an image is decided by the suffix, in any case (`IMAGE_SUFFIXES`); a text file called
``x.jpg`` is therefore an image that decoding will turn down, with a reason that people get to see.
Formats that featx cannot decode but that are plainly images (``.heic``) count as images too, for
the same reason. Hidden files and folders, ``Thumbs.db`` and the like are passed over; any other
file is passed over and counted. Links are followed; a folder reached twice is walked once.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from typing import NamedTuple

from featx.datasets.kinds import Entry, Listing, fingerprint

DECODED_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".apng",
        ".webp",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
    ]
)
"""Suffixes of the formats that `featx.datasets.decode` reads."""

IMAGE_SUFFIXES = DECODED_SUFFIXES | frozenset(
    [
        ".avif",
        ".heic",
        ".heif",
        ".jp2",
        ".j2k",
        ".jxl",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".psd",
        ".dng",
        ".cr2",
        ".nef",
        ".arw",
        ".tga",
        ".ico",
    ]
)
"""Suffixes whose files are samples."""

LITTER = frozenset(["thumbs.db", "desktop.ini", "__macosx", "ehthumbs.db", "icon\r"])
"""Names, in lower case, that operating systems leave behind."""


class Folder(NamedTuple):
    """A subfolder: its name and path."""

    name: str
    path: str


def is_hidden(name: str) -> bool:
    """Tell whether nobody put this file or folder there on purpose."""
    return name.startswith(".") or name.lower() in LITTER


def is_image_name(name: str) -> bool:
    """Tell whether the suffix says image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def list_folder(path: str) -> tuple[list[Folder], list[str]]:
    """Return the subfolders and the other files' names of `path`, sorted, but for hidden ones.

    Raises
    ------
    OSError
        The folder cannot be read.
    """
    folders, files = [], []
    with os.scandir(path) as entries:
        for entry in entries:
            if is_hidden(entry.name):
                continue
            if _is_folder(entry):
                folders.append(Folder(entry.name, entry.path))
            else:
                files.append(entry.name)
    return sorted(folders), sorted(files)


def scan_class(
    listing: Listing, prefix: str, labels: tuple[str, ...], split: str, outer: list[str]
) -> None:
    """Add to `listing` all images at any depth below `prefix`, a path relative to its root.

    Parameters
    ----------
    listing : Listing
        Gets entries, unreadable and ignored files.
    prefix : str
        The class folder, relative to `listing.root`.
    labels, split
        Of every image found.
    outer : list of str
        Folders around the class folder; a link back to one of them is not followed.
    """
    seen = {_identity(path) for path in outer}
    for entry, relpath in _walk(listing, prefix, seen):
        if not is_image_name(entry.name):
            listing.ignored.append(relpath)
            continue
        try:
            status = entry.stat()
        except OSError as error:
            listing.unreadable.append((relpath, why_unreadable(entry.path, error)))
            continue
        if not stat.S_ISREG(status.st_mode):
            listing.unreadable.append((relpath, "not a regular file"))
            continue
        listing.entries.append(Entry(relpath, labels, split, "", fingerprint(status)))


def why_unreadable(path: str, error: OSError) -> str:
    """Return a reason in plain words for a file that could not be opened."""
    if error.errno == errno.ENOENT and os.path.islink(path):
        return "dangling link"
    if error.errno == errno.ELOOP:
        return "link to itself"
    return (error.strerror or str(error)).lower()


def _walk(
    listing: Listing, prefix: str, seen: set[tuple[int, int]]
) -> Iterator[tuple[os.DirEntry[str], str]]:
    path = os.path.join(listing.root, prefix)
    try:
        identity = _identity(path)
        if identity in seen:
            return
        seen.add(identity)
        with os.scandir(path) as scan:
            entries = sorted(scan, key=lambda e: e.name)
    except OSError as error:
        listing.unreadable.append((prefix, why_unreadable(path, error)))
        return
    folders = []
    for entry in entries:
        if is_hidden(entry.name):
            continue
        relpath = f"{prefix}/{entry.name}"
        if _is_folder(entry):
            folders.append(relpath)
        else:
            yield entry, relpath
    for relpath in folders:
        yield from _walk(listing, relpath, seen)


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False


def _identity(path: str) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino
