"""The command line: one file a command, options shared by decorators, one error boundary.

Nothing heavier than click is imported until a command runs, so that `featx --help` is instant.
Exit status: 0 done, 1 a featx error (one readable message, no traceback), 2 wrong usage,
130 stopped by Ctrl-C, 143 by SIGTERM.
"""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
from contextlib import suppress
from types import FrameType

import click

from featx import __version__
from featx.cli.baseline import baseline
from featx.cli.cache import cache
from featx.cli.classify import classify
from featx.cli.doctor import doctor
from featx.cli.export import export
from featx.cli.extract import extract
from featx.cli.finetune import finetune
from featx.cli.list import list_command
from featx.cli.predict import predict
from featx.cli.report import report
from featx.cli.run import run
from featx.cli.zeroshot import zeroshot
from featx.errors import FeatxError

__all__ = ["app", "main", "start"]


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Start with: featx extract DATA --backbone mobilenet, then: featx classify DATA",
)
@click.version_option(__version__, prog_name="featx")
def app() -> None:
    """Extract frozen vision features once, cache them, compare classical heads in seconds."""


app.add_command(extract)
app.add_command(classify)
app.add_command(baseline)
app.add_command(finetune)
app.add_command(run)
app.add_command(export)
app.add_command(predict)
app.add_command(zeroshot)
app.add_command(cache)
app.add_command(report)
app.add_command(list_command)
app.add_command(doctor)


class _Terminated(BaseException):
    """SIGTERM, raised where the main thread stands so that every `finally` runs."""


def _terminate(signum: int, frame: FrameType | None) -> None:
    raise _Terminated


def start() -> None:
    """Be the process `featx`: run the command, and end at once when all is done.

    Python would take its modules apart first, which takes up to half a second, for memory that is
    given back anyway. Threads are waited for and functions of `atexit` run as always.
    """
    statuses: list[int] = []

    def end() -> None:
        if statuses:  # else an error that is none of ours is being told
            logging.shutdown()
            for stream in filter(None, (sys.stdout, sys.stderr)):
                with suppress(OSError, ValueError):
                    stream.flush()
            os._exit(statuses[0])

    atexit.register(end)  # the first to be registered is the last to run
    try:
        main()
    except SystemExit as stop:
        statuses.append(int(stop.code or 0))
        raise


def main() -> None:
    """Run the `featx` command and exit."""
    logging.basicConfig(stream=sys.stderr, format="%(levelname)s: %(message)s")
    signal.signal(signal.SIGTERM, _terminate)
    try:
        app.main(standalone_mode=False)
        sys.stdout.flush()
        status = 0
    except FeatxError as error:
        click.echo(f"Error: {error}", err=True)
        status = 1
    except click.ClickException as error:
        error.show()
        status = error.exit_code
    except click.exceptions.Exit as stop:
        status = stop.exit_code
    except (KeyboardInterrupt, click.Abort):
        click.echo("Stopped. What was finished is kept; run the command again to go on.", err=True)
        status = 130
    except _Terminated:
        click.echo("Terminated. What was finished is kept.", err=True)
        status = 143
    except BrokenPipeError:
        # The reader of our stdout went away (`| head`): not an error of ours. Point stdout at
        # nothing, or the interpreter complains again while shutting down.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = 0
    sys.exit(status)
