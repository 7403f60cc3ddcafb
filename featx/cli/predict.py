"""`featx predict`: classes of images by an exported model."""

from __future__ import annotations

import os
from pathlib import Path

import click

from featx.cli import options


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=str))
@click.option(
    "--top", type=click.IntRange(1), default=1, show_default=True, help="Classes to show an image."
)
@click.option(
    "--csv",
    "csv_path",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Write a line an image to this file, instead of to stdout.",
)
@options.output
def predict(
    model: Path, paths: tuple[str, ...], top: int, csv_path: Path | None, as_json: bool, quiet: bool
) -> None:
    """Predict the images in PATHS (files, folders, globs) with MODEL, which featx export made.

    Prints path, class and probability, with tabs between. Images that cannot be read are reported
    and the others go on; then the exit status is 1.
    """
    from featx.deploy import load_model
    from featx.deploy.listing import Counts, format_line, json_pieces, predict_files

    loaded, counts = load_model(model), Counts()
    found = predict_files(loaded, paths, counts, csv_path=csv_path, top=top, progress=not quiet)
    if as_json:
        for piece in json_pieces(loaded, found, counts, top):
            click.echo(piece, nl=False)
        click.echo()
    else:
        for record in found:
            if not record.error and csv_path is None:
                click.echo(os.fsencode(format_line(loaded, record, top)))
    for path, reason in counts.errors:
        click.echo(os.fsencode(f"Error: {path}: {reason}"), err=True)
    counts.require_all()
    if csv_path is not None and not as_json:
        click.echo(f"{counts.images} images -> {csv_path}")
