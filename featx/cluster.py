"""Ray: connecting to a cluster, and running work on its workers. The only module to import ray.

Nothing here knows of images or heads: callers hand over plain functions and classes.
"""

from __future__ import annotations

import logging
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from featx.errors import ClusterError, SpecError

WHERE = "auto, local, or ray://HOST:PORT"
"""What a cluster can be asked for as."""


@contextmanager
def connect(where: str) -> Iterator[None]:
    """Connect this process to a Ray cluster for as long as the block lasts.

    A process that is connected already stays as it is, whatever `where` says.

    Parameters
    ----------
    where : str
        "auto": the cluster that this machine is part of, by RAY_ADDRESS or a `ray start` here.
        "local": one of this machine alone, started now and ended with the block.
        "ray://HOST:PORT": one reached from outside, through Ray Client.
        "HOST:PORT": the one of that head node, from a machine that is part of it.

    Raises
    ------
    ClusterError
        Ray is not installed, or no cluster answers there.
    SpecError
        `where` is none of these.
    """
    if where not in ("auto", "local") and ":" not in where:
        raise SpecError(f"Unknown cluster {where!r}. Use {WHERE}.")
    ray = _import_ray()
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if where == "local":
        options["include_dashboard"] = False
    try:
        _require_listener(where)
        with warnings.catch_warnings(action="ignore"):
            ray.init(where, **options)
    except Exception as error:  # Ray raises errors of many kinds, its transport's among them
        raise ClusterError(_unreachable(where, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


class Tasks:
    """Functions run by Ray wherever a processor is free, again where a worker or node is lost.

    For a process that is connected.
    """

    def __init__(self) -> None:
        self._ray = _import_ray()
        self._call = self._ray.remote(num_cpus=1)(_call)
        self._running: dict[Future[Any], Any] = {}

    def count_cpus(self) -> int:
        """Return how many processors the nodes have that are there now."""
        return int(self._ray.cluster_resources().get("CPU", 0))

    def submit(self, function: Callable[[], Any]) -> Future[Any]:
        """Send a function to the cluster; for its outcome see `result`."""
        ref = self._call.remote(function)
        future: Future[Any] = ref.future()
        self._running[future] = ref
        return future

    def result(self, future: Future[Any]) -> Any:
        """Return what a function that is done returned.

        Raises
        ------
        Exception
            As the function raised it.
        ClusterError
            Its workers were lost time and again.
        """
        self._running.pop(future, None)
        try:
            return future.result()
        except self._ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except self._ray.exceptions.RayError as error:
            raise ClusterError(f"Work on the cluster failed: {_reason(error)}") from error

    def cancel(self) -> None:
        """End everything that is not done, at once."""
        for ref in list(self._running.values()):
            self._ray.cancel(ref, force=True)
        self._running.clear()


def _call(function: Callable[[], Any]) -> Any:
    return function()


def is_installed() -> bool:
    """Return whether Ray can be imported; does not import it."""
    return find_spec("ray") is not None


def _import_ray() -> Any:
    if not is_installed():
        raise ClusterError(
            'A cluster needs Ray, which is not installed. Run: pip install "featx[ray]"'
        )
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # read at import; warns if not
    logging.getLogger("ray").setLevel(logging.ERROR)
    import ray

    return ray


def _require_listener(where: str) -> None:
    """Raise OSError where nothing listens at an address; Ray itself would try for minutes."""
    address = os.environ.get("RAY_ADDRESS", "") if where == "auto" else where
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _unreachable(where: str, error: Exception) -> str:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if where == "auto":
        said = os.environ.get("RAY_ADDRESS", "")
        place = f"at RAY_ADDRESS={said}" if said else "on this machine"
        return (
            f"No Ray cluster answers {place}. Start one with: ray start --head, join one with: ray "
            f"start --address HOST:6379, or use --cluster local or ray://HOST:10001. ({reason})"
        )
    if where == "local":
        return f"Ray could not be started on this machine: {reason}"
    return (
        f"No Ray cluster answers at {where}. Check the address, that the port can be reached, and "
        f"that Python and Ray are the same versions there. ({reason})"
    )
