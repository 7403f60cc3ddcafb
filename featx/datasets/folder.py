"""A folder of class folders, or the same under train/, val/ and test/.

The names train, val, valid, validation and test (in any case) are splits where nothing but them
holds images; beside other class folders they are classes ("train" and "bus", say).
"""

from __future__ import annotations

import os

from featx.datasets.kinds import DatasetKind, Listing
from featx.datasets.scan import Folder, is_image_name, list_folder, scan_class, why_unreadable
from featx.datasets.workdir import WorkDir
from featx.errors import DatasetError

SPLIT_NAMES = {
    "train": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
}
"""What a split may be called, in lower case."""


def list_images(data: str, workdir: WorkDir) -> Listing:
    """List the images of a folder of class folders, with or without splits.

    Raises
    ------
    DatasetError
        Unreadable, empty, or images without class folders.
    """
    root = os.path.abspath(os.path.expanduser(data))
    folders, files = _list(root)
    listing = Listing(root)
    marked = {f.name: SPLIT_NAMES.get(f.name.lower(), "") for f in folders}
    if "train" in marked.values() and all(marked.values()):
        for folder in folders:
            inner, loose = _list(folder.path)
            _refuse_loose_images(folder.path, loose)
            _scan(listing, inner, f"{folder.name}/", marked[folder.name], [root, folder.path])
    else:
        _refuse_loose_images(root, files)
        _refuse_mixture(root, marked)
        _scan(listing, folders, "", "", [root])
    return listing


def _scan(
    listing: Listing, folders: list[Folder], prefix: str, split: str, outer: list[str]
) -> None:
    for folder in folders:
        scan_class(listing, prefix + folder.name, (folder.name,), split, outer)


def _list(path: str) -> tuple[list[Folder], list[str]]:
    try:
        return list_folder(path)
    except OSError as error:
        raise DatasetError(
            f"Cannot read the folder {path!r}: {why_unreadable(path, error)}. Check its "
            "permissions."
        ) from error


def _refuse_loose_images(path: str, files: list[str]) -> None:
    images = [name for name in files if is_image_name(name)]
    if images:
        raise DatasetError(
            f"{len(images)} images lie in {path!r} itself, such as {images[0]!r}, not in class "
            "folders: move each into a folder named after its class, or give a .csv manifest."
        )


def _refuse_mixture(root: str, marked: dict[str, str]) -> None:
    splits = [name for name, split in marked.items() if split]
    others = [name for name, split in marked.items() if not split]
    if len(set(marked.values()) - {""}) >= 2 and "train" in marked.values() and others:
        raise DatasetError(
            f"{root!r} has split folders ({', '.join(splits)}) beside {others[0]!r}: move what is "
            "not a split elsewhere, or rename the folders if they are classes."
        )


KIND = DatasetKind(
    "a folder of class folders, or train/ val/ test/ of them",
    claims=lambda data: os.path.isdir(os.path.expanduser(data)),
    list_images=list_images,
)
