"""`featx report`: the runs on a data set as one page."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options


@click.command()
@click.argument("data", required=False, metavar="[DATA]")
@click.option(
    "--out",
    "-o",
    type=click.Path(path_type=Path),
    default="report",
    show_default=True,
    metavar="FILE|DIR",
    help="A file ending in .html, .md, .csv or .json, or a folder for all four.",
)
@click.option(
    "--photos",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Where the photos are now, if they moved. [default: where they were]",
)
@click.option(
    "--target",
    help="Label column, where there are runs on several. [default: the latest run's]",
)
@click.option(
    "--test-rows",
    default="",
    metavar="DIGITS",
    help="First digits of the digest of the test rows, where there are runs on several. "
    "[default: those of the latest run]",
)
@options.cache_dir
@options.runs_dir
@options.output
def report(
    data: str | None,
    out: Path,
    photos: Path | None,
    target: str | None,
    test_rows: str,
    cache_dir: Path,
    runs_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write the runs on DATA as one HTML page, and as Markdown, CSV and JSON.

    DATA is what `featx extract` was given, or the data set's name; it may be left out where there
    are runs of one data set only. The page needs no network and nothing beside it. Runs on the
    same test images are compared; of a run made twice the newest counts.
    """
    from featx.report import write_report
    from featx.report.document import report_document

    content, paths = write_report(
        data,
        out=out,
        runs_dir=runs_dir,
        cache_dir=cache_dir,
        photos=photos,
        target=target,
        test_rows=test_rows,
    )
    if as_json:
        options.echo_json(report_document(content))
    elif not quiet:
        for path in paths:
            click.echo(path)
