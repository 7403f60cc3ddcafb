"""Food-101's own layout: images/<class>/<number>.jpg with meta/train.txt and meta/test.txt."""

from __future__ import annotations

import os
import stat

from featx.datasets.kinds import DatasetKind, Entry, Listing, fingerprint
from featx.datasets.scan import is_image_name, list_folder, why_unreadable
from featx.datasets.workdir import WorkDir
from featx.errors import DatasetError

SPLIT_FILES = {"train": "meta/train.txt", "test": "meta/test.txt"}


def is_food101(path: str) -> bool:
    """Tell whether the folder `path` has this layout."""
    return os.path.isdir(os.path.join(path, "images")) and all(
        os.path.isfile(os.path.join(path, file)) for file in SPLIT_FILES.values()
    )


def list_images(data: str, workdir: WorkDir) -> Listing:
    """List the images that the two files name; images that neither names are counted as ignored.

    Raises
    ------
    DatasetError
        A line is not "class/name", or its image is not there.
    """
    root = os.path.abspath(os.path.expanduser(data))
    listing = Listing(root)
    splits: dict[str, str] = {}
    for split, file in SPLIT_FILES.items():
        for number, line in _lines(os.path.join(root, file)):
            label, _, name = line.partition("/")
            if not name or label in ("", ".", "..") or "/" in name:
                raise DatasetError(
                    f"{file!r} line {number} of {root!r} is {line!r}: write class/name, without "
                    "the suffix .jpg."
                )
            relpath = f"images/{label}/{name}.jpg"
            if relpath in splits:
                raise DatasetError(f"{file!r} line {number} of {root!r} gives {line!r} twice.")
            splits[relpath] = split
            _add(listing, relpath, label, split, f"{file!r} line {number}")
    for label, folder in list_folder(os.path.join(root, "images"))[0]:
        for name in list_folder(folder)[1]:
            relpath = f"images/{label}/{name}"
            if is_image_name(name) and relpath not in splits:
                listing.ignored.append(relpath)
    return listing


def _lines(path: str) -> list[tuple[int, str]]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.strip() for line in file]
    except OSError as error:
        raise DatasetError(f"Cannot read {path!r}: {why_unreadable(path, error)}.") from error
    return [(number, line) for number, line in enumerate(lines, 1) if line]


def _add(listing: Listing, relpath: str, label: str, split: str, source: str) -> None:
    path = os.path.join(listing.root, relpath)
    try:
        status = os.stat(path)
    except OSError as error:
        if isinstance(error, FileNotFoundError) and not os.path.islink(path):
            raise DatasetError(
                f"{source} names {relpath!r}, which is not there: unpack {listing.root!r} again."
            ) from error
        listing.unreadable.append((relpath, why_unreadable(path, error)))
        return
    if not stat.S_ISREG(status.st_mode):
        listing.unreadable.append((relpath, "not a regular file"))
        return
    listing.entries.append(Entry(relpath, (label,), split, "", fingerprint(status)))


KIND = DatasetKind(
    "Food-101's layout: images/ with meta/train.txt and meta/test.txt",
    claims=lambda data: is_food101(os.path.expanduser(data)),
    list_images=list_images,
)
