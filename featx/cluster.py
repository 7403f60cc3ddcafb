"""Ray: connecting to a cluster, and running work on its workers. The only module to import ray.

Nothing here knows of images or heads: callers hand over plain functions and classes.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import contextmanager, redirect_stdout, suppress
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from types import SimpleNamespace
from typing import Any

from featx.errors import ClusterError, SpecError
from featx.quiet import without_notices

WHERE = "auto, local, or ray://HOST:PORT"
"""What a cluster can be asked for as."""

Row = dict[str, Any]

_NOTICE = re.compile(rb".*Set ray log level|\s*$")

# What an actor of the last stage takes of each of its cores, and one of an earlier stage of one
# core. They have room on a node of a single core, whichever comes first, and no two of the last
# share a core. The others wait most of the time, and the system shares out the rest.
_LAST_SHARE, _EARLIER_SHARE = 0.6, 0.2

_ON_THE_HEAD = {"num_cpus": 0, "resources": {"node:__internal_head__": 0.001}}
"""Where an actor is that has to stay for as long as the cluster does."""

MOST_ACTORS = 1024
MOST_DEATHS = 10
"""Actors that may die one after the other while they start, before the run is given up."""


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
    require_known(where)
    ray = _import_ray()
    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if where == "local":
        options["include_dashboard"] = False
    try:
        _require_listener(where)
        with warnings.catch_warnings(action="ignore"), without_notices(_NOTICE):
            _init(ray, where, options)
            ray.put(None)  # imports what putting takes, while other things are waited for
    except Exception as error:  # Ray raises errors of many kinds, its transport's among them
        raise ClusterError(_unreachable(where, error)) from error
    # Ray tells on stdout of workers that died, of some only as it ends; stdout is for results.
    with redirect_stdout(sys.stderr):
        try:
            yield
        finally:
            ray.shutdown()


def _init(ray: Any, where: str, options: dict[str, Any]) -> None:
    """Connect; once more where the process that the head starts for a client has not come up."""
    try:
        ray.init(where, **options)
    except ConnectionError as error:
        if "client server failed" not in str(error):
            raise
        ray.init(where, **options)


def prepare(where: str) -> None:
    """Begin to import Ray, which takes seconds, for a `connect` and a `stream` to come.

    Raises
    ------
    SpecError
        `where` is nothing that `connect` knows.
    """
    require_known(where)
    if is_installed():
        threading.Thread(target=_import_data, name="import ray", daemon=True).start()


def require_known(where: str) -> None:
    """Raise SpecError unless `where` is something that `connect` knows."""
    if where not in ("auto", "local") and ":" not in where:
        raise SpecError(f"Unknown cluster {where!r}. Use {WHERE}.")


@dataclass(frozen=True)
class Room:
    """What the nodes of a cluster have for an actor each.

    Attributes
    ----------
    cores : int
        Of an actor without a GPU, at least 1; 0 where it has one.
    gpus : int
        Of an actor: 1 where the cluster has any, else 0.
    actors : int
        That there is room for now. Nodes come and go.
    all_cores : int
        Of the nodes, beside those that actors with a GPU keep busy.
    """

    cores: int
    gpus: int
    actors: int
    all_cores: int


def find_room(use_gpus: bool = True) -> Room:
    """Return how the nodes that are there now divide into actors of one size.

    With GPUs, an actor has one of them. Without, it has all the cores of the smallest node, as a
    graph and its weights are in memory once an actor.

    Parameters
    ----------
    use_gpus : bool
        False leaves them alone.

    Raises
    ------
    ClusterError
        No node has a core to work with.
    """
    ray = _import_ray()
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    gpus = sum(int(node.get("GPU", 0)) for node in nodes)
    cores = [int(node.get("CPU", 0)) for node in nodes if node.get("CPU", 0) >= 1]
    if gpus and use_gpus:
        return Room(0, 1, gpus, max(1, sum(cores) - gpus))
    if not cores:
        raise ClusterError(
            "The cluster has no CPU to work with. Start its nodes without --num-cpus 0, or wait "
            "for workers to join."
        )
    return Room(min(cores), 0, sum(n // min(cores) for n in cores), sum(cores))


def stream(
    rows: Sequence[Row],
    stages: Sequence[type],
    arguments: Sequence[Any],
    room: Room,
) -> Iterator[Row]:
    """Send rows through stages of Ray Data, with a pool of actors each.

    The stages run at the same time on all nodes, and what lies between them is bounded. Whatever a
    worker or node that is lost had in work is done again elsewhere.

    Parameters
    ----------
    rows : sequence of dict
        Of texts and of bytes or arrays of them, which come in as buffers that cannot be written;
        each row is handed on by itself.
    stages : sequence of type
        Their instances take a row and return one. Those of the last have `room` each, and two calls
        of one may run at once; those before have a core each at most.
    arguments : sequence
        What the instances are made of; they go into the cluster's memory once.
    room : Room

    Yields
    ------
    dict
        What the actors return, in the order in which they are done.

    Raises
    ------
    ClusterError
        The cluster is gone, or its workers fail time and again.
    """
    ray = _import_ray()
    try:
        call = (rows, stages, ray.put(arguments), room)
        yield from _relayed(ray, call) if ray.util.client.ray.is_connected() else _run(*call)
    except (ray.exceptions.RayError, ConnectionError) as error:
        raise ClusterError(
            f"The work on the cluster has ended. {_hint()}({_reason(error)})"
        ) from error


def _run(rows: Sequence[Row], stages: Sequence[type], told: Any, room: Room) -> Iterator[Row]:
    ray = _import_data()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.max_consecutive_actor_init_deaths = MOST_DEATHS
    context.memory_usage_poll_interval_s = None  # nobody reads it
    # Nor what else Ray Data looks out for; workers are spared the import of what does.
    context.issue_detectors_config = SimpleNamespace(detectors=[])
    # Pools begin with what there is room for now, and grow with the nodes and the work; smaller
    # they would become at any pause, only to start again, which is dear. For the same reason there
    # are actors in earlier stages too: Ray ends the processes of tasks that pause.
    earlier = ray.data.ActorPoolStrategy(
        min_size=min(room.actors, room.all_cores), max_size=max(room.all_cores, MOST_ACTORS)
    )
    last = ray.data.ActorPoolStrategy(
        min_size=room.actors,
        max_size=max(room.actors, MOST_ACTORS),
        max_tasks_in_flight_per_actor=3,
        max_concurrent_calls_per_actor=2,
        enable_true_multi_threading=True,
    )
    # Unlike tables, which Ray has tasks look at first, in processes that it starts for them.
    done = ray.data.from_items(list(rows), override_num_blocks=len(rows))
    for stage in stages:
        ends = stage is stages[-1]
        cores = _LAST_SHARE * room.cores if ends else _EARLIER_SHARE
        done = done.map_batches(
            _stage(stage),
            compute=last if ends else earlier,
            fn_constructor_args=(stage, told),
            num_cpus=1 if room.gpus else cores,
            num_gpus=(room.gpus if ends else 0) or None,
            batch_format="pyarrow",  # whose buffers need not be copied
            batch_size=1,
        )
    yield from done.iter_rows()


class _Stage:
    """An object that takes rows as one that takes tables of one row."""

    def __init__(self, kind: type, told: Any) -> None:
        self._object = kind(*_import_ray().get(told))

    def __call__(self, table: Any) -> Any:
        return _table(self._object(_row(table)))


def _stage(kind: type) -> type:
    """Return the class of a stage, under the name that Ray is to call it by."""
    return type(kind.__name__, (_Stage,), {})


def _table(row: Row) -> Any:
    """Return a row as an Arrow table; what is no text is taken as bytes, and not copied."""
    import numpy as np
    import pyarrow

    columns = {}
    for name, value in row.items():
        if isinstance(value, str):
            columns[name] = pyarrow.array([value])
        else:
            data = pyarrow.py_buffer(value)
            ends = pyarrow.py_buffer(np.array([0, data.size], np.int64))
            columns[name] = pyarrow.Array.from_buffers(
                pyarrow.large_binary(), 1, [None, ends, data]
            )
    return pyarrow.table(columns)


def _row(table: Any) -> Row:
    """Return the row of a table; bytes as buffers into it."""
    row = {}
    for name in table.column_names:
        value = table.column(name)[0]
        row[name] = value.as_py() if str(value.type) == "string" else value.as_buffer()
    return row


def _relayed(ray: Any, call: tuple[Any, ...]) -> Iterator[Row]:
    """Run it in the cluster, as Ray Data has to be, from a process that is none of its own."""
    # In one argument: Ray would wait for what is told, were it one by itself.
    relay = ray.remote(**_ON_THE_HEAD)(_Relay).remote(call)
    while (row := ray.get(relay.take.remote())) is not None:
        yield row


class _Relay:
    """Runs a stream and hands over a row when asked."""

    def __init__(self, call: tuple[Any, ...]) -> None:
        self._rows = _run(*call)

    def take(self) -> Row | None:
        """Return the next row; None at the end."""
        return next(self._rows, None)


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
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # read at import; warns if not
    logging.getLogger("ray").setLevel(logging.ERROR)
    import ray

    return ray


def _import_data() -> Any:
    _import_ray()
    import ray.data

    # What Ray Data imports only as it begins, when the workers wait for it.
    ray.data.DataContext.get_current()
    with suppress(ImportError):  # not promised to be there
        import_module("ray.data._internal.execution.streaming_executor")
    return ray


def _require_listener(where: str) -> None:
    """Raise OSError where nothing listens at an address; Ray itself would try for minutes."""
    address = os.environ.get("RAY_ADDRESS", "") if where == "auto" else where
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host, int(port)), timeout=10).close()


def _unreachable(where: str, error: Exception) -> str:
    reason = _reason(error)
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


def _hint() -> str:
    """Return what to do where Ray took up a token by itself.

    It does so for "auto" where there is one; a cluster without then refuses what comes later.
    """
    if os.environ.get("RAY_AUTH_MODE") != "token":
        return ""
    return "If the cluster was started without a token, set RAY_AUTH_MODE=disabled. "


def _reason(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    # The kind of error is said first, and of a traceback what was at fault last.
    return text if len(text) <= 400 else f"{text[:200]} … {text[-200:]}"
