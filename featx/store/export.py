"""An entry as one plain file, for other programs: .h5, .npz or .parquet."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from featx.errors import CacheError, SpecError
from featx.store.atomic import new_file
from featx.store.features import load_features
from featx.store.folders import VIEW
from featx.store.layout import Layout
from featx.store.lazy import LazyFeatures
from featx.store.texts import encode, write_texts
from featx.store.view import View

_GROUP_BYTES = 64 << 20


def export_entry(
    entry: str | os.PathLike[str], out: str | os.PathLike[str], taps: list[str] | None = None
) -> Path:
    """Write the features, labels and paths of an entry to one file.

    The file appears whole or not at all. Memory stays bounded.

    Parameters
    ----------
    entry : path
        The entry's folder, or its cache.h5.
    out : path
        Ends in .h5, .npz or .parquet. In .npz, tap names have "_" for ":".
    taps : list of str, optional
        Default: all of the view.

    Returns
    -------
    Path
        `out`.

    Raises
    ------
    SpecError
        Another ending.
    CacheMissError, CacheCorruptError, CacheWriteError
    CacheError
        pyarrow is not installed and .parquet is asked for.
    """
    path = Path(out)
    kinds = {
        ".h5": _write_hdf5,
        ".hdf5": _write_hdf5,
        ".npz": _write_npz,
        ".parquet": _write_parquet,
    }
    if path.suffix.lower() not in kinds:
        raise SpecError(f"Cannot export to {path.name!r}: end it in .h5, .npz or .parquet.")
    file = Path(entry)
    file = file / VIEW if file.is_dir() else file
    with View(file) as view:
        names, targets = list(view.taps), view.targets
    features = {tap: load_features(file, tap, lazy=True).X for tap in taps or names}
    columns: dict[str, Any] = {}
    for target in targets:
        found = load_features(file, names[0], target=target, lazy=True)
        suffix = "" if len(targets) == 1 else f"_{target}"
        columns[f"labels{suffix}"] = found.y
        columns[f"classes{suffix}"] = found.classes
    columns["paths"] = found.paths
    columns["splits"] = tuple(found.splits.tolist())
    columns["digests"] = found.digests
    with new_file(path) as descriptor:
        kinds[path.suffix.lower()](descriptor, features, columns)
    return path


def _write_hdf5(
    descriptor: int, features: Mapping[str, LazyFeatures], columns: Mapping[str, Any]
) -> None:
    with Layout() as layout:
        for name, values in columns.items():
            if isinstance(values, np.ndarray):
                layout.place(name, values)
            else:
                write_texts(layout.file, name, values)
        for tap, lazy in features.items():
            blocks = (block for _, block in lazy.row_blocks())
            layout.stream(f"features/{tap}", lazy.shape, lazy.dtype, blocks)
        layout.write(descriptor)


def _write_npz(
    descriptor: int, features: Mapping[str, LazyFeatures], columns: Mapping[str, Any]
) -> None:
    with os.fdopen(os.dup(descriptor), "wb") as file, zipfile.ZipFile(file, "w") as archive:
        for name, values in columns.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asarray(values), allow_pickle=False)
        for tap, lazy in features.items():
            member_name = f"features_{tap.replace(':', '_')}.npy"
            header = {
                "descr": np.lib.format.dtype_to_descr(lazy.dtype),
                "fortran_order": False,
                "shape": lazy.shape,
            }
            with archive.open(member_name, "w", force_zip64=True) as member:
                np.lib.format.write_array_header_2_0(member, header)
                for _, block in lazy.row_blocks():
                    member.write(block.data.cast("B"))


def _write_parquet(
    descriptor: int, features: Mapping[str, LazyFeatures], columns: Mapping[str, Any]
) -> None:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise CacheError(
            "Exporting to .parquet needs pyarrow. Install it (pip install pyarrow), or export to "
            ".h5 or .npz."
        ) from None
    plain = {}
    for name, values in columns.items():
        if name.startswith("labels"):
            classes = columns[name.replace("labels", "classes", 1)]
            plain[name.replace("labels", "label", 1)] = [classes[i] for i in values.tolist()]
        elif not name.startswith("classes"):
            # Parquet's text is UTF-8 only: other bytes are shown as backslash escapes.
            plain[name.removesuffix("s")] = [
                encode(v).decode("utf-8", "backslashreplace") for v in values
            ]
    fields = [pyarrow.field(name, pyarrow.string()) for name in plain]
    fields += [
        pyarrow.field(tap, pyarrow.list_(pyarrow.float32(), lazy.shape[1]))
        for tap, lazy in features.items()
    ]
    schema = pyarrow.schema(fields)
    rows = len(plain["path"])
    width = sum(lazy.shape[1] for lazy in features.values())
    step = max(1, _GROUP_BYTES // (4 * width))
    with (
        os.fdopen(os.dup(descriptor), "wb") as file,
        pyarrow.parquet.ParquetWriter(file, schema) as writer,
    ):
        for start in range(0, rows, step):
            stop = min(start + step, rows)
            arrays = [pyarrow.array(v[start:stop], pyarrow.string()) for v in plain.values()]
            for lazy in features.values():
                flat = pyarrow.array(lazy.rows(np.arange(start, stop)).reshape(-1))
                arrays.append(pyarrow.FixedSizeListArray.from_arrays(flat, lazy.shape[1]))
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
