"""The node's event bus: what changed, for whoever cares to know.

Bounded, and it never waits for a listener: one that does not take its events loses the oldest, and is told
how many. Nothing of the node depends on an event being heard.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Final, TypeAlias
from weakref import ref

import attrs
from twisted.internet.defer import Deferred

#: Events that wait for one listener: some minutes of a node whose owners come and go.
MAX_EVENTS: Final = 512


@attrs.frozen(kw_only=True)
class ConfigUpdated:
    """Another configuration is in force."""

    config_sha: str
    previous_sha: str
    #: Paths of the keys whose values differ from before.
    changed: tuple[str, ...]
    #: Paths of the keys that would differ, too, and need a restart for it.
    restart: tuple[str, ...]


@attrs.frozen(kw_only=True)
class ReloadStarted:
    """The configuration is being read again."""


@attrs.frozen(kw_only=True)
class ReloadEnded:
    """A reload is over; after :class:`ConfigUpdated`, where it changed something."""

    #: ``applied``, ``unchanged``, ``refused`` or ``failed``; ``draining`` where a stop came before its end.
    outcome: str
    #: Why nothing was applied, in a line; else empty.
    reason: str = ""


@attrs.frozen(kw_only=True)
class StateChanged:
    """The node is in another state of its life (:class:`micronode.lifecycle.State`, by value)."""

    state: str
    previous: str


@attrs.frozen(kw_only=True)
class HealthChanged:
    """A dependency of ``/readyz`` is in another state; or the node itself is.

    Of the node tell two names: ``overload``, whose states say what is refused (``none``, ``writes``,
    ``all``), and ``readiness``, which is ``unready`` while overload lasts too long, else ``ready``.
    """

    name: str
    state: str
    previous: str


@attrs.frozen(kw_only=True)
class ServiceCrashed:
    """A part of the node failed by a defect of its own, and was started again."""

    name: str
    reason: str


Event: TypeAlias = ConfigUpdated | ReloadStarted | ReloadEnded | StateChanged | HealthChanged | ServiceCrashed


class Subscription:
    """The events of one listener, from :meth:`EventBus.subscribe` on; iterate over it with ``async for``.

    The iteration ends when the subscription or the bus is closed and what waited was taken. One iteration
    at a time. One that nobody iterates over and nobody holds any more is closed.

    :ivar lagged: how many events it has lost because they were not taken in time.
    """

    def __init__(
        self, lagged: Callable[[], None], closed: Callable[[Subscription], None], awaited: set[Subscription]
    ) -> None:
        """:param awaited: keeps it while somebody waits for its next event, whom nobody else may hold."""
        self.lagged = 0
        self._awaited = awaited
        self._events: deque[Event] = deque()
        self._waiter: Deferred[Event | None] | None = None
        self._open = True
        self._told_lag = lagged
        self._told_closed = closed

    def __aiter__(self) -> Subscription:
        return self

    async def __anext__(self) -> Event:
        if self._events:
            return self._events.popleft()
        if not self._open:
            raise StopAsyncIteration
        if self._waiter is not None:
            raise RuntimeError("a subscription is iterated over by one at a time")
        self._waiter = Deferred(self._forgotten)
        self._awaited.add(self)
        event = await self._waiter
        if event is None:
            raise StopAsyncIteration
        return event

    def close(self) -> None:
        """Take no further events. Idempotent."""
        if self._open:
            self._open = False
            self._told_closed(self)
            self._wake(None)

    @property
    def waiting(self) -> int:
        """How many events wait to be taken."""
        return len(self._events)

    def put(self, event: Event) -> None:
        """Hand over *event* to who waits, else keep it; for the bus."""
        if self._waiter is not None:
            self._wake(event)
            return
        if len(self._events) >= MAX_EVENTS:
            self._events.popleft()
            self.lagged += 1
            self._told_lag()
        self._events.append(event)

    def _forgotten(self, _: Deferred[Event | None]) -> None:
        """Who waited was cancelled."""
        self._waiter = None
        self._awaited.discard(self)

    def _wake(self, event: Event | None) -> None:
        waiter, self._waiter = self._waiter, None
        self._awaited.discard(self)
        if waiter is not None:
            waiter.callback(event)


class EventBus:
    """Passes events on to its subscriptions, on the reactor's thread.

    :param lagged: called without arguments for each event that a subscription has lost.
    """

    def __init__(self, lagged: Callable[[], None] = lambda: None) -> None:
        self._lagged = lagged
        #: Not held: who was cancelled in the middle of an iteration does not come back to close it.
        self._subscriptions: list[ref[Subscription]] = []
        self._awaited: set[Subscription] = set()
        self._open = True

    def subscribe(self) -> Subscription:
        """Return a new listener's events, from now on; one of a bus that is closed ends at once."""
        subscription = Subscription(self._lagged, self._forget, self._awaited)
        if self._open:
            self._subscriptions.append(ref(subscription, self._subscriptions.remove))
        else:
            subscription.close()
        return subscription

    @property
    def waiting(self) -> int:
        """How many events wait for the listener for which most do."""
        return max((each.waiting for each in self._there()), default=0)

    def publish(self, event: Event) -> None:
        """Tell every listener of *event*. One that waits for it runs at once, up to its next wait."""
        for subscription in self._there():
            subscription.put(event)

    def close(self) -> None:
        """End every subscription."""
        self._open = False
        for subscription in self._there():
            subscription.close()

    def _there(self) -> list[Subscription]:
        return [found for each in self._subscriptions if (found := each()) is not None]

    def _forget(self, subscription: Subscription) -> None:
        self._subscriptions[:] = [each for each in self._subscriptions if each() is not subscription]
