"""A backend of joblib that runs its tasks on a Ray cluster.

The one that comes with Ray (`ray.util.joblib`) hands tasks to its workers in turn, busy or not, so
that a short task waits behind a long one while others are idle; it gives no result before the last
is there, and starts no worker again that was lost. Plain tasks of Ray have none of this.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import Any

from joblib.parallel import ParallelBackendBase

from featx.cluster import Tasks


class RayTasks(ParallelBackendBase):
    """joblib's tasks as tasks of Ray, of one processor each.

    Parameters
    ----------
    tasks : Tasks
        Of the cluster that this process is connected to.
    """

    supports_retrieve_callback = True
    uses_threads = False
    supports_sharedmem = False

    def __init__(self, tasks: Tasks, **options: Any) -> None:
        super().__init__(**options)
        self._tasks = tasks
        # Ray tells that a task is done in a thread that must not be kept from telling of others.
        self._telling = ThreadPoolExecutor(1)

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return the processors of the cluster."""
        return max(1, self._tasks.count_cpus())

    def submit(self, func: Callable[[], Any], callback: Any = None) -> Future[Any]:
        """Send a task."""
        future = self._tasks.submit(func)
        if callback is not None:
            future.add_done_callback(lambda done: self._tell(callback, done))
        return future

    def _tell(self, callback: Any, done: Future[Any]) -> None:
        with suppress(RuntimeError):  # of what was cancelled nobody wants to know
            self._telling.submit(callback, done)

    def retrieve_result_callback(self, out: Future[Any]) -> Any:
        """Return what a task that is done returned, or raise what it raised."""
        return self._tasks.result(out)

    def terminate(self) -> None:
        """End the thread that tells; nothing is running."""
        self._telling.shutdown(wait=False, cancel_futures=True)

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End all tasks at once."""
        self._tasks.cancel()
