"""The connections of one listener: how many there are, whose, which may go, and when no more are accepted.

*Why accepting pauses at the cap.* A connection that is accepted and closed is a failed call for whoever is
behind it; one that waits in the kernel's backlog is a slow one. So at the cap nothing is accepted, and before
it, from 90 % on, connections that nobody uses are closed, those that have idled longest first, so that it is
hardly ever reached by callers that only keep connections for later.

*Why the oldest unfinished handshake goes.* Who has not said what they want within a moment will hardly do so
in the next, and honest callers do at once. To refuse the newest instead would shut everybody out for as long
as somebody keeps that many open and silent, which costs nothing. A handshake has :data:`PATIENCE_S` in any
case, and accepting waits for that: a burst is not mistaken for an attack.

Nothing here is keyed by anything but the address that the kernel tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import partial
from heapq import nsmallest
from typing import Final, Generic, Protocol, TypeVar

import attrs
from twisted.internet.interfaces import IReactorTime
from twisted.logger import LogLevel

from micronode.concurrency.origin import UNIX, network_of
from micronode.concurrency.tally import logged
from micronode.concurrency.timer import LazyTimer

#: The share of the cap from which idle connections are closed.
REAP_SHARE: Final = 0.9
#: Seconds that a connection must have idled for that.
IDLE_S: Final = 1.0
#: Seconds between two looks for such, while there are too many.
LOOK_S: Final = 0.25
#: At the cap, accepting goes on when so many parts of it are free.
RESUME_SHARE: Final = 64
#: Seconds that a handshake is given however many wait.
PATIENCE_S: Final = 0.25
#: What ``rejected_total`` calls a connection that is closed as it comes, and one whose handshake is given up.
PER_ADDRESS: Final = "busy_address"
HANDSHAKES: Final = "timeout_handshakes"
#: ``source`` of the errors that come of it: they are counted here.
SOURCE: Final = "connections"


class Limits(Protocol):
    """What is read of the configuration's ``limits``."""

    @property
    def max_connections(self) -> int:
        """Connections at a time."""

    @property
    def per_address(self) -> int:
        """Those of one address; 0: no bound."""

    @property
    def max_handshakes(self) -> int:
        """Those that have not finished their handshake."""


@attrs.frozen(kw_only=True)
class Bounds:
    """How many connections a listener has at a time."""

    max_connections: int = 1024
    per_address: int = 0
    max_handshakes: int = 256

    @classmethod
    def of(cls, limits: Limits) -> Bounds:
        """Take them from the configuration."""
        return cls(
            max_connections=limits.max_connections,
            per_address=limits.per_address,
            max_handshakes=limits.max_handshakes,
        )


#: Of the admin plane's: no key sets them, so that an operator gets in however the others are filled.
ADMIN_BOUNDS: Final = Bounds(max_connections=64, max_handshakes=32)


class Connection(Protocol):
    """A connection, as far as its listener needs it."""

    @property
    def idle_since_s(self) -> float | None:
        """Since when nobody has used it, by the clock; None: somebody does, or it is closing."""

    def reap(self) -> bool:
        """Close it politely; False: it does not idle any more, and stays."""

    def make_way(self) -> None:
        """Close it: it has not finished its handshake, and others wait for its place."""


C = TypeVar("C", bound=Connection)


def _key(host: str | None) -> str | None:
    """Return what the address *host* is counted as; None for what has none."""
    return None if not host or host == UNIX else network_of(host)


