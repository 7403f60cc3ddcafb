"""A CSV manifest: one line an image.

Columns, found by name in any case: the path (`PATH_COLUMNS`), optionally ``split`` (train, val,
valid, validation, test or empty) and ``group`` (images of one group stay on one side of a split).
Every other column is a label column, and its name the target's. Paths are relative to the manifest.
Fields are separated by commas, by tabs in a ``.tsv``, or by semicolons where the first line has
those instead.
"""

from __future__ import annotations

import csv
import itertools
import os
import stat
from array import array
from collections.abc import Iterable, Iterator

import numpy as np

from featx.datasets.folder import SPLIT_NAMES
from featx.datasets.kinds import DatasetKind, Entry, Listing, fingerprint
from featx.datasets.scan import why_unreadable
from featx.datasets.workdir import WorkDir
from featx.errors import DatasetError

PATH_COLUMNS = ("path", "file", "filename", "file_name", "filepath", "file_path", "image")
"""Names of the column of paths; the first that is there is taken."""

SUFFIXES = (".csv", ".tsv")


def list_images(data: str, workdir: WorkDir) -> Listing:
    """List the images of a manifest; see `list_manifest`."""
    return list_manifest(os.path.abspath(os.path.expanduser(data)))


def list_manifest(path: str) -> Listing:
    """List the images that the CSV file `path` names.

    Raises
    ------
    DatasetError
        Not readable as UTF-8 CSV, lacking columns, an empty label, an unknown split, a path that is
        given twice or that is not there.
    """
    lines = _read(path)
    header = next(lines)[1]
    columns = {name.strip().lower(): i for i, name in enumerate(header)}
    if len(columns) < len(header):
        raise DatasetError(f"{path!r} has two columns of one name: {', '.join(header)}.")
    at = next((columns[name] for name in PATH_COLUMNS if name in columns), None)
    roles = {"split": columns.get("split"), "group": columns.get("group")}
    targets = [i for i in range(len(header)) if i != at and i not in roles.values()]
    if at is None or not targets:
        lacks = "a column 'path'" if at is None else "a label column"
        raise DatasetError(
            f"{path!r} lacks {lacks}; it has: {', '.join(header)}. The first line must name the "
            "columns, such as: path,label,split."
        )
    folder = os.path.dirname(path)
    listing = Listing(folder, tuple(header[i].strip() for i in targets))
    missing: list[tuple[str, int]] = []
    folders: set[str] = set()
    given = array("q")  # hashes of the paths: eight bytes each
    for number, line in lines:
        if len(line) != len(header):
            raise DatasetError(
                f"{path!r} line {number} has {len(line)} fields, the first line has {len(header)}: "
                "quote fields that hold the separator."
            )
        relpath = os.path.normpath(line[at]) if line[at].strip() else ""
        labels = tuple(line[i].strip() for i in targets)
        _check_line(path, number, relpath, labels, [header[i] for i in targets])
        given.append(hash(relpath))
        folders.add(os.path.dirname(relpath))
        split = _split_name(path, number, "" if roles["split"] is None else line[roles["split"]])
        group = "" if roles["group"] is None else line[roles["group"]].strip()
        full = os.path.join(folder, relpath)
        try:
            status = os.stat(full)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.islink(full):
                listing.unreadable.append((relpath, why_unreadable(full, error)))
            else:
                missing.append((relpath, number))
            continue
        except OSError as error:
            listing.unreadable.append((relpath, why_unreadable(full, error)))
            continue
        if not stat.S_ISREG(status.st_mode):
            listing.unreadable.append((relpath, "not a regular file"))
            continue
        listing.entries.append(Entry(relpath, labels, split, group, fingerprint(status)))
    _refuse_repeated(path, at, np.frombuffer(given, np.int64))
    if missing:
        raise DatasetError(
            f"{path!r} names {len(missing)} files that are not there, the first {missing[0][0]!r} "
            f"on line {missing[0][1]}: paths are relative to {folder!r}."
        )
    return _below_one_root(listing, folders)


def _refuse_repeated(path: str, column: int, given: np.ndarray) -> None:
    """Raise where the manifest `path` gives a path twice; `given` are the hashes of all."""
    ordered = np.sort(given)
    twice = set(ordered[1:][ordered[1:] == ordered[:-1]].tolist())
    lines_of: dict[str, int] = {}
    for number, line in itertools.islice(_read(path) if twice else (), 1, None):
        relpath = os.path.normpath(line[column])
        if hash(relpath) in twice and relpath in lines_of:
            raise DatasetError(
                f"{path!r} gives {relpath!r} twice, on lines {lines_of[relpath]} and {number}: "
                "take one out (several labels of an image go in several columns)."
            )
        if hash(relpath) in twice:
            lines_of[relpath] = number


def _read(path: str) -> Iterator[tuple[int, list[str]]]:
    """Lines of fields with their line numbers, the header first; empty lines are passed over."""
    try:
        with open(path, newline="", encoding="utf-8-sig", errors="surrogateescape") as file:
            text = file.readline()
            file.seek(0)
            if "\0" in text:
                raise DatasetError(f"{path!r} is not UTF-8 text: save it as CSV in UTF-8.")
            separator = "\t" if path.lower().endswith(".tsv") else ","
            if separator not in text and ";" in text:
                separator = ";"
            reader = csv.reader(file, delimiter=separator, strict=True)
            empty = True
            for line in reader:
                if line:
                    empty = False
                    yield reader.line_num, line
            if empty:
                raise DatasetError(f"{path!r} is empty: its first line must name the columns.")
    except OSError as error:
        raise DatasetError(f"Cannot read {path!r}: {why_unreadable(path, error)}.") from error
    except csv.Error as error:
        raise DatasetError(
            f"{path!r} is not sound CSV near line {reader.line_num}: {error}."
        ) from error


def _check_line(
    path: str, number: int, relpath: str, labels: tuple[str, ...], targets: list[str]
) -> None:
    if not relpath or "\0" in relpath:
        raise DatasetError(f"{path!r} line {number} has no usable path: give one, or cut the line.")
    for label, target in zip(labels, targets, strict=True):
        if not label:
            raise DatasetError(
                f"{path!r} line {number} has no label in column {target!r}: give every image one."
            )
        try:
            label.encode()
        except UnicodeEncodeError:
            raise DatasetError(
                f"{path!r} line {number} has a label that is not UTF-8: save the file as UTF-8."
            ) from None


def _split_name(path: str, number: int, text: str) -> str:
    name = text.strip().lower()
    if not name:
        return ""
    if name not in SPLIT_NAMES:
        raise DatasetError(
            f"{path!r} line {number} has the unknown split {text!r}: use train, val, test or "
            "nothing."
        )
    return SPLIT_NAMES[name]


def _below_one_root(listing: Listing, folders: Iterable[str]) -> Listing:
    """Move the root up to where all `folders` lie below it (such with "..", absolute ones)."""
    if not any(f.startswith("..") or os.path.isabs(f) for f in folders):
        return listing
    before = listing.root
    listing.root = os.path.commonpath([os.path.normpath(os.path.join(before, f)) for f in folders])

    def move(relpath: str) -> str:
        return os.path.relpath(os.path.normpath(os.path.join(before, relpath)), listing.root)

    listing.entries.rename(move)
    listing.unreadable = [(move(relpath), reason) for relpath, reason in listing.unreadable]
    return listing


KIND = DatasetKind(
    "a .csv manifest: path, one or more label columns, optionally split and group",
    claims=lambda data: (
        data.lower().endswith(SUFFIXES) and os.path.isfile(os.path.expanduser(data))
    ),
    list_images=list_images,
)
