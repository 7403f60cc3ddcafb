"""`featx classify`: fit and compare heads on cached features."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options


@click.command()
@options.data_argument()
@options.backbones("Only features of this backbone. [default: all that are cached]")
@options.poolings("Only this tap. [default: all that are cached]")
@options.weights
@options.image_sizes
@click.option(
    "--views",
    "use_views",
    is_flag=True,
    help="Learn from the altered copies that extract --views cached, too, and average the scores "
    "of an image's copies when testing; shown beside the rows without.",
)
@click.option(
    "--fuse",
    multiple=True,
    callback=options.specs,
    metavar="A+B",
    help="Features of several backbones side by side, beside the single ones: vgg16+resnet50, "
    "vgg16:flatten+resnet50:avg. A part without a tap takes that of --pooling, else avg. With no "
    "--backbone the single features are the parts.",
)
@click.option("--fused-only", is_flag=True, help="Leave out the single features.")
@click.option(
    "--head",
    "-e",
    "heads",
    multiple=True,
    callback=options.specs,
    metavar="SPEC",
    help="Head, with parameters: linear_svc, 'knn(k=5)', 'mlp(hidden=(512, 256))'; with steps "
    "before it: power+l2+linear_svc, 'pca(n=128)+knn'. See: featx list heads. "
    "[default: linear_svc,logreg]",
)
@click.option(
    "--average",
    multiple=True,
    callback=options.counts,
    metavar="N",
    help="Add a row that averages the probabilities of the N heads that are best on held-out "
    "training images, over all features compared.",
)
@click.option(
    "--shots",
    "-s",
    multiple=True,
    default=("all",),
    callback=options.whole_numbers,
    metavar="N|all",
    help="Training images a class. [default: all]",
)
@click.option(
    "--draws",
    type=click.IntRange(1),
    default=3,
    show_default=True,
    help="Draws of training images at each number of shots.",
)
@click.option(
    "--folds",
    type=click.IntRange(2),
    default=5,
    show_default=True,
    help="Folds to choose C and the like on, where the data set has no validation split.",
)
@click.option(
    "--test-fraction",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.3,
    show_default=True,
    help="Part of the images to test on, where the data set has no test split.",
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of all draws.")
@click.option(
    "--target",
    "targets",
    multiple=True,
    callback=options.names,
    metavar="COLUMN",
    help="Label column. Several (class,recyclable) give a comparison each on the same images, and "
    "beside each mlp one network with an output a column. [default: the first; with --attributes "
    "all of its columns too]",
)
@click.option(
    "--attributes",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="CSV",
    help="A class → attribute table (first line: class,recyclable): more label columns, made of "
    "the classes.",
)
@click.option(
    "--test-on",
    metavar="DATA",
    help="Train on all images of DATA and test on all of this data set, which has the same classes "
    "and is cached in the same way.",
)
@options.cluster(
    "Fit heads on workers: local is processes on this machine, auto the Ray cluster that this "
    "machine is part of."
)
@options.cache_dir
@options.runs_dir
@options.output
def classify(
    data: str,
    backbones: tuple[str, ...],
    poolings: tuple[str, ...],
    weights: tuple[str, ...],
    image_sizes: tuple[tuple[int, int], ...],
    use_views: bool,
    fuse: tuple[str, ...],
    fused_only: bool,
    heads: tuple[str, ...],
    average: tuple[int, ...],
    shots: tuple[int | None, ...],
    draws: int,
    folds: int,
    test_fraction: float,
    seed: int,
    targets: tuple[str, ...],
    attributes: Path | None,
    test_on: str | None,
    cluster: str | None,
    cache_dir: Path,
    runs_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Fit and compare heads on the cached features of DATA.

    DATA is what `featx extract` was given, the data set's name in the cache, or an .npz, .h5 or
    .parquet file of embeddings made elsewhere. C and the like are chosen on the validation split,
    or by cross-validation inside the training images; the test images are touched once.
    """
    from featx.classify import classify_targets
    from featx.compare.several import comparisons_json, format_tables

    comparisons = classify_targets(
        data,
        targets=targets,
        attributes=attributes,
        test_on=test_on,
        backbones=backbones,
        taps=poolings,
        weights=weights,
        image_size=list(image_sizes),
        use_views=use_views,
        fuse=fuse,
        fused_only=fused_only,
        heads=heads or ("linear_svc", "logreg"),
        average=average,
        shots=shots,
        draws=draws,
        folds=folds,
        test_fraction=test_fraction,
        seed=seed,
        cache_dir=cache_dir,
        runs_dir=runs_dir,
        cluster=cluster,
        progress=not quiet,
    )
    if as_json:
        options.echo_json(comparisons_json(comparisons))
    else:
        click.echo(format_tables(comparisons))
