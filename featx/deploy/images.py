"""Which image files are meant by paths, folders and globs; walked lazily, so that none are held."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable, Iterator

from featx.datasets.scan import is_image_name, list_folder

PathLike = str | os.PathLike[str]


def find_images(paths: Iterable[PathLike]) -> Iterator[str]:
    """Yield image files.

    Parameters
    ----------
    paths : iterable of path
        A file, whatever its name; a folder, of which all files with an image's suffix at any depth,
        in the order of their names, hidden ones left out; or a glob ("photos/**/*.jpg"). A file
        that is not there is yielded too: reading it tells.
    """
    for path in paths:
        text = os.fspath(path)
        if os.path.isdir(text):
            yield from _walk(text, {os.path.realpath(text)})
        elif not os.path.lexists(text) and glob.has_magic(text):
            found = sorted(glob.iglob(text, recursive=True))
            yield from (p for p in found if not os.path.isdir(p)) if found else [text]
        else:
            yield text


def _walk(folder: str, seen: set[str]) -> Iterator[str]:
    """Yield the images below `folder`; a folder reached twice by links is walked once."""
    try:
        folders, files = list_folder(folder)
    except OSError:
        yield folder  # reading it tells why not
        return
    yield from (os.path.join(folder, name) for name in files if is_image_name(name))
    for below in folders:
        real = os.path.realpath(below.path)
        if real not in seen:
            seen.add(real)
            yield from _walk(below.path, seen)
