"""The report: runs and what they were made of, as one HTML page, Markdown, CSV and JSON.

`make_report` gathers the content, blocks of a few kinds (`featx.report.blocks`); the writers in
`FORMATS` put the same content in each format. Whatever is missing (photos that moved, a cache that
was removed, scores that were not kept) leaves its part out and says so.
"""

from __future__ import annotations

import os
from pathlib import Path

from featx.errors import RunError, SpecError
from featx.report.blocks import Report
from featx.report.choose import choose_runs
from featx.report.document import write_json
from featx.report.html import write_html
from featx.report.markdown import write_markdown
from featx.report.sections import list_sections
from featx.report.subject import Subject
from featx.report.table import write_csv
from featx.store import local_cache

__all__ = ["FORMATS", "make_report", "write_report"]

FORMATS = {
    "html": write_html,
    "md": write_markdown,
    "csv": write_csv,
    "json": write_json,
}
"""Suffix to the function that returns a `Report` as text in that format."""


def make_report(
    data: str | os.PathLike[str] | None = None,
    *,
    runs_dir: str | os.PathLike[str] = "runs",
    cache_dir: str | os.PathLike[str] = "features",
    photos: str | os.PathLike[str] | None = None,
    target: str | None = None,
    test_rows: str = "",
) -> Report:
    """Gather what is to be said of the runs on one data set.

    Parameters
    ----------
    data : str or path, optional
        What was given to `featx extract`, or the data set's name. May be left out where `runs_dir`
        has runs of one data set only.
    runs_dir : path
        With the run records.
    cache_dir : path
        With the features; without it there is no map and less about the data.
    photos : path, optional
        Folder that the data set's paths start from, where it moved since it was tested on. Only
        photos that have the same bytes still are shown.
    target : str, optional
        Label column, where there are runs on several; default: that of the latest run.
    test_rows : str
        First digits of the digest of the test rows, where there are runs on several: only runs on
        the same rows can be compared. Default: the rows of the latest run.

    Returns
    -------
    Report

    Raises
    ------
    RunError
        There are no runs, or none that can be read.
    SpecError
        `data`, `target` or `test_rows` names nothing there is, or is needed to tell several apart;
        the message lists them.
    """
    chosen = choose_runs(data, runs_dir, target=target, test_rows=test_rows)
    folder = photos or data
    if photos is not None and not os.path.isdir(photos):
        raise SpecError(f"There is no folder {os.fspath(photos)!r} to take photos from.")
    cache = local_cache(cache_dir)
    return list_sections(Subject.gather(chosen, photos=folder, cache_dir=cache))


def write_report(
    data: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] = "report",
    runs_dir: str | os.PathLike[str] = "runs",
    cache_dir: str | os.PathLike[str] = "features",
    photos: str | os.PathLike[str] | None = None,
    target: str | None = None,
    test_rows: str = "",
) -> tuple[Report, list[Path]]:
    """Write the report of the runs on one data set.

    Parameters
    ----------
    data, runs_dir, cache_dir, photos, target, test_rows
        As `make_report`.
    out : path
        A file ending in .html, .md, .csv or .json, which alone is written; or a folder, made where
        it is missing, for report.html, report.md, report.csv and report.json.

    Returns
    -------
    report : Report
    paths : list of Path
        What was written.

    Raises
    ------
    RunError
        As `make_report`, or `out` cannot be written.
    SpecError
        As `make_report`, or `out` has another suffix.
    """
    paths = _list_paths(Path(out))
    report = make_report(
        data,
        runs_dir=runs_dir,
        cache_dir=cache_dir,
        photos=photos,
        target=target,
        test_rows=test_rows,
    )
    for path in paths:
        text = FORMATS[path.suffix.lower().lstrip(".")](report)
        temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_text(text, encoding="utf-8", errors="replace", newline="")
                os.replace(temporary, path)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            raise RunError(
                f"Cannot write the report {path}: {error.strerror or error}. "
                "Free space there, or name another place with --out."
            ) from error
    return report, paths


def _list_paths(out: Path) -> list[Path]:
    if out.is_dir() or not out.suffix:
        return [out / f"report.{suffix}" for suffix in FORMATS]
    if out.suffix.lower().lstrip(".") not in FORMATS:
        raise SpecError(
            f"Cannot write a report as {out.name!r}: end the name in "
            f"{', '.join('.' + suffix for suffix in FORMATS)}, or name a folder for all of them."
        )
    return [out]
