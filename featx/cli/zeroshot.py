"""`featx zeroshot`: the pretrained ImageNet classifier on a data set, before any training."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options


@click.command()
@options.data_argument()
@options.backbones("Backbone, with parameters. [default: mobilenet]")
@click.option(
    "--weights",
    "-w",
    multiple=True,
    callback=options.paths_or_words,
    metavar="imagenet|PATH",
    help="Weights with the classifier (its top): once for all backbones, or once for each in their "
    "order. [default: imagenet]",
)
@click.option(
    "--mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CSV",
    help="Which ImageNet classes each class is (class,imagenet). [default: by its name in WordNet]",
)
@click.option(
    "--write-mapping",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CSV",
    help="Write the mapping by name to edit, and stop.",
)
@click.option("--target", help="Label column. [default: the first]")
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.3,
    show_default=True,
    help="Part of the images to test on, where the data set has no test split.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the split.")
@options.cache_dir
@options.runs_dir
@options.output
def zeroshot(
    data: str,
    backbones: tuple[str, ...],
    weights: tuple[str, ...],
    mapping: Path | None,
    write_mapping: Path | None,
    target: str | None,
    test_fraction: float,
    seed: int,
    cache_dir: Path,
    runs_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Score the pretrained ImageNet classifier on DATA, before anything is trained.

    Classes of DATA that overlap ImageNet are found by name, or given with --mapping. The test
    images are those of `featx classify`; images of other classes count as wrong, and the figures of
    the overlapping classes stand beside.
    """
    from featx.compare import comparison_json, format_table
    from featx.zeroshot import propose_mapping
    from featx.zeroshot import zeroshot as run

    if write_mapping is not None:
        overlap = propose_mapping(data, write_mapping, target=target, cache_dir=cache_dir)
        if as_json:
            options.echo_json({name: overlap.names(name) for name in overlap.outputs})
        else:
            click.echo(f"{overlap.describe()}. Written to {write_mapping}.")
        return
    comparison = run(
        data,
        backbones=backbones or ("mobilenet",),
        weights=weights,
        mapping=mapping,
        target=target,
        test_fraction=test_fraction,
        seed=seed,
        cache_dir=cache_dir,
        runs_dir=runs_dir,
        progress=not quiet,
    )
    if as_json:
        options.echo_json(comparison_json(comparison))
    else:
        click.echo(format_table(comparison))
