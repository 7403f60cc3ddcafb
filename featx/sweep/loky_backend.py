"""A backend of joblib that runs its tasks in processes of this machine, and ends them quietly."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from queue import Empty

from joblib.externals.loky import get_reusable_executor
from joblib.parallel import LokyBackend


class Processes(LokyBackend):
    """joblib's own, loky, but that it can be stopped with tasks queued.

    loky's manager forgets the tasks before it empties their queue; where a result comes in
    meanwhile, it looks for the next task in vain, and its thread ends with a traceback.
    """

    def abort_everything(self, ensure_ready: bool = True) -> None:
        """End the processes, whatever they do; what is queued is not begun."""
        with suppress(Empty):
            while True:
                self._workers._work_ids.get_nowait()
        super().abort_everything(ensure_ready)

    @staticmethod
    @contextmanager
    def ended() -> Iterator[None]:
        """End the processes with the block: they hold what they have read."""
        try:
            yield
        finally:
            get_reusable_executor(reuse=True).shutdown(wait=True, kill_workers=True)
