"""What a report is made of, whatever its format: text, tables, charts, photos, findings.

Each block says what it shows in words, so that it can be read where it cannot be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from featx.records import Finding


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    name : str
        Heading, and the name in JSON and CSV (there in lower case with "_").
    kind : str
        How values are written: a name in `featx.report.numbers.KINDS`.
    help : str
        What it means, where the heading is short.
    short : str
        The heading where room is scarce.
    """

    name: str
    kind: str = "text"
    help: str = ""
    short: str = ""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    lead: bool = False


@dataclass(frozen=True)
class Figures:
    """A few large numbers: (label, value as written, note) each."""

    items: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Table:
    """Rows of raw values; None is not known or not applicable.

    Attributes
    ----------
    name : str
        Unique in the report; its name in JSON.
    title : str
    columns : tuple of Column
    rows : tuple of tuple
        A value a column: of kind "interval" a triple (value, low, high).
    note : str
        Below the table.
    sort : bool
        Readers may sort it.
    folded : bool
        Shown when asked for.
    marked : tuple of int
        Rows that stand out.
    """

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[tuple[Any, ...], ...]
    note: str = ""
    sort: bool = True
    folded: bool = False
    marked: tuple[int, ...] = ()


@dataclass(frozen=True)
class Chart:
    """A chart for Plotly, with the numbers behind it.

    Attributes
    ----------
    name : str
        Unique in the report.
    title : str
    alt : str
        What is to be seen, in a sentence.
    figure : mapping
        "data" and "layout". Colours are names that the page replaces by those of its theme: "@c0",
        "@muted", "@c1/0.2" with its opacity, "@c1~0.2" mixed with the ground.
    table : Table or None
        The numbers.
    note : str
        How to read it.
    height, width : int
        In pixels; a width of 0 is as wide as there is room, another the most it takes.
    half : bool
        May stand beside another such chart.
    thumbnails : tuple of str
        Data addresses of pictures shown when hovering, a point of the first traces each.
    """

    name: str
    title: str
    alt: str
    figure: Mapping[str, Any]
    table: Table | None = None
    note: str = ""
    height: int = 420
    width: int = 0
    half: bool = False
    thumbnails: tuple[str, ...] = ()


@dataclass(frozen=True)
class Photo:
    """A photo with what was said of it; `image` is a data address, "" where there is none."""

    path: str
    true: str
    predicted: str
    confidence: float | None
    image: str = ""


@dataclass(frozen=True)
class Gallery:
    """Photos side by side; `half` may stand beside another."""

    name: str
    title: str
    photos: tuple[Photo, ...]
    note: str = ""
    half: bool = False


@dataclass(frozen=True)
class Findings:
    """Findings, each with what it means."""

    items: tuple[tuple[Finding, str], ...]


@dataclass(frozen=True)
class Facts:
    """Names and values: (name, value) each."""

    name: str
    title: str
    items: tuple[tuple[str, str], ...]


Block = Text | Figures | Table | Chart | Gallery | Findings | Facts


@dataclass(frozen=True)
class Section:
    """A heading and what is below it."""

    name: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Report:
    """All of it.

    Attributes
    ----------
    title : str
        Name of the data set.
    subtitle : str
        How many images, classes, runs.
    sections : tuple of Section
    comparison : Table
        The main table, which is the whole of the CSV.
    about : mapping
        "dataset", "test_digest", "runs" (count), "made" (time), "featx" (version).
    findings : tuple of Finding
    """

    title: str
    subtitle: str
    sections: tuple[Section, ...]
    comparison: Table
    about: Mapping[str, Any] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
