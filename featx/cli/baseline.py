"""`featx baseline`: train CNNs from scratch, to hold pretrained backbones against."""

from __future__ import annotations

from pathlib import Path

import click

from featx.cli import options, training


@click.command()
@options.data_argument()
@click.option(
    "--net",
    "-n",
    "nets",
    multiple=True,
    callback=options.specs,
    metavar="SPEC",
    help="Network: simple_cnn, small_cnn, 'scratch(mobilenet_v2)'. See: featx list nets. "
    "[default: simple_cnn]",
)
@options.image_size_of("224, or the backbone's own (32 for the embedded sample)")
@training.protocol
@training.fitting(optimizer="adam", epochs=60, patience=10)
@options.cache_dir
@options.runs_dir
@options.output
def baseline(
    data: str,
    nets: tuple[str, ...],
    image_size: tuple[int, int] | None,
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
    """Train CNNs from scratch on the images of DATA, and test each once.

    DATA is what `featx extract` takes. The test images are those of `featx classify`, and so are
    the draws, so that their rows compare. Stopped by Ctrl-C or killed, the same command goes on
    after the last finished epoch.
    """
    from featx.baseline import baseline as run
    from featx.compare import comparison_json, format_table

    comparison = run(
        data,
        nets=nets or ("simple_cnn",),
        image_size=image_size,
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
