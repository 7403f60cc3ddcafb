"""One writer an entry: a claim says who works here.

No lock of the file system is used, so that it works on network folders, in containers and in
object storage. A claim is a file or an object that only one process can create; its holder touches
it every few seconds. On the same machine a dead holder is known by its process being gone,
elsewhere by a claim that is no longer touched. A claim only spares double work: if it should fail,
two writers still cannot harm each other, as each writes parts under names of its own.
"""

from __future__ import annotations

import datetime
import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path

from featx.errors import CacheBusyError, CacheError
from featx.owner import Owner, this_process
from featx.store.claim_places import ClaimPlace, Holder, list_places
from featx.store.mirror import refresh

BEAT_SECONDS = 5.0
STALE_SECONDS = 60.0
END_SECONDS = 10.0
"""How long to try to give a claim back that lies elsewhere, where the line may be cut."""


class Claim:
    """The right to write into `folder`, as a context manager.

    In the mirror of a cache in object storage it holds between machines too, and what others have
    published there is in the mirror once it is held.

    Parameters
    ----------
    folder : Path
    wait : bool or float
        False raises at once where another process holds it, True waits until it is free, a number
        is the most seconds to wait.
    notify : callable taking str, optional
        Told in a readable line who is being waited for.

    Attributes
    ----------
    token : str
        What only this claim has in it, while it is held.

    Raises
    ------
    CacheBusyError
        Another process holds it: its host, process and since when.
    CacheWriteError
        The folder, or the bucket, cannot be written.
    CacheError
        The bucket cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        wait: bool | float = False,
        notify: Callable[[str], object] | None = None,
    ) -> None:
        self._folder, self._notify = folder, notify
        self._wait = float("inf") if wait is True else float(wait)
        self.token = ""
        self._data = b""
        self._places: list[ClaimPlace] = []
        self._held = ExitStack()
        self._stop = threading.Event()

    def __enter__(self) -> Claim:
        deadline = time.monotonic() + self._wait
        self._places = list_places(self._folder)
        self._describe_this()
        self._stop.clear()
        beats = threading.Thread(target=self._beat, name="featx-claim", daemon=True)
        beats.start()
        with ExitStack() as stack:
            stack.callback(self._end, beats)
            for place in self._places:
                self._take(place, deadline)
            refresh(self._folder)
            self._held = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._held.close()

    def held(self) -> bool:
        """Return whether the claim is still this one (nobody took it for dead).

        Raises
        ------
        CacheError
            The bucket cannot be read.
        """
        return bool(self._places) and all(self._holds(place) for place in self._places)

    def _holds(self, place: ClaimPlace) -> bool:
        holder = place.read()
        return holder is not None and holder["token"] == self.token

    def _describe_this(self) -> None:
        me = this_process()
        self.token = os.urandom(8).hex()
        self._data = json.dumps(
            {
                "host": me.host,
                "pid": me.pid,
                "start": me.start,
                "machine": me.machine,
                "since": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
                "token": self.token,
            }
        ).encode()

    def _take(self, place: ClaimPlace, deadline: float) -> None:
        told = False
        while not place.create(self._data):
            holder = place.read()
            if holder is None:  # given back just now
                time.sleep(place.poll_seconds / 10)
                continue
            if is_dead(place, holder):
                place.recover(holder["token"])
                continue
            left = deadline - time.monotonic()
            if left <= 0:
                raise CacheBusyError(f"{describe(place, holder)} Wait until it is done.")
            if self._notify and not told:
                self._notify(f"{describe(place, holder)} Waiting for it.")
                told = True
            time.sleep(min(left, place.poll_seconds))

    def _end(self, beats: threading.Thread) -> None:
        self._stop.set()
        beats.join(END_SECONDS)
        self._give_back(self._places[0])

    def _beat(self) -> None:
        """Touch what is held until the end; then give back what lies elsewhere."""
        while not self._stop.wait(BEAT_SECONDS):
            for place in self._places:
                with suppress(CacheError):
                    if self._holds(place):
                        place.touch(self._data)
        for place in self._places[1:]:
            self._give_back(place)

    def _give_back(self, place: ClaimPlace) -> None:
        with suppress(CacheError):
            if self._holds(place):
                place.remove()


def is_held(folder: Path, token: str) -> bool:
    """Return whether the claim on `folder` is the one with `token`, as far as can be seen here.

    Raises
    ------
    CacheError
        The bucket cannot be read.
    """
    holder = list_places(folder)[-1].read()  # in a mirror, whoever holds it may be elsewhere
    return holder is not None and holder["token"] == token


def living_holder(folder: Path) -> str:
    """Return who holds `folder`, and since when; "" where nobody does, or a dead process.

    Raises
    ------
    CacheError
        The bucket cannot be read.
    """
    for place in list_places(folder):
        holder = place.read()
        if holder is None:
            continue
        try:
            dead = is_dead(place, holder)
        except CacheError:
            dead = False  # a place that cannot be written: its holder cannot be asked
        if not dead:
            return name_holder(holder)
    return ""


def is_dead(place: ClaimPlace, holder: Holder) -> bool:
    """Return whether the `holder` of the claim at a place is dead."""
    alive = Owner(holder["host"], holder["pid"], holder["start"], holder["machine"]).alive()
    if alive is None or (alive and place.may_be_left):
        return place.silent_seconds() > STALE_SECONDS
    return not alive


def describe(place: ClaimPlace, holder: Holder) -> str:
    """Return one readable sentence about who holds a place."""
    return f"{place.folder} is held by {name_holder(holder)}."


def name_holder(holder: Holder) -> str:
    """Return who a holder is, and since when it holds: "process 17 on laptop since …"."""
    return f"process {holder['pid']} on {holder['host']} since {holder['since']}"
