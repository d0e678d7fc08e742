"""What an operator would see: the admin plane and the process, looked at ten times a second.

Each of the three pages has a connection of its own, which is kept. What changes is noted with its time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import re
import time
from collections import deque
from collections.abc import Callable
from typing import Any, Final

import attrs

from tests.chaos.lines import Ended, HttpLine
from tests.chaos.load import Door
from tests.chaos.node import Node
from tests.support.matrixcalls import Asked

EVERY_S: Final = 0.1
_PAGES: Final = ("/readyz", "/api/v1/status", "/metrics")
_BREAKER: Final = re.compile(rb'^owner_breaker_open{owner="(\w+)"} (\S+)$', re.M)
_LAG: Final = re.compile(rb"^reactor_lag_seconds (\S+)$", re.M)
_INFLIGHT: Final = re.compile(rb"^inflight_requests{[^}]*} (\S+)$", re.M)
_REJECTED: Final = re.compile(rb'^rejected_total{reason="(\w+)"} (\S+)$', re.M)


#: Looks whose lag is remembered: a few minutes'.
_LATEST: Final = 4_000


@attrs.frozen
class Change:
    """Something was another way than at the look before."""

    at_s: float
    what: str
    before: str
    after: str


class Watch:
    """Looks at a node until it is told to stop.

    :ivar changes: of readiness, of what is shed, of breakers; in the order they were seen.
    :ivar slowest_s: how long a page took at most.
    :ivar unanswered: pages that did not come, or were an error.
    :ivar silent: how often ``/readyz`` said no, and not when to come back.
    """

    def __init__(self, node: Node) -> None:
        self.changes: list[Change] = []
        self.slowest_s = 0.0
        self.unanswered = self.silent = 0
        self.rejected: dict[str, float] = {}
        self.status: dict[str, Any] = {}
        self.inflight = 0.0
        self._lags_s: deque[tuple[float, float]] = deque(maxlen=_LATEST)
        self._now: dict[str, str] = {}
        self._began_s = time.monotonic()
        self._over = False
        self._looked, self._ended = asyncio.Event(), asyncio.Event()
        #: Whether the node is about to end: then a page may fail to come.
        self.ending = False
        self._doors = {page: Door(node.addresses["admin"], HttpLine) for page in _PAGES}

    @property
    def seconds(self) -> float:
        """Since when it looks."""
        return time.monotonic() - self._began_s

    @property
    def ready(self) -> bool:
        """Whether ``/readyz`` said so at the last look."""
        return self._now.get("ready") == "yes"

    @property
    def shedding(self) -> bool:
        """Whether ``/readyz`` said so at the last look."""
        return self._now.get("shedding") == "true"

    @property
    def well(self) -> bool:
        """Whether no owner was ill at the last look, nor left alone for having been."""
        return not self._now["degraded"] and "open" not in self._now.values()

    def ready_after(self, at_s: float) -> float | None:
        """Return how long after *at_s* the node was ready from then on; None: it is not, or was all along.

        Seconds; *at_s* is a time of :attr:`seconds`.
        """
        found = [change for change in self.changes if change.what == "ready" and change.at_s >= at_s]
        return found[-1].at_s - at_s if found and found[-1].after == "yes" else None

    def lags_s(self, since_s: float) -> list[float]:
        """Return how late the node's reactor was by its last beat, at each look since then.

        There is a beat ten times a second where ``overload.lag`` is watched, and one a second elsewhere.
        """
        return [lag_s for at_s, lag_s in self._lags_s if at_s >= since_s]

    def first(self, what: str, after: str) -> float:
        """Return when *what* was first seen to have become *after*, by :attr:`seconds`; NaN: never."""
        found = (each.at_s for each in self.changes if (each.what, each.after) == (what, after))
        return next(found, math.nan)

    def between(self, from_s: float, until_s: float, what: str) -> list[Change]:
        """Return the changes of *what* within a time."""
        return [each for each in self.changes if each.what == what and from_s <= each.at_s < until_s]

    async def run(self) -> None:
        """Look until :meth:`stop`."""
        try:
            while not self._over:
                began = time.monotonic()
                await asyncio.gather(*(self._look(page) for page in _PAGES))
                self._looked.set()
                await asyncio.sleep(max(0.0, EVERY_S - (time.monotonic() - began)))
        finally:
            # Nobody who waits for a look waits for ever.
            self._ended.set()
            self._looked.set()
            for door in self._doors.values():
                door.close()

    def stop(self) -> None:
        """Look no more."""
        self._over = True

    async def fresh(self) -> None:
        """Return after a look that begins now or later."""
        for _ in range(2):  # the first may have begun before
            await self._next()

    async def until(self, wanted: Callable[[], bool], seconds: float) -> None:
        """Return when *wanted* is true after a look, or after *seconds*."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not wanted():
                    await self._next()

    async def _next(self) -> None:
        if self._ended.is_set():
            raise RuntimeError("nobody looks any more")
        self._looked.clear()
        await self._looked.wait()

    async def _look(self, page: str) -> None:
        began = time.monotonic()
        ended = await self._doors[page].call("", Asked("GET", page, 0, "", {}))
        if ended.lost:
            self.unanswered += not (self._over or self.ending)
            return
        self.slowest_s = max(self.slowest_s, time.monotonic() - began)
        if ended.status != 200 and not (page == "/readyz" and ended.status == 503):
            self.unanswered += 1
            return
        {"/readyz": self._readiness, "/api/v1/status": self._status, "/metrics": self._metrics}[page](ended)

    def _readiness(self, ended: Ended) -> None:
        said = json.loads(ended.body)
        self._note("ready", "yes" if ended.status == 200 else f"no ({said['state']})")
        self._note("shedding", json.dumps(said["shedding"]))
        self._note("degraded", ", ".join(said["degraded"]))
        self.silent += ended.status != 200 and not ended.retry_after_s

    def _status(self, ended: Ended) -> None:
        self.status = json.loads(ended.body)

    def _metrics(self, ended: Ended) -> None:
        for owner, value in _BREAKER.findall(ended.body):
            self._note(f"breaker of {owner.decode()}", "open" if float(value) else "closed")
        lag = _LAG.search(ended.body)
        if lag is not None:
            self._lags_s.append((self.seconds, float(lag[1])))
        self.inflight = sum(map(float, _INFLIGHT.findall(ended.body)))
        self.rejected = {reason.decode(): float(value) for reason, value in _REJECTED.findall(ended.body)}

    def _note(self, what: str, now: str) -> None:
        before = self._now.get(what)
        self._now[what] = now
        if before is not None and before != now:
            self.changes.append(Change(self.seconds, what, before, now))
