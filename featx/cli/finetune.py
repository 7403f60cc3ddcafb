"""`featx finetune`: train the last layers of a pretrained backbone."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options, training


@click.command()
@options.data_argument()
@options.backbones("Backbone, see: featx list backbones  [default: mobilenet]")
@options.weights
@options.image_size
@click.option(
    "--unfreeze",
    "-u",
    multiple=True,
    callback=options.specs,
    metavar="N|half|all|none|from:LAYER",
    help="What is trained of the backbone: its last N layers, its last half, or all from a layer "
    "(name or number) on. Each value is a run. See: featx list layers  [default: half]",
)
@click.option(
    "--head",
    default="logreg",
    show_default=True,
    metavar="SPEC",
    help="Head: logreg, linear_svc, 'mlp(hidden=(512,256), dropout=0.2)'.",
)
@options.poolings("Between backbone and head: avg, max or flatten.  [default: avg]")
@click.option(
    "--start",
    type=click.Choice(["auto", "warm", "cold"]),
    default="auto",
    show_default=True,
    help="warm: the head as fitted on cached features; cold: at random. auto is warm unless "
    "convolutions are added.",
)
@click.option(
    "--drop-last",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    metavar="K",
    help="Leave out the last K layers of the backbone.",
)
@click.option(
    "--add-conv",
    default="",
    metavar="SPEC",
    help="Convolutions between backbone and head: 'conv(256)+conv(256, batch_norm=True)'.",
)
@click.option(
    "--trunk",
    type=click.Choice(["auto", "cached", "whole"]),
    default="auto",
    show_default=True,
    help="cached: compute the frozen part once for all epochs; whole: in each. The results are the "
    "same.",
)
@training.protocol
@training.fitting(optimizer="adam(1e-4)", epochs=30, patience=5)
@options.cache_dir
@options.runs_dir
@options.output
def finetune(
    data: str,
    backbones: tuple[str, ...],
    weights: tuple[str, ...],
    image_size: tuple[int, int] | None,
    unfreeze: tuple[str, ...],
    head: str,
    poolings: tuple[str, ...],
    start: str,
    drop_last: int,
    add_conv: str,
    trunk: str,
    shots: tuple[int | None, ...],
    draws: int,
    epochs: int,
    patience: int,
    optimizer: str,
    augment: str,
    batch_size: int,
    precision: str,
    seed: int,
    test_fraction: float,
    target: str | None,
    resume: bool,
    cache_dir: Path,
    runs_dir: Path,
    as_json: bool,
    quiet: bool,
) -> None:
    """Train the last layers of pretrained backbones on the images of DATA, and test each once.

    DATA is what `featx extract` takes. The head starts as it was fitted on the cached features,
    which are extracted first where they are not there. The test images and the draws are those of
    `featx classify`, so that their rows compare. Stopped by Ctrl-C or killed, the same command
    goes on after the last finished epoch.
    """
    from featx.compare import comparison_json, format_table
    from featx.finetune import finetune as run

    comparison = run(
        data,
        backbones=backbones or ("mobilenet",),
        weights=weights,
        image_size=image_size,
        unfreeze=unfreeze or ("half",),
        head=head,
        pooling=poolings or ("avg",),
        start=start,
        drop_last=drop_last,
        add_conv=add_conv,
        trunk=trunk,
        shots=shots,
        draws=draws,
        epochs=epochs,
        patience=patience,
        optimizer=optimizer,
        augment=augment,
        batch_size=batch_size,
        precision=precision,
        seed=seed,
        test_fraction=test_fraction,
        target=target,
        resume=resume,
        cache_dir=cache_dir,
        runs_dir=runs_dir,
        progress=not quiet,
    )
    if as_json:
        options.echo_json(comparison_json(comparison))
    else:
        click.echo(format_table(comparison))
