"""`featx list`: what names there are."""

from __future__ import annotations

import click


@click.group(name="list")
def list_command() -> None:
    """Show the backbones, heads, engines and data sets there are."""
