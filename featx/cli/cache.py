"""`featx cache`: see, check, mend and tidy what is cached."""

from __future__ import annotations

import click


@click.group()
def cache() -> None:
    """See, check, mend and tidy the cached features."""
