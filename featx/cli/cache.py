"""`featx cache`: see, check, mend, tidy and export what is cached."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from featx.cli import options
from featx.cli.text import columns, file_size
from featx.errors import CacheCorruptError, CacheMissError

if TYPE_CHECKING:
    from featx.store import EntryInfo

_what = click.argument("what", required=False, metavar="[WHAT]")


@click.group()
def cache() -> None:
    """See, check, mend, tidy and export the cached features.

    WHAT is a data set's name, an entry ("trashnet/mobilenet-66a08cb1a248") or a folder; left out,
    it is the whole cache.
    """


@cache.command("ls")
@_what
@options.cache_dir
@options.output
def list_cache(what: str | None, cache_dir: Path, as_json: bool, quiet: bool) -> None:
    """Show the entries: images, taps, size on disk, age and state."""
    from featx.store import list_entries

    entries = list_entries(_folder(what, cache_dir))
    if as_json:
        options.echo_json([_about(entry) for entry in entries])
        return
    if not entries:
        click.echo(f"Nothing is cached in {cache_dir}. Start with: featx extract DATA")
        return
    rows = [("entry", "images", "set aside", "taps", "size", "changed", "state")]
    rows += [
        (
            f"{e.path.parent.name}/{e.path.name}",
            str(e.images),
            str(e.quarantined),
            ",".join(e.taps),
            file_size(e.size_bytes),
            f"{datetime.datetime.fromtimestamp(e.changed):%Y-%m-%d %H:%M}",
            e.state,
        )
        for e in entries
    ]
    click.echo(columns(rows, right=(1, 2, 4)))


@cache.command()
@click.argument("what", metavar="WHAT")
@options.cache_dir
@options.output
def info(what: str, cache_dir: Path, as_json: bool, quiet: bool) -> None:
    """Show all that is known of the entries of WHAT: key, taps, what was set aside."""
    from featx.store import about_view, list_entries

    documents = []
    for entry in list_entries(_folder(what, cache_dir)):
        view = about_view(entry.path)
        document = _about(entry)
        document["provenance"] = dict(view.provenance) if view else {}
        document["set_aside"] = [list(item) for item in view.quarantined] if view else []
        documents.append(document)
    if as_json:
        options.echo_json(documents)
        return
    for document in documents:
        click.echo(document.pop("path"))
        for name, value in document.items():
            if isinstance(value, dict):
                value = ", ".join(f"{k}={v}" for k, v in value.items())
            elif isinstance(value, list):
                value = "; ".join(": ".join(item) for item in value) or "none"
            click.echo(f"  {name}: {value}")


@cache.command()
@_what
@options.cache_dir
@options.output
def verify(what: str | None, cache_dir: Path, as_json: bool, quiet: bool) -> None:
    """Read every byte of WHAT and hold it against its checksums; exit 1 where any is wrong."""
    from featx.store import verify as run

    report = run(_folder(what, cache_dir))
    if as_json:
        options.echo_json(report)
    else:
        click.echo(f"{report['rows']} rows in {report['entries']} entries checked")
        for flaw in report["bad"]:
            click.echo(f"  {flaw['path']}: {flaw['reason']}, {len(flaw['rows'])} rows lost")
    if report["bad"]:
        raise CacheCorruptError(
            f"{len(report['bad'])} damages found. Run featx cache repair, then featx extract "
            "computes the lost rows again."
        )


@cache.command()
@_what
@options.cache_dir
@options.output
def repair(what: str | None, cache_dir: Path, as_json: bool, quiet: bool) -> None:
    """Take out what is damaged and keep the rest; the next extract computes just the lost rows."""
    from featx.store import repair as run

    report = run(_folder(what, cache_dir))
    if as_json:
        options.echo_json(report)
        return
    click.echo(
        f"{report['entries']} entries: {len(report['bad'])} damages, {report['kept']} rows moved "
        f"out of damaged files, {report['lost']} rows lost"
    )
    if report["lost"]:
        click.echo("Run featx extract again: it computes just the lost rows.")


@cache.command()
@_what
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@options.cache_dir
@options.output
def gc(what: str | None, dry_run: bool, cache_dir: Path, as_json: bool, quiet: bool) -> None:
    """Take out the rows of deleted images, second copies and leavings of stopped runs."""
    from featx.store import gc as run

    report = run(_folder(what, cache_dir), dry_run=dry_run)
    if as_json:
        options.echo_json(report)
        return
    verb = "would go" if dry_run else "gone"
    click.echo(
        f"{report['entries']} entries: {report['rows']} rows {verb}, "
        f"{file_size(report['freed_bytes'])} {'to free' if dry_run else 'freed'}"
    )


@cache.command()
@click.argument("what", metavar="WHAT")
@click.option("--yes", "-y", is_flag=True, help="Do not ask.")
@options.cache_dir
@options.output
def rm(what: str, yes: bool, cache_dir: Path, as_json: bool, quiet: bool) -> None:
    """Remove an entry, or all entries of a data set."""
    from featx.store import list_entries, remove

    folder = _folder(what, cache_dir)
    entries = list_entries(folder)
    size = sum(e.size_bytes for e in entries)
    if not yes and entries:
        click.confirm(
            f"Remove {len(entries)} entries of {folder} ({file_size(size)})?", abort=True, err=True
        )
    count = remove(folder)
    if as_json:
        options.echo_json({"removed": count, "freed_bytes": size})
    else:
        click.echo(f"{count} entries removed, {file_size(size)} freed")


@cache.command()
@click.argument("what", metavar="ENTRY")
@click.argument("out", type=click.Path(path_type=Path, dir_okay=False))
@options.poolings("Only this tap. [default: all]")
@options.cache_dir
@options.output
def export(
    what: str, out: Path, poolings: tuple[str, ...], cache_dir: Path, as_json: bool, quiet: bool
) -> None:
    """Write the features, labels and paths of ENTRY to one plain .h5, .npz or .parquet file."""
    from featx.store import export_entry

    export_entry(_folder(what, cache_dir), out, list(poolings) or None)
    size = out.stat().st_size
    if as_json:
        options.echo_json({"path": str(out), "bytes": size})
    else:
        click.echo(f"{out}: {file_size(size)}")


def _folder(what: str | None, cache_dir: Path) -> Path:
    """Return the folder meant: below the cache directory, or as it stands."""
    if what is None:
        return cache_dir
    for folder in (cache_dir / what, Path(what)):
        if folder.is_dir():
            return folder
    raise CacheMissError(f"{what!r} is not in {str(cache_dir)!r}. See: featx cache ls")


def _about(entry: EntryInfo) -> dict[str, Any]:
    from featx.records import to_json

    document: dict[str, Any] = to_json(entry)
    document["path"] = str(entry.path)
    document["taps"] = {t: f"{s.width} {s.dtype}" for t, s in entry.taps.items()}
    document["changed"] = datetime.datetime.fromtimestamp(entry.changed, tz=datetime.UTC).isoformat(
        timespec="seconds"
    )
    return document