class Connections(Generic[C]):
    """The open connections of one listener.

    :param rejected: called with a reason for each connection that is refused.
    :ivar listener: its name.
    :ivar on_room: called when :attr:`room` may no longer be 0; whoever accepts sets it.
    """

    def __init__(
        self,
        listener: str,
        clock: IReactorTime,
        *,
        bounds: Bounds | None = None,
        rejected: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self.listener = listener
        self.on_room: Callable[[], None] = lambda: None
        self._clock = clock
        self._bounds = bounds or Bounds()
        self._rejected = rejected
        #: By what each is counted.
        self._open: dict[C, str | None] = {}
        self._by_address: Counter[str] = Counter()
        #: Since when each of those has been open that are in their handshake: in that order.
        self._shaking: dict[C, float] = {}
        #: Those that were told to go because they idle.
        self._reaped: set[C] = set()
        self._full = False
        self._reaping = LazyTimer(clock, self._reap)
        self._waiting = LazyTimer(clock, self._tell_room)
        names = ("connection_refused", "handshake_given_up", "idle_reaped")
        told = partial(logged, clock, listener=listener)
        self._told = {name: told(name) for name in names}
        self._told["accepting_paused"] = told("accepting_paused", lambda: self._full)
        self._trouble = ""
        reason = lambda: {"reason": self._trouble}  # noqa: E731
        self._told["accept_error"] = told("accept_error", level=LogLevel.error, more=reason)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def bounds(self) -> Bounds:
        """How many there may be."""
        return self._bounds

    @property
    def parts(self) -> tuple[object, ...]:
        """What it times with."""
        return (self._reaping, self._waiting)

    @property
    def telling(self) -> tuple[LazyTimer, ...]:
        """The timers of what is told of them in the log."""
        return tuple(each.timer for each in self._told.values())

    @property
    def handshakes(self) -> int:
        """How many have not finished their handshake."""
        return len(self._shaking)

    @property
    def full(self) -> bool:
        """Whether the cap was reached, and not enough have gone since."""
        return self._full

    def bound(self, bounds: Bounds) -> None:
        """Let *bounds* hold from now on. Connections that are there stay, unless they idle."""
        self._bounds = bounds
        self._full = len(self._open) >= bounds.max_connections
        self._crowd()
        self._tell_room()

    def close(self) -> None:
        """Leave nothing in the reactor: the listener is closed, and its connections are."""
        self._reaping.close()
        self._waiting.close()
        for each in self._told.values():
            each.close()

    # Whoever accepts

    @property
    def room(self) -> int:
        """How many may be accepted now; while it is 0, :attr:`on_room` tells when to look again."""
        if self._full:
            return 0
        shaking = self._bounds.max_handshakes - len(self._shaking)
        if shaking <= 0:
            # The place of the oldest one can be had, once that has had its time.
            ripe_s = next(iter(self._shaking.values())) + PATIENCE_S
            if ripe_s > self._clock.seconds():
                self._waiting.expect(ripe_s)
                return 0
            shaking = 1
        return max(0, min(shaking, self._bounds.max_connections - len(self._open)))

    def lets_in(self, host: str | None) -> bool:
        """Whether there may be one more connection of *host*; False is counted, and logged now and then."""
        most = self._bounds.per_address
        if most:
            key = _key(host)
            if key is not None and self._by_address[key] >= most:
                self._rejected(PER_ADDRESS)
                self._told["connection_refused"].add()
                return False
        return True

    def exhausted(self, trouble: str) -> None:
        """None could be accepted for *trouble*, mostly want of descriptors: tell, and close what idles."""
        self._trouble = trouble
        self._told["accept_error"].add()
        self._reap_some(max(1, len(self._open) // 10))

    # The connections

    def opened(self, connection: C, host: str | None) -> None:
        """Note a new connection, in its handshake."""
        key = self._open[connection] = _key(host)
        if key is not None:
            self._by_address[key] += 1
        self._shaking[connection] = self._clock.seconds()
        if len(self._shaking) > self._bounds.max_handshakes:
            oldest = next(iter(self._shaking))
            del self._shaking[oldest]
            self._rejected(HANDSHAKES)
            self._told["handshake_given_up"].add()
            oldest.make_way()
        if len(self._open) >= self._bounds.max_connections and not self._full:
            self._full = True
            self._told["accepting_paused"].add()
        self._crowd()

    def greeted(self, connection: C) -> None:
        """Note that it has finished its handshake; harmless where it has before."""
        if self._shaking.pop(connection, None) is not None:
            self._tell_room()

    def closed(self, connection: C) -> None:
        """Note a connection's end."""
        if connection not in self._open:
            return
        key = self._open.pop(connection)
        if key is not None:
            self._by_address[key] -= 1
            if not self._by_address[key]:
                del self._by_address[key]
        self._shaking.pop(connection, None)
        self._reaped.discard(connection)
        cap = self._bounds.max_connections
        if self._full and len(self._open) <= cap - max(1, cap // RESUME_SHARE):
            self._full = False
        if self._too_many <= 0:
            self._reaping.close()
        self._tell_room()

    def _tell_room(self) -> None:
        if not self._full:
            self.on_room()

    # Those that idle

    @property
    def _too_many(self) -> int:
        """How many have to go, for there to be fewer than the share of the cap."""
        return len(self._open) - max(1, int(self._bounds.max_connections * REAP_SHARE)) + 1

    def _crowd(self) -> None:
        if self._too_many > 0 and self._reaping.at_s is None:
            self._reap()

    def _reap(self) -> None:
        excess = self._too_many
        if excess > 0:
            self._reap_some(excess - len(self._reaped))
            self._reaping.expect(self._clock.seconds() + LOOK_S)

    def _reap_some(self, most: int) -> None:
        if most <= 0:
            return
        before_s = self._clock.seconds() - IDLE_S
        idle = (
            (since_s, number, each)
            for number, each in enumerate(self._open)
            if each not in self._reaped and (since_s := each.idle_since_s) is not None and since_s <= before_s
        )
        for _, _, each in nsmallest(most, idle):
            if each.reap():
                self._reaped.add(each)
                self._told["idle_reaped"].add()
