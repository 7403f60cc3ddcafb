"""Options that commands share, and how their values are read."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeVar, cast

import click

from featx.errors import SpecError
from featx.specstring import split_specs

F = TypeVar("F", bound=Callable[..., Any])


def data_argument(required_text: str = "digits") -> Callable[[F], F]:
    """Add the argument DATA; left out, it is the embedded sample."""
    return click.argument("data", required=False, default=required_text, metavar="[DATA]")


class _FolderOrURL(click.Path):
    """A folder, as a Path; or a URL, as it is."""

    def convert(self, value: Any, *about: Any) -> Any:
        return value if "://" in str(value) else super().convert(value, *about)


def cache_dir(command: F) -> F:
    """Add --cache-dir; of a cache in object storage the command gets the mirror on this machine."""

    @functools.wraps(command)
    def run(*args: Any, cache_dir: Path | str, **options: Any) -> Any:
        if isinstance(cache_dir, str):
            from featx.store import local_cache

            cache_dir = local_cache(cache_dir)
        return command(*args, cache_dir=cache_dir, **options)

    return click.option(
        "--cache-dir",
        type=_FolderOrURL(path_type=Path, file_okay=False),
        default="features",
        envvar="FEATX_CACHE",
        show_default=True,
        show_envvar=True,
        metavar="DIRECTORY|URL",
        help="Where cached features are kept; also s3://BUCKET/PREFIX, gs://….",
    )(cast(F, run))


def runs_dir(command: F) -> F:
    """Add --runs-dir."""
    return click.option(
        "--runs-dir",
        type=click.Path(path_type=Path, file_okay=False),
        default="runs",
        envvar="FEATX_RUNS",
        show_default=True,
        show_envvar=True,
        help="Where run records are written.",
    )(command)


class Duration(click.ParamType):
    """A time such as 90min, as seconds."""

    name = "duration"
    _SECONDS: ClassVar = {"s": 1, "min": 60, "h": 3600, "d": 86400}

    def get_metavar(self, *_: Any, **__: Any) -> str:
        """Return how it is shown in help."""
        return "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the seconds."""
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(s|min|h|d)", value.strip())
        seconds = float(found[1]) * self._SECONDS[found[2]] if found else 0.0
        if not seconds:
            self.fail(f"{value!r} is no time. Write 8h, 90min, 2d or 30s.", param, ctx)
        return seconds


def cluster(help_text: str) -> Callable[[F], F]:
    """Add --cluster."""
    return click.option("--cluster", metavar="auto|local|ray://HOST:PORT", help=help_text)


def output(command: F) -> F:
    """Add --json and --quiet."""
    command = click.option("--quiet", "-q", is_flag=True, help="No progress on stderr.")(command)
    return click.option(
        "--json", "as_json", is_flag=True, help="Write one JSON document to stdout."
    )(command)


def backbones(help_text: str, default: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Add --backbone."""
    return click.option(
        "--backbone",
        "-b",
        "backbones",
        multiple=True,
        callback=specs,
        default=default,
        metavar="SPEC",
        help=help_text,
    )


def poolings(help_text: str, default: tuple[str, ...] = ()) -> Callable[[F], F]:
    """Add --pooling."""
    return click.option(
        "--pooling",
        "-p",
        "poolings",
        multiple=True,
        callback=specs,
        default=default,
        metavar="TAP",
        help=help_text,
    )


def weights(command: F) -> F:
    """Add --weights."""
    return click.option(
        "--weights",
        "-w",
        multiple=True,
        callback=paths_or_words,
        metavar="imagenet|random|auto|PATH",
        help="Weights: once for all backbones, or once for each in their order. "
        "[default: auto for the embedded sample, else imagenet]",
    )(command)


def image_size(command: F) -> F:
    """Add --image-size."""
    return image_size_of("the backbone's own")(command)


def image_size_of(default: str) -> Callable[[F], F]:
    """Add --image-size, its default in words."""
    return click.option(
        "--image-size",
        callback=_image_size,
        metavar="N or HxW",
        help=f"Input size in pixels; default: {default}.",
    )


def image_sizes(command: F) -> F:
    """Add --image-size, which may be given several times or take commas."""
    return click.option(
        "--image-size",
        "image_sizes",
        multiple=True,
        callback=_image_sizes,
        metavar="N or HxW",
        help="Input size in pixels, each an entry of its own; default: the backbone's own.",
    )(command)


def specs(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Flatten repeated and comma-separated values, each once, in the order given."""
    return tuple(dict.fromkeys(spec for value in values for spec in split_specs(value)))


def names(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Flatten repeated and comma-separated names, which may hold any other character."""
    found = [name.strip() for value in values for name in value.split(",")]
    return tuple(dict.fromkeys(name for name in found if name))


def whole_numbers(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[int | None, ...]:
    """Read `--shots 20 --shots 100,all`: whole numbers from 1, and "all" as None."""
    found: list[int | None] = []
    for value in specs(context, parameter, values):
        if value == "all":
            found.append(None)
        elif value.isdigit() and int(value) > 0:
            found.append(int(value))
        else:
            raise click.BadParameter(f"{value!r} is not a whole number from 1, nor 'all'.")
    return tuple(dict.fromkeys(found))


def counts(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[int, ...]:
    """Read `--average 2 --average 3,5`: whole numbers from 2."""
    found = []
    for value in specs(context, parameter, values):
        if not value.isdigit() or int(value) < 2:
            raise click.BadParameter(f"{value!r} is not a whole number from 2.")
        found.append(int(value))
    return tuple(dict.fromkeys(found))


def paths_or_words(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    """Split comma lists, but not the path of a file that has a comma in its name."""
    found: list[str] = []
    for value in values:
        found += [value] if Path(value).exists() else split_specs(value)
    return tuple(found)


def echo_json(document: Any) -> None:
    """Write `document` to stdout as JSON."""
    click.echo(json.dumps(document, indent=1, allow_nan=False))


def _image_size(
    context: click.Context, parameter: click.Parameter, value: str | None
) -> tuple[int, int] | None:
    return None if value is None else _read_size(value)


def _image_sizes(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[tuple[int, int], ...]:
    """Read `--image-size 128 --image-size 160x224,224`: (height, width), each once."""
    return tuple(dict.fromkeys(_read_size(v) for v in specs(context, parameter, values)))


def _read_size(text: str) -> tuple[int, int]:
    height, _, width = text.lower().partition("x")
    try:
        size = (int(height), int(width or height))
    except ValueError:
        size = (0, 0)
    if min(size) < 1:
        raise SpecError(
            f"Cannot read the image size {text!r}. Write 224, or 192x256 (height x width)."
        )
    return size
