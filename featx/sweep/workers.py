"""A sweep over many workers, through joblib: processes of this machine, or a Ray cluster.

Workers are sent requests, not features: each opens the cache itself, once for each source that it
works on, memory-mapped, and keeps the source open for the pieces that follow.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import time
import uuid
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from multiprocessing import resource_tracker
from typing import Any

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.externals.loky import process_executor
from threadpoolctl import threadpool_limits

from featx.errors import CacheError, ClusterError
from featx.evaluate import Piece, Run
from featx.progress import Bars
from featx.quiet import many_networks
from featx.sweep.loky_backend import Processes
from featx.sweep.request import Group, Opened, Request, Swept
from featx.sweep.sent import SentRequest

LOCAL = "local"
"""The name that asks for processes on this machine."""


@dataclass(frozen=True)
class Task:
    """A piece of work, as it is sent.

    Attributes
    ----------
    sweep : str
        Unique to the sweep: nothing that a worker keeps is taken for another's.
    request : SentRequest
    number, group : int
        Of the request, and of the group in it.
    piece : Piece
    digests : tuple of str
        Test digests of the group, as the sender computed them.
    """

    sweep: str
    request: SentRequest
    number: int
    group: int
    piece: Piece
    digests: tuple[str, ...]


def sweep_on_workers(requests: Sequence[Request], cluster: str, bars: Bars) -> Iterator[Swept]:
    """Make the runs of every request on workers; as `featx.sweep.sweep`."""
    with _backend(cluster) as (backend, workers):
        sweep = uuid.uuid4().hex
        plans, tasks = [], []
        for number, request in enumerate(requests):
            plan, mine = _plan(sweep, number, request)
            plans.append(plan)
            tasks += mine
        workers = min(workers, len(tasks))
        label = f"{workers} worker{'s'[: workers - 1]}"
        total, done, following = sum(plan.total for plan in plans), 0, 0
        made: list[dict[int, list[Run]]] = [{} for _ in requests]
        left = Counter(task.number for task in tasks)
        for index, runs in _run_all(tasks, backend, workers):
            task = tasks[index]
            made[task.number].setdefault(task.group, []).extend(runs)
            left[task.number] -= 1
            done += len(runs)
            bars(label, done, total)
            while following < len(requests) and not left[following]:
                yield _in_order(plans[following], made[following])
                made[following] = {}
                following += 1


@dataclass(frozen=True)
class _Plan:
    """What is known of a request before its runs: how many, and what they are tested on."""

    targets: tuple[str, ...]
    tested: Mapping[str, Any]
    total: int


def _plan(sweep: str, number: int, request: Request) -> tuple[_Plan, list[Task]]:
    """Divide a request; its labels are read here, its features are not."""
    opened = request.open(lazy=True)
    sent = SentRequest.of(request)
    tasks, tested, total = [], {}, 0
    for i, make in enumerate(opened.groups):
        group = make()
        total += group.total
        tested.update(opened.list_tested(group))
        digests = group.test_digests
        tasks += [Task(sweep, sent, number, i, piece, digests) for piece in group.pieces()]
    return _Plan(opened.targets, tested, total), tasks


def _in_order(plan: _Plan, made: Mapping[int, Sequence[Run]]) -> Swept:
    runs = [run for group in sorted(made) for run in sorted(made[group], key=lambda r: r.place)]
    return Swept(plan.targets, [_taken_in(run) for run in runs], plan.tested)


def _taken_in(run: Run) -> Run:
    """Return a run with the command that was given here, and the time at which it arrived."""
    environment = {
        **run.record.environment,
        "command": sys.argv,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    return replace(run, record=replace(run.record, environment=environment))


# --- the workers -------------------------------------------------------------------------------


@contextmanager
def _backend(cluster: str) -> Iterator[tuple[Any, int]]:
    """Give joblib's backend, and how many workers it has."""
    if cluster == LOCAL:
        yield Processes(), cpu_count()
        return
    from featx.cluster import Tasks, connect
    from featx.sweep.ray_backend import RayTasks

    with connect(cluster):
        tasks = Tasks()
        yield RayTasks(tasks), max(1, tasks.count_cpus())


