"""`featx export`: a run as one model file."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options


@click.command()
@click.argument("run")
@click.option(
    "--out",
    "-o",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to write it. Its name tells the format: model.keras, model.onnx, model.xml "
    "(OpenVINO), or a folder (TensorFlow SavedModel).",
)
@click.option(
    "--format",
    "format_name",
    metavar="NAME",
    help="keras, saved_model, onnx or openvino, where the name shall not tell.",
)
@click.option(
    "--dataset",
    metavar="NAME",
    help="With RUN best: the data set, where there are runs on several.",
)
@click.option(
    "--weights",
    "-w",
    multiple=True,
    metavar="PATH",
    help="A weights file that is not where it was when the features were extracted.",
)
@click.option(
    "--check",
    type=click.IntRange(0),
    default=32,
    show_default=True,
    metavar="N",
    help="Test photos to try the model on before it is put in its place.",
)
@click.option("--force", is_flag=True, help="Replace a model that is there.")
@options.cache_dir
@options.runs_dir
@options.output
def export(
    run: str,
    out: Path,
    format_name: str | None,
    dataset: str | None,
    weights: tuple[str, ...],
    check: int,
    force: bool,
    cache_dir: Path,
    runs_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Write backbone, preprocessing and head of RUN as one model: pixels in, probabilities out.

    RUN is a run record (its path, its name, or how its name begins), or "best". Its head is fitted
    again from the cache and must predict what the record says. See docs/deploy.md.
    """
    from featx.deploy import export as write
    from featx.records import to_json

    made = write(
        run,
        out,
        format=format_name,
        dataset=dataset,
        weights=weights,
        check=check,
        force=force,
        cache_dir=cache_dir,
        runs_dir=runs_dir,
        progress=not quiet,
    )
    if as_json:
        options.echo_json(to_json(made))
    else:
        click.echo(made.summary())
