"""`featx extract`: run backbones over the images once and cache the features."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options


@click.command()
@options.data_argument()
@options.backbones(
    "Backbone, with parameters: mobilenet, 'mobilenet(alpha=0.25)'. See: featx list backbones. "
    "[default: mobilenet]"
)
@options.poolings(
    "Tap: avg, max, flatten, or a layer with one of them (block4_pool:avg). [default: avg]"
)
@options.weights
@options.image_sizes
@click.option(
    "--views",
    default="",
    metavar="flip|N",
    help="Extract altered copies of each image too: mirrored ones, N augmented ones (crop, mirror, "
    "mild colour), or both: flip,3. For: featx classify --views.",
)
@click.option(
    "--engine",
    default="auto",
    show_default=True,
    help="What runs the graph: openvino, tensorflow, jax.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16", "float16", "auto"]),
    default="float32",
    show_default=True,
    help="Numeric precision of the forward pass; part of the cache key. auto: bfloat16 where it is "
    "native, else float32.",
)
@click.option(
    "--stored",
    type=click.Choice(["float32", "float16"]),
    default="float32",
    show_default=True,
    help="Precision of the rows on disk; part of the cache key.",
)
@click.option(
    "--compression",
    type=click.Choice(["none", "blosc2"]),
    help="Of the rows on disk; flattened taps take about 0.4 of the space and are slower to read. "
    "[default: as the cache has them already, else none]",
)
@click.option("--strict", is_flag=True, help="Stop at the first image that cannot be decoded.")
@click.option(
    "--dry-run", is_flag=True, help="Print what would be done, the space and the time it needs."
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    metavar="N",
    help="With --dry-run: plan for N images like these, none of them cached.",
)
@click.option(
    "--deadline",
    type=options.Duration(),
    help="With --dry-run: say how many workers like this machine are done in 8h, 90min or 2d.",
)
@options.cluster(
    "Compute on the workers of a Ray cluster: auto is the one that this machine is part of, local "
    "one started for this run. They need the images and the cache at the same paths as here."
)
@options.cache_dir
@options.output
def extract(
    data: str,
    backbones: tuple[str, ...],
    poolings: tuple[str, ...],
    weights: tuple[str, ...],
    image_sizes: tuple[tuple[int, int], ...],
    views: str,
    engine: str,
    precision: str,
    stored: str,
    compression: str | None,
    strict: bool,
    dry_run: bool,
    images: int | None,
    deadline: float | None,
    cluster: str | None,
    cache_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Run backbones over the images of DATA once and cache the features.

    DATA is a folder of class folders (also below train/, val/, test/), a CSV manifest, an .npz, a
    .zip or .tar of these, or one of: digits, cifar10, cifar100. Left out, it is digits, the
    embedded sample. Images whose features are cached already cost nothing.
    """
    if not dry_run and (images is not None or deadline is not None):
        raise click.UsageError("--images and --deadline are of a plan: give --dry-run too.")
    from featx.extract import extract as run

    report = run(
        data,
        backbone=backbones or ("mobilenet",),
        pooling=poolings or ("avg",),
        weights=weights or None,
        image_size=list(image_sizes),
        views=views,
        engine=engine,
        precision=precision,
        stored=stored,
        compression=compression,
        strict=strict,
        dry_run=dry_run,
        images=images,
        deadline=deadline,
        cluster=cluster,
        cache_dir=cache_dir,
        progress=not quiet,
    )
    if as_json:
        options.echo_json(report.to_json())
        return
    if precision == "auto" and not quiet:
        click.echo(f"precision auto: {report.precision} here (see: featx doctor)", err=True)
    click.echo(report.summary())
    for item in report.quarantined[:5]:
        click.echo(f"  set aside: {item[0]!r}: {item[1]}", err=True)
    if len(report.quarantined) > 5:
        click.echo(f"  … and {len(report.quarantined) - 5} more (--json lists all)", err=True)