def _run_all(tasks: Sequence[Task], backend: Any, workers: int) -> Iterator[tuple[int, list[Run]]]:
    """Run tasks, and yield (number, runs) as they are done; those lost with a worker once more."""
    local = isinstance(backend, Processes)
    if local and workers == 1:  # one processor, or one task
        for index, task in enumerate(tasks):
            yield index, run_task(task)
        _held.clear()
        return
    threads = max(1, cpu_count() // workers) if local else 1
    left = dict(enumerate(tasks))
    for again in (False, True):
        try:
            for index, runs in _run_once(list(left.items()), backend, workers, threads):
                del left[index]
                yield index, runs
            return
        except BrokenProcessPool as error:
            if again:
                raise ClusterError(
                    f"Worker processes were killed twice, with {len(left)} of {len(tasks)} tasks "
                    "left: most often there is too little memory for "
                    f"{workers} of them. Leave out --cluster, or name fewer or smaller features."
                ) from error


def _run_once(
    tasks: Sequence[tuple[int, Task]], backend: Any, workers: int, threads: int
) -> Iterator[tuple[int, list[Run]]]:
    local = isinstance(backend, Processes)
    limited: dict[str, Any] = {"inner_max_num_threads": threads} if local else {}
    ended = Processes.ended() if local else nullcontext()
    with parallel_config(backend=backend, n_jobs=workers, **limited), ended:
        # All tasks are queued at once, and none waits for others to be taken together.
        parallel = Parallel(
            return_as="generator_unordered", batch_size=1, pre_dispatch="all", max_nbytes=None
        )
        with _interrupts_held():
            made = parallel(delayed(_run_apart)(index, task, threads) for index, task in tasks)
        try:
            for done in made:  # noqa: UP028 - "yield from" would have it warn when it is ended
                yield done
        finally:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of what was not waited for
                made.close()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Hold Ctrl-C back until the block ends; processes begun in it never take it.

    The terminal sends it to all of them, and they are ended from here.
    """
    resource_tracker.ensure_running()  # which would let it through
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --- in a worker -------------------------------------------------------------------------------


class _Held:
    """What this process keeps from one task to the next: an open source, and runs on it."""

    def __init__(self) -> None:
        self._source: tuple[Any, Opened] | None = None
        self._group: tuple[Any, Group] | None = None
        self._begun: set[Piece] = set()

    def group(self, task: Task) -> Group:
        """Return the group of a task, of which the piece is not made yet."""
        name = (task.sweep, task.number)
        if self._source is None or self._source[0] != name:
            self.clear()  # freed before others are read
            self._source = (name, task.request.arrive().open(lazy=True))
        which = (name, task.group)
        if self._group is None or self._group[0] != which or task.piece in self._begun:
            self._group = None
            self._group = (which, self._source[1].groups[task.group]())
            self._begun = set()
        self._begun.add(task.piece)
        group = self._group[1]
        if group.test_digests != task.digests:
            raise CacheError(
                f"The cached images of {self._source[1].label} changed while heads were fitted. "
                "Run featx classify again."
            )
        return group

    def clear(self) -> None:
        """Let go of everything."""
        self._source, self._group, self._begun = None, None, set()


_held = _Held()


def run_task(task: Task) -> list[Run]:
    """Make the runs of a piece, on what this process has open.

    Raises
    ------
    ClusterError
        The cache is not to be seen from here.
    CacheError
        It is not what the sender saw.
    """
    with many_networks():
        return list(_held.group(task).run(task.piece))


def _run_apart(index: int, task: Task, threads: int) -> tuple[int, list[Run]]:
    """Run a task in a process that is there for nothing else, on so many threads."""
    # What is kept from task to task, and Keras, are no leak to be ended for.
    process_executor._MAX_MEMORY_LEAK_SIZE = math.inf
    with limit_threads(threads):
        return index, run_task(task)


@contextmanager
def limit_threads(threads: int) -> Iterator[None]:
    """Use so many threads, for linear algebra and for Keras where it is not imported yet.

    Of a GPU that several processes see, each takes what it uses and not all there is.
    """
    counts = ("LOKY_MAX_CPU_COUNT", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")
    os.environ.update(dict.fromkeys(counts, str(threads)))
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")
    with threadpool_limits(threads):
        yield
