"""CIFAR-10 and CIFAR-100: Keras's cached copy, or the original python or binary files.

The python files are pickles. They are read by an unpickler that knows three names, all of them
stand-ins of this module, so a file made to run code is turned down. Format:
https://www.cs.toronto.edu/~kriz/cifar.html
"""

from __future__ import annotations

import hashlib
import os
import pickle
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from featx.datasets.digest import digest_path
from featx.datasets.kinds import KINDS, DatasetKind, Listing
from featx.datasets.pictures import Pictures, list_pictures
from featx.datasets.workdir import WorkDir
from featx.errors import DatasetError

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class Edition:
    """Files of one edition: the names' file, and the files of each split."""

    name: str
    names_file: str
    files: Mapping[str, Sequence[str]]
    binary: bool
    labels: Mapping[str, str]  # target column to the key of its numbers
    names: Mapping[str, str]  # target column to the key or file of its class names


_PYTHON_10 = Edition(
    "cifar10",
    "batches.meta",
    {"train": [f"data_batch_{i}" for i in range(1, 6)], "test": ["test_batch"]},
    False,
    {"class": "labels"},
    {"class": "label_names"},
)
_BINARY_10 = Edition(
    "cifar10",
    "batches.meta.txt",
    {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]},
    True,
    {"class": ""},
    {"class": "batches.meta.txt"},
)
_PYTHON_100 = Edition(
    "cifar100",
    "meta",
    {"train": ["train"], "test": ["test"]},
    False,
    {"class": "fine_labels", "superclass": "coarse_labels"},
    {"class": "fine_label_names", "superclass": "coarse_label_names"},
)
_BINARY_100 = Edition(
    "cifar100",
    "fine_label_names.txt",
    {"train": ["train.bin"], "test": ["test.bin"]},
    True,
    {"superclass": "", "class": ""},  # in the order of the bytes
    {"class": "fine_label_names.txt", "superclass": "coarse_label_names.txt"},
)
EDITIONS = (_PYTHON_10, _BINARY_10, _PYTHON_100, _BINARY_100)

KERAS_PLACES = {
    "cifar10": (
        "cifar-10-batches-py-target/cifar-10-batches-py",
        "cifar-10-batches-py",
        "cifar-10-batches-py.tar.gz",
        "cifar-10-python.tar.gz",
    ),
    "cifar100": (
        "cifar-100-python-target/cifar-100-python",
        "cifar-100-python",
        "cifar-100-python.tar.gz",
    ),
}
"""Where Keras 2 and 3 keep a data set, below their folder `datasets`."""


def list_images(data: str, workdir: WorkDir) -> Listing:
    """Write the pictures out once, and list them.

    Raises
    ------
    DatasetError
        No copy is found, or a file of it is missing or damaged.
    """
    folder = os.path.abspath(os.path.expanduser(data))
    if data in KERAS_PLACES:
        found = find_keras_copy(data)
        if not os.path.isdir(found):
            return KINDS.get("archive").list_images(found, workdir)
        folder = found
    edition = find_edition(folder)
    if edition is None:
        raise DatasetError(f"{folder!r} does not hold the files of {data}: unpack it again.")
    files = {edition.names_file, *edition.names.values(), *chain(*edition.files.values())}
    present = sorted(name for name in files if os.path.isfile(os.path.join(folder, name)))
    digests = "".join(digest_path(os.path.join(folder, name), workdir) for name in present)
    key = f"{edition.name}-v1-{hashlib.sha256(digests.encode()).hexdigest()[:20]}"
    return list_pictures(workdir, key, lambda: read_pictures(folder, edition))


def find_keras_copy(name: str) -> str:
    """Return the folder or archive of "cifar10" or "cifar100" that Keras keeps.

    Raises
    ------
    DatasetError
        Keras has none; featx downloads nothing.
    """
    home = os.environ.get("KERAS_HOME") or os.path.join(os.path.expanduser("~"), ".keras")
    for place in KERAS_PLACES[name]:
        path = os.path.join(home, "datasets", place)
        if find_edition(path) is not None or os.path.isfile(path):
            return path
    raise DatasetError(
        f"No copy of {name} in {os.path.join(home, 'datasets')!r}, and featx does not download it: "
        f'run python -c "import keras; keras.datasets.{name}.load_data()" once, or give the path '
        f"of the unpacked files or of their .tar.gz from https://www.cs.toronto.edu/~kriz/cifar.html."
    )


def find_edition(folder: str) -> Edition | None:
    """Return the edition whose files `folder` holds, or None."""
    for edition in EDITIONS:
        first = [edition.names_file, edition.files["test"][0]]
        if all(os.path.isfile(os.path.join(folder, name)) for name in first):
            return edition
    return None


