"""A sweep: heads on several sources of features, in this process or over many workers.

The unit that workers are given is a `featx.evaluate.Piece`: the heads of one draw that share
principal axes or fitted steps. Records, their order and what is in them do not depend on who made
them, but for times and the memory of a process.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from featx.progress import Bars
from featx.quiet import many_networks
from featx.sweep.request import Request, Swept
from featx.sweep.workers import sweep_on_workers

__all__ = ["Request", "Swept", "sweep"]


def sweep(requests: Sequence[Request], cluster: str | None, bars: Bars) -> Iterator[Swept]:
    """Make the runs of every request, in order.

    Parameters
    ----------
    requests : sequence of Request
    cluster : str, optional
        "local": processes on this machine, through joblib's loky. "auto", "ray://HOST:PORT" or
        "HOST:PORT": a Ray cluster (`featx.cluster.connect`). None: this process alone.
    bars : Bars

    Yields
    ------
    Swept
        A request each. Without a cluster its runs are made as they are taken.

    Raises
    ------
    ClusterError
        No such cluster, workers that do not see the cache, or workers that are lost twice.
    CacheError, DatasetError, SpecError, HeadError
        As `featx.evaluate.evaluate` and `Source.load`, from whatever worker.
    """
    if cluster is not None:
        yield from sweep_on_workers(requests, cluster, bars)
        return
    with many_networks():
        for request in requests:
            yield request.open().swept(bars)
