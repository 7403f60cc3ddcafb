"""The command line: one file a command, shared options, one error boundary."""

from __future__ import annotations


def main() -> None:
    """Run the `featx` command."""
