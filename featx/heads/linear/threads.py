"""Threads: within matrix products where these are large, else one problem beside the other.

A product that takes microseconds gains nothing from a second thread, and where the machine is busy
it waits for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import cache
from typing import TypeVar

from joblib import cpu_count
from threadpoolctl import ThreadpoolController

T = TypeVar("T")

SMALL = 1_500_000
"""Entries of a design matrix up to which its products run on one thread."""


def product_threads(entries: int) -> AbstractContextManager:
    """Return a context in which products with a matrix of so many entries are run.

    Large products get all threads, factorisations one: SciPy brings a BLAS of its own, and its
    threads would wait for those of NumPy's, which stay busy for a while after each product.
    """
    chosen = _scipy_blas() if entries > SMALL else _controller()
    return chosen.limit(limits=1, user_api="blas")


def side_by_side(tasks: Sequence[Callable[[], T]]) -> list[T]:
    """Run `tasks` in threads that share out the processors; return their results in order.

    Raises
    ------
    Exception
        Of the first task that fails; those not begun are dropped.
    """
    workers = min(len(tasks), cpu_count())
    if workers < 2:
        return [task() for task in tasks]
    threads = max(1, cpu_count() // workers)
    with _controller().limit(limits=threads, user_api="blas"), ThreadPoolExecutor(workers) as pool:
        running = [pool.submit(task) for task in tasks]
        try:
            return [task.result() for task in running]
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


@cache
def _scipy_blas() -> ThreadpoolController:
    libraries = [i["filepath"] for i in _controller().info() if "scipy.libs" in i["filepath"]]
    return _controller().select(filepath=libraries)
