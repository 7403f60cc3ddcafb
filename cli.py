"""Run featx from a checkout: `python cli.py extract DATA` is `featx extract DATA`."""

from featx.cli import start

if __name__ == "__main__":
    start()
