"""`python -m featx` is the `featx` command."""

from featx.cli import start

if __name__ == "__main__":
    start()
