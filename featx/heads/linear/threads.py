"""Threads of the matrix products, fewer where the matrices are small.

A product that takes microseconds gains nothing from a second thread, and where the machine is busy
it waits for it.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from functools import cache

from threadpoolctl import ThreadpoolController

SMALL = 1_500_000
"""Entries of a design matrix up to which its products run on one thread."""


def product_threads(entries: int) -> AbstractContextManager:
    """Return a context in which products with a matrix of so many entries are run."""
    if entries > SMALL:
        return nullcontext()
    return _controller().limit(limits=1, user_api="blas")


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()
