"""Plain arrays in a file made elsewhere: .npz, .h5 or .parquet, one dict of names to arrays.

No objects are read, which could run code, and nothing outside the file.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from featx.store.texts import decode


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Read all arrays of a file.

    Parameters
    ----------
    path : Path
        Ends in one of `SUFFIXES`.

    Returns
    -------
    dict of str to ndarray
        Texts are of dtype str. A group of .h5 is a prefix: "features/avg" is "features_avg". Of
        .parquet a column of lists is (n, length); columns of floats are one array "x" where there
        is no column of lists.

    Raises
    ------
    OSError, EOFError, TypeError, ValueError, zipfile.BadZipFile
        The file cannot be read, or holds what is no plain array.
    ImportError
        pyarrow is wanted and not installed.
    """
    return _READERS[path.suffix.lower()](path)


def _read_npz(path: Path) -> dict[str, np.ndarray]:
    # Opened here, because numpy forgets to close what it cannot read.
    with open(path, "rb") as content, np.load(content, allow_pickle=False) as file:
        if not hasattr(file, "files"):
            raise ValueError("it is a single array, not an .npz archive")
        return {name: file[name] for name in file.files}


def npz_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Return the shapes of the arrays in an .npz file, from their headers alone."""
    shapes = {}
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                version = np.lib.format.read_magic(member)
                read = (
                    np.lib.format.read_array_header_1_0
                    if version == (1, 0)
                    else np.lib.format.read_array_header_2_0
                )
                shapes[name.removesuffix(".npy").lower()] = read(member)[0]
    return shapes


def _read_hdf5(path: Path) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = {}
    with h5py.File(path, "r") as file:
        for name, item in _items(file).items():
            if isinstance(item, h5py.Dataset):
                found[name] = _plain(item)
            else:  # features/avg, labels/material
                inner = _items(item).items()
                found |= {f"{name}_{k}": _plain(d) for k, d in inner if isinstance(d, h5py.Dataset)}
    return found


def _items(group: h5py.Group) -> dict[str, Any]:
    """Return what is in a group; a link can name any file of this machine, and is not followed."""
    for name in group:
        if isinstance(group.get(name, getlink=True), h5py.ExternalLink):
            raise ValueError(f"{group.name.rstrip('/')}/{name} lies in another file")
    return dict(group.items())


def _plain(dataset: h5py.Dataset) -> np.ndarray:
    if dataset.external or dataset.is_virtual:
        raise ValueError(f"{dataset.name} lies in another file")
    if h5py.check_string_dtype(dataset.dtype):
        return np.array([decode(t) for t in np.atleast_1d(dataset[()])], np.str_)
    values = np.asarray(dataset[()])
    if values.dtype.kind == "O":
        raise ValueError(f"{dataset.name} has values of no plain type")
    return values


def _read_parquet(path: Path) -> dict[str, np.ndarray]:
    import pyarrow
    import pyarrow.parquet

    types = pyarrow.types
    table = pyarrow.parquet.read_table(path)
    found: dict[str, np.ndarray] = {}
    loose = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        if types.is_list(column.type) or types.is_fixed_size_list(column.type):
            found[name] = _matrix(name, column)
        elif types.is_floating(column.type):
            loose[name] = column.to_numpy()
        elif types.is_integer(column.type) or types.is_boolean(column.type):
            if column.null_count:
                raise ValueError(f"the column {name!r} has {column.null_count} empty values")
            found[name] = column.to_numpy()
        elif types.is_string(column.type) or types.is_large_string(column.type):
            found[name] = np.array([value or "" for value in column.to_pylist()], np.str_)
        elif types.is_dictionary(column.type):  # what pandas makes of categories
            found[name] = np.array([str(v or "") for v in column.to_pylist()], np.str_)
    if loose and all(values.ndim == 1 for values in found.values()):
        found["x"] = np.stack(list(loose.values()), axis=1)
    return found


def _matrix(name: str, column: Any) -> np.ndarray:
    lists = column.combine_chunks()
    values = lists.flatten().to_numpy(zero_copy_only=False)
    n = len(lists)
    if lists.null_count or not n or len(values) % n or len({len(row) for row in lists}) > 1:
        raise ValueError(f"the lists of the column {name!r} are not all of one length")
    return values.reshape(n, -1)


_READERS: dict[str, Callable[[Path], dict[str, np.ndarray]]] = {
    ".npz": _read_npz,
    ".h5": _read_hdf5,
    ".hdf5": _read_hdf5,
    ".parquet": _read_parquet,
}
SUFFIXES = tuple(_READERS)
"""Of the files that can be read."""
