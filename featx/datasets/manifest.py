"""A CSV manifest: one line an image.

Columns, found by name in any case: the path (`PATH_COLUMNS`), optionally ``split`` (train, val,
valid, validation, test or empty) and ``group`` (images of one group stay on one side of a split).
Every other column is a label column, and its name the target's. Paths are relative to the manifest.
Fields are separated by commas, by tabs in a ``.tsv``, or by semicolons where the first line has
those instead.
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Iterator

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
    found: list[Entry] = []
    unreadable, missing = [], []
    lines_of: dict[str, int] = {}
    for number, line in lines:
        if len(line) != len(header):
            raise DatasetError(
                f"{path!r} line {number} has {len(line)} fields, the first line has {len(header)}: "
                "quote fields that hold the separator."
            )
        relpath = os.path.normpath(line[at]) if line[at].strip() else ""
        labels = tuple(line[i].strip() for i in targets)
        _check_line(path, number, relpath, labels, [header[i] for i in targets])
        if relpath in lines_of:
            raise DatasetError(
                f"{path!r} gives {relpath!r} twice, on lines {lines_of[relpath]} and {number}: "
                "take one out (several labels of an image go in several columns)."
            )
        lines_of[relpath] = number
        split = _split_name(path, number, "" if roles["split"] is None else line[roles["split"]])
        group = "" if roles["group"] is None else line[roles["group"]].strip()
        full = os.path.join(folder, relpath)
        try:
            status = os.stat(full)
        except (FileNotFoundError, NotADirectoryError) as error:
            if os.path.islink(full):
                unreadable.append((relpath, why_unreadable(full, error)))
            else:
                missing.append((relpath, number))
            continue
        except OSError as error:
            unreadable.append((relpath, why_unreadable(full, error)))
            continue
        if not stat.S_ISREG(status.st_mode):
            unreadable.append((relpath, "not a regular file"))
            continue
        found.append(Entry(relpath, labels, split, group, fingerprint(status)))
    if missing:
        raise DatasetError(
            f"{path!r} names {len(missing)} files that are not there, the first {missing[0][0]!r} "
            f"on line {missing[0][1]}: paths are relative to {folder!r}."
        )
    names = tuple(header[i].strip() for i in targets)
    return _below_one_root(Listing(folder, names, found, unreadable))


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


def _below_one_root(listing: Listing) -> Listing:
    """Move the root up to where all paths lie below it (paths with "..", absolute paths)."""
    paths = [e.relpath for e in listing.entries] + [path for path, _ in listing.unreadable]
    if not any(p.startswith("..") or os.path.isabs(p) for p in paths):
        return listing
    full = {p: os.path.normpath(os.path.join(listing.root, p)) for p in paths}
    root = os.path.commonpath([os.path.dirname(p) for p in full.values()])
    new = {p: os.path.relpath(full[p], root) for p in paths}
    entries = [e._replace(relpath=new[e.relpath]) for e in listing.entries]
    unreadable = [(new[path], reason) for path, reason in listing.unreadable]
    return Listing(root, listing.targets, entries, unreadable, listing.ignored)


KIND = DatasetKind(
    "a .csv manifest: path, one or more label columns, optionally split and group",
    claims=lambda data: (
        data.lower().endswith(SUFFIXES) and os.path.isfile(os.path.expanduser(data))
    ),
    list_images=list_images,
)
