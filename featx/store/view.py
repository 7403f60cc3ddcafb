"""The view, cache.h5: what people open.

Virtual data sets over the parts, in the order of the index, with labels and paths. All of it is
derived from the parts and the index. featx's own reader does not go through the virtual data sets
but through `rows/<tap>`, which says for each row in which part it lies.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from featx.columns import Coded, CodedBuilder, Digests, Texts
from featx.errors import CacheMissError, SpecError
from featx.records import DatasetIndex, ExtractionKey, Samples
from featx.registry import near_misses
from featx.store.sealed import SealedFile
from featx.store.tap import TapShape
from featx.store.texts import read_texts


def runs(places: np.ndarray) -> Iterator[tuple[int, int, int, int]]:
    """Give (first, count, part, row in part) of each run of `places` (n, 2) of adjacent rows."""
    if not len(places):
        return
    part, row = places[:, 0].astype(np.int64), places[:, 1].astype(np.int64)
    breaks = np.flatnonzero((np.diff(part) != 0) | (np.diff(row) != 1)) + 1
    first = np.concatenate([[0], breaks])
    count = np.diff(np.concatenate([first, [len(places)]]))
    yield from zip(
        first.tolist(), count.tolist(), part[first].tolist(), row[first].tolist(), strict=True
    )


class View(SealedFile):
    """A view, open for reading.

    Attributes
    ----------
    key : ExtractionKey
    taps : dict of str to TapShape
    targets : tuple of str
    quarantined : tuple of (relpath, reason)
    parts, seals : list of str
        The parts' paths below the entry, and what each must hold.

    Raises
    ------
    CacheMissError
        There is none, or the file is something else.
    CacheCorruptError
    """

    def __init__(self, path: Path, *, salvage: bool = False) -> None:
        super().__init__(path, salvage=salvage)
        kind = self.header.get("kind")
        if kind != "view":
            self.close()
            raise CacheMissError(f"{path} is not a view but a {kind}: open cache.h5.")
        self.key = ExtractionKey.from_json(self.header["key"])
        self.targets = tuple(self.header["targets"])
        self.parts: list[str] = self.header["parts"]
        self.seals: list[str] = self.header["seals"]
        self.quarantined = tuple((path, reason) for path, reason in self.header["quarantined"])
        self.taps = {
            tap: TapShape(tuple(t["shape"]), t["dtype"]) for tap, t in self.header["taps"].items()
        }

    def column(self, target: str | None) -> int:
        """Return the number of a label column by name; the first where None."""
        if target is None:
            return 0
        if target not in self.targets:
            near = near_misses(target, self.targets)
            hint = f"Did you mean {near[0]!r}?" if near else f"It has: {', '.join(self.targets)}."
            raise SpecError(f"{self.path.parent} has no label column {target!r}. {hint}")
        return self.targets.index(target)

    def labels(self) -> np.ndarray:
        """Return the class indices (n, targets), int32."""
        labels = self.array("labels")
        return labels if labels.ndim == 2 else labels[:, None]

    def digests(self) -> Digests:
        """Return the image digest of each row."""
        return Digests(self.array("digests"))

    def splits(self) -> np.ndarray:
        """Return the data set's own split of each row, (n,) str."""
        return self.array("splits").astype("U5")

    def places(self, tap: str) -> np.ndarray:
        """Return (number of the part, row in it) of each row of `tap`, (n, 2) int32."""
        return self.array(f"rows/{tap}")

    def classes(self) -> tuple[tuple[str, ...], ...]:
        """Return the class names of each target."""
        with self.hdf5() as file:
            found = file["classes"]
            columns = [found] if len(self.targets) == 1 else [found[t] for t in self.targets]
            return tuple(tuple(read_texts(column)) for column in columns)

    def texts(self, name: str) -> Texts:
        """Return the "paths" or the "groups" of the rows."""
        with self.hdf5() as file:
            return read_texts(file[name])

    def index(self, root: str) -> tuple[DatasetIndex, list[tuple[str, str]]]:
        """Return the index that the view was made of, without its samples in quarantine, and those.

        The quarantined come as (relpath, reason).
        """
        classes = self.classes()
        marks, codes = np.unique(self.array("splits"), return_inverse=True)
        groups = CodedBuilder()
        for group in self.texts("groups"):
            groups.append(group)
        samples = Samples(
            self.texts("paths"),
            tuple(Coded(c, n) for c, n in zip(self.labels().T, classes, strict=True)),
            Coded(codes.astype(np.int32), tuple(mark.decode() for mark in marks.tolist())),
            self.digests(),
            groups.build(),
        )
        index = DatasetIndex(self.header["dataset"], root, classes, samples, self.targets)
        return index, list(self.quarantined)