def read_pictures(folder: str, edition: Edition) -> list[Pictures]:
    """Read all pictures of an edition.

    Raises
    ------
    DatasetError
        A file is missing or damaged.
    """
    read = _read_binary if edition.binary else _read_python
    names = _read_names(folder, edition)
    parts = []
    for split, files in edition.files.items():
        batches = []
        for file in files:
            path = os.path.join(folder, file)
            try:
                batches.append(read(path, edition))
            except OSError as error:
                raise DatasetError(
                    f"Cannot read {path!r}: {error.strerror or error}. Unpack {edition.name} again."
                ) from error
            except (ValueError, KeyError, TypeError, IndexError, EOFError) as error:
                raise DatasetError(
                    f"{path!r} is damaged or not a {edition.name} file ({error}): unpack it again."
                ) from error
        flat = np.concatenate([pixels for pixels, _ in batches])
        pixels = flat.reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        labels = {}
        for target in edition.names:
            numbers = np.concatenate([numbers[target] for _, numbers in batches])
            if len(numbers) != len(pixels) or numbers.max(initial=0) >= len(names[target]):
                raise DatasetError(f"The labels of {folder!r} do not fit: unpack it again.")
            labels[target] = [names[target][i] for i in numbers]
        parts.append(Pictures(split, np.ascontiguousarray(pixels), labels))
    return parts


# --- files -------------------------------------------------------------------------------------

Batch = tuple[np.ndarray, dict[str, np.ndarray]]


def _read_python(path: str, edition: Edition) -> Batch:
    content = _load(path)
    pixels = content["data"]
    if pixels.ndim != 2 or pixels.shape[1] != PIXELS:
        raise ValueError(f"pixels of shape {pixels.shape}")
    return pixels, {t: np.asarray(content[key], np.int64) for t, key in edition.labels.items()}


def _read_binary(path: str, edition: Edition) -> Batch:
    width = len(edition.labels) + PIXELS
    content = np.fromfile(path, dtype=np.uint8)
    if not len(content) or len(content) % width:
        raise ValueError(f"{len(content)} bytes are no multiple of {width}")
    rows = content.reshape(-1, width)
    numbers = {target: rows[:, i].astype(np.int64) for i, target in enumerate(edition.labels)}
    return rows[:, -PIXELS:], numbers


def _read_names(folder: str, edition: Edition) -> dict[str, list[str]]:
    path = os.path.join(folder, edition.names_file)
    try:
        if edition.binary:
            texts = {t: Path(folder, file).read_text().split() for t, file in edition.names.items()}
            return texts
        content = _load(path)
        return {t: [_text(name) for name in content[key]] for t, key in edition.names.items()}
    except (OSError, ValueError, KeyError, TypeError, EOFError) as error:
        raise DatasetError(
            f"Cannot read the class names in {path!r} ({error}): unpack {edition.name} again."
        ) from error


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _load(path: str) -> dict[str, Any]:
    with open(path, "rb") as file:
        try:
            content = _CifarUnpickler(file, encoding="bytes").load()
        except (pickle.UnpicklingError, AttributeError, ImportError, MemoryError) as error:
            raise ValueError(str(error)) from error
    if not isinstance(content, dict):
        raise ValueError("not a dictionary")
    values = {_text(key): value for key, value in content.items()}
    return {k: v.array() if isinstance(v, _Array) else v for k, v in values.items()}


class _Dtype:
    """Stand-in for `numpy.dtype`; takes one byte a value and nothing else."""

    def __init__(self, code: Any, *_: Any) -> None:
        if _text(code) != "u1":
            raise ValueError(f"array of {_text(code)!r}")

    def __setstate__(self, state: Any) -> None:
        pass


class _Array:
    """Stand-in for `numpy.ndarray`: keeps the shape, order and bytes."""

    shape: tuple[int, ...] = ()
    by_column = False
    content = b""

    def __setstate__(self, state: Any) -> None:
        _, self.shape, _, self.by_column, self.content = state

    def array(self) -> np.ndarray:
        flat = np.frombuffer(self.content, np.uint8)
        return flat.reshape(self.shape, order="F" if self.by_column else "C")


def _reconstruct(*_: Any) -> _Array:
    return _Array()


class _CifarUnpickler(pickle.Unpickler):
    """Knows the three names in CIFAR's files, and refuses all others."""

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full not in _STAND_INS:
            raise pickle.UnpicklingError(f"it asks for {full}, which no CIFAR file does")
        return _STAND_INS[full]


_STAND_INS: Mapping[str, Any] = {
    "numpy.core.multiarray._reconstruct": _reconstruct,
    "numpy._core.multiarray._reconstruct": _reconstruct,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
}


KIND = DatasetKind(
    "cifar10 or cifar100 (Keras's copy), or a folder of their original files",
    claims=lambda data: data in KERAS_PLACES or find_edition(os.path.expanduser(data)) is not None,
    list_images=list_images,
)
