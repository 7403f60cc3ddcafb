"""A cache entry: the rows of one data set under one extraction key."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from featx.columns import Digests
from featx.errors import CacheBusyError, CacheCorruptError, CacheError, CacheMissError
from featx.records import FORMAT_VERSION, DatasetIndex, ExtractionKey, to_json
from featx.store.atomic import make_folder, require_writable, sweep
from featx.store.claim import Claim
from featx.store.compact import SMALL_BYTES, compact, plan_compaction
from featx.store.derive import derive_rows
from featx.store.folders import ENTRY_FILE, PARTS, VIEW, entry_name, read_entry, write_entry
from featx.store.mirror import list_heads, refresh
from featx.store.part import Part
from featx.store.plan import EntryState, Rows
from featx.store.publish import publish_view
from featx.store.tap import TapShape
from featx.store.writer import PART_BYTES, PART_SECONDS, PartWriter

MANY_SMALL = 64
"""Small parts that an entry may have before they are merged."""


class CacheEntry:
    """A folder `<backbone>-<digest12>` with its parts and its view.

    Attributes
    ----------
    path : Path
    key : ExtractionKey
    """

    def __init__(self, path: Path, key: ExtractionKey) -> None:
        self.path, self.key = path, key
        self._claim: Claim | None = None

    @classmethod
    def open(
        cls,
        cache_dir: str | os.PathLike[str],
        dataset: str | os.PathLike[str],
        key: ExtractionKey,
        *,
        create: bool = False,
    ) -> CacheEntry:
        """Open the entry of `key`.

        Parameters
        ----------
        cache_dir : path
        dataset : str or path
            Folder of the data set, as `dataset_dir` gives it, or its name in `cache_dir`.
        key : ExtractionKey
        create : bool
            Create it where it is not there, and require that it can be written.

        Raises
        ------
        CacheMissError
            There is no such entry and `create` is False.
        CacheError
            The folder holds rows of another key; the field that differs is named.
        CacheWriteError
            `create` is True and the folder cannot be written.
        """
        path = Path(cache_dir) / Path(dataset).name / entry_name(key)
        if create:
            make_folder(path)
            if not (path / ENTRY_FILE).exists():
                write_entry(path, key)
            make_folder(path / PARTS)  # makes it an entry: its key is there by now
            require_writable(path / PARTS)
        found = cls.at(path)
        require_same_key(path, found.key, key)
        return found

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> CacheEntry:
        """Open the entry in the folder `path`, whatever its key.

        Raises
        ------
        CacheMissError
            It is no entry.
        CacheCorruptError
            Its entry.json cannot be read.
        """
        folder = Path(path)
        said = read_entry(folder)
        if not said:
            raise CacheMissError(f"{folder} is not a cache entry. See: featx cache ls")
        if said.get("format_version") != FORMAT_VERSION:
            raise CacheError(
                f"{folder} has cache format {said.get('format_version')!r}; this featx reads "
                f"{FORMAT_VERSION}. Update featx, or extract into another --cache-dir."
            )
        try:
            return cls(folder, ExtractionKey.from_json(said["key"]))
        except (KeyError, TypeError, AttributeError):
            file = folder / ENTRY_FILE
            raise CacheCorruptError(
                f"{file} holds no key. Run featx cache repair.", str(file)
            ) from None

    @property
    def view_path(self) -> Path:
        """The view, cache.h5; it is there once `publish_view` ran."""
        return self.path / VIEW

    @property
    def parts_dir(self) -> Path:
        """The folder of the parts."""
        return self.path / PARTS

    def part_paths(self) -> list[Path]:
        """Return the parts, oldest first."""
        return sorted(self.parts_dir.glob("*.h5"))

    def provenances(self) -> list[dict[str, Any]]:
        """Return what the parts say of how their rows were made, oldest first.

        Raises
        ------
        CacheCorruptError
        """
        return [part.header["provenance"] for _, part, _ in self._heads()]

    def state(self, without: Collection[str] = ()) -> EntryState:
        """Return which rows are here, read afresh from the parts.

        Where two parts hold a row, the older one counts.

        Parameters
        ----------
        without : collection of str
            File names of parts to leave out of account.

        Raises
        ------
        CacheCorruptError
            A part is damaged in its trailer or digests, or belongs to another key.
        """
        names: list[str] = []
        seals: list[str] = []
        heights: list[int] = []
        sizes: list[int] = []
        compression = "none"
        shapes: dict[str, TapShape] = {}
        taps: list[tuple[str, ...]] = []
        names_in: list[np.ndarray] = []
        for path, part, digests in self._heads(without):
            require_same_key(path, part.key, self.key)
            for tap, shape in part.taps.items():
                if shapes.setdefault(tap, shape) != shape:
                    raise part.corrupt(f"has tap {tap!r} in shape {shape.shape}")
            taps.append(tuple(part.taps))
            names_in.append(digests.array)
            names.append(path.name)
            seals.append(part.seal)
            heights.append(part.n)
            sizes.append(part.size)
            compression = part.compression
        # Taps that lie in the same parts share their rows.
        sharing: dict[tuple[int, ...], list[str]] = {}
        for tap in shapes:
            numbers = tuple(i for i, held in enumerate(taps) if tap in held)
            sharing.setdefault(numbers, []).append(tap)
        rows: dict[str, Rows] = {}
        for numbers, some in sharing.items():
            found = _rows_of(numbers, [names_in[i] for i in numbers])
            rows |= dict.fromkeys(some, found)
        return EntryState(
            tuple(names),
            tuple(seals),
            tuple(heights),
            tuple(sizes),
            tuple(taps),
            compression,
            shapes,
            rows,
        )

    def _heads(self, without: Collection[str] = ()) -> Iterator[tuple[Path, Part, Digests]]:
        """Give each part with its digests, oldest first; its rows may not be on this machine."""
        paths = [path for path in self.part_paths() if path.name not in without]
        for path, head in zip(paths, list_heads(paths), strict=True):
            try:
                with Part(head) as part:
                    yield path, part, part.digests()
            except CacheMissError:
                continue  # removed since it was listed
            except CacheCorruptError:
                if head == path:
                    raise
                with Part(path) as part:  # as a whole: it has more digests, or damage to name
                    yield path, part, part.digests()

    def derive(self, wanted: Mapping[str, Digests], **writer_options: Any) -> int:
        """Compute and publish the rows of `RowPlan.derive`; see `derive_rows`."""
        return derive_rows(self, wanted, **writer_options)

    def claim(
        self, wait: bool | float = False, notify: Callable[[str], object] | None = None
    ) -> Claim:
        """Return the right to write here, as a context manager; see `Claim`."""
        self._claim = Claim(self.path, wait, notify)
        return self._claim

    def writer(
        self,
        tap_shapes: Mapping[str, tuple[int, ...]],
        *,
        part_bytes: int = PART_BYTES,
        part_seconds: float = PART_SECONDS,
        provenance: Mapping[str, Any] | None = None,
        compression: str = "none",
    ) -> PartWriter:
        """Return a writer of parts, as a context manager; see `PartWriter`."""
        return PartWriter(
            self.parts_dir,
            self.key,
            tap_shapes,
            part_bytes=part_bytes,
            part_seconds=part_seconds,
            provenance=provenance,
            compression=compression,
        )

    def publish_view(
        self,
        index: DatasetIndex,
        *,
        taps: Sequence[str] | None = None,
        quarantined: Sequence[tuple[str, str]] = (),
        provenance: Mapping[str, Any] | None = None,
    ) -> Path:
        """Build cache.h5 for the samples of `index`, or leave it where it says that already.

        Parameters
        ----------
        index : DatasetIndex
            With digests.
        taps : sequence of str, optional
            Taps to show; by default all that cover every sample.
        quarantined : sequence of (relpath, reason)
            Samples left out.
        provenance : mapping, optional
            JSON-able; a view that would differ in nothing else is not built again, but for its
            "source", by which it is found.

        Returns
        -------
        Path
            Of cache.h5.

        Raises
        ------
        CacheMissError
            A sample that is not quarantined has no row.
        CacheWriteError
        """
        refresh(self.path)
        sweep(self.path)
        sweep(self.path / PARTS)  # what another run's workers began, and died of only now

        def publish(state: EntryState) -> Path:
            return publish_view(
                self.view_path,
                self.key,
                state,
                index,
                taps=taps,
                quarantined=quarantined,
                provenance=provenance or {},
            )

        state = self.state()
        if sum(size < SMALL_BYTES for size in state.part_bytes) <= MANY_SMALL:
            return publish(state)
        # A reader of the view has every part open, and files are slow to open and limited.
        held = self._claim is not None and self._claim.held()
        try:
            with nullcontext() if held else Claim(self.path):
                if [path.name for path in self.part_paths()] != list(state.parts):
                    state = self.state()  # another has been at work until the claim was held
                compact(self, plan_compaction(state, index.samples.digests), state, publish)
        except CacheBusyError:  # its holder may be counting on the parts
            publish(state)
        return self.view_path


def _rows_of(numbers: Sequence[int], digests: Sequence[np.ndarray]) -> Rows:
    """Return where the rows of some parts lie, given their digests."""
    heights = [len(names) for names in digests]
    places = np.empty((sum(heights), 2), np.int32)
    places[:, 0] = np.repeat(np.array(numbers, np.int32), heights)
    places[:, 1] = np.arange(len(places)) - np.repeat(np.cumsum(heights) - heights, heights)
    return Rows(Digests(np.concatenate(digests)), places)


def require_same_key(path: Path, found: ExtractionKey, wanted: ExtractionKey) -> None:
    """Raise CacheError naming the fields that differ, unless the keys are equal."""
    if found.digest() == wanted.digest():
        return
    one, two = to_json(found), to_json(wanted)
    fields = [f"{f} is {one[f]!r} there, {two[f]!r} wanted" for f in one if one[f] != two[f]]
    raise CacheError(
        f"{path} belongs to another extraction: {'; '.join(fields)}. Remove it, or use another "
        "--cache-dir."
    )
