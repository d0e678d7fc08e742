"""What a node holds in memory for its callers, over all connections and bodies.

Each buffer has a bound of its own; together they would be gigabytes. So all of them are charged to one
account, where they are counted anyway: when a buffer grows or shrinks, not with every frame.

* At :data:`TIGHT_SHARE` of the limit nothing new is read: connections that wait for a request, and those
  whose calls run, are left to the kernel, which makes their callers wait; what begins all the same is
  refused. What has begun goes on, since only that gives memory back: bodies come to their ends, CREDIT is
  taken, answers leave. Below :data:`EASY_SHARE` all are read again.
* Meanwhile requests that are not whole make way (:mod:`micronode.concurrency.unfinished`): those that bring
  nothing at once, and after :data:`HASTY_S` the largest, where they would make room enough.
* After :data:`DEAF_S` those who wait are read all the same, and every call is refused: an answer that says
  when to come back is worth more than silence.
* At the limit what would be more is refused: a request body over HTTP with ``busy``, since nothing was done
  for it; over OAP/1, where its owner may have got some, with ``owner_unavailable``.

An answer that is passed on is charged from its beginning with what it may come to hold, and so is a
subscription: :data:`ANSWER_BYTES` and :data:`UNDERWAY_BYTES`. Not charged is what a transport has taken of
small answers and not said that it is full, 64 KiB at most; ``limits.max_connections`` bounds that.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from twisted.application.service import Service
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from micronode.concurrency.tally import Spell, logged
from micronode.concurrency.timer import LazyTimer
from micronode.concurrency.unfinished import Unfinished
from micronode.errors import ErrorCode, NodeError

_log = Logger()

#: The share of the limit from which nothing new is read, and below which all is read again.
TIGHT_SHARE: Final = 0.8
EASY_SHARE: Final = 0.7
#: What an answer that is passed on has on its way: one read.
UNDERWAY_BYTES: Final = 65_536
#: What it may hold at most: that, a transport that is all but full, and the read that fills it.
ANSWER_BYTES: Final = 3 * UNDERWAY_BYTES
#: While memory is tight: seconds between two looks at who makes way, after which also those do that send at
#: speed, and after which those are read, and refused, who were left to the kernel.
LOOK_S: Final = 0.05
HASTY_S: Final = 0.75
DEAF_S: Final = 1.0
#: ``source`` of the errors that come of it, and what ``rejected_total`` calls them.
SOURCE: Final = "buffers"
REASON: Final = "busy_buffers"
#: About when who is refused may come back, in seconds.
RETRY_S: Final = 2.0


def buffered_bytes(transport: Any) -> int:
    """Return what the buffers of *transport* take; 0 where it does not tell.

    What it has sent of the first of them is in memory until all of that is: it counts, unlike in
    :func:`micronode.concurrency.stall.unsent`.
    """
    return len(getattr(transport, "dataBuffer", b"")) + getattr(transport, "_tempDataLen", 0)


class Buffers(Service):
    """The account of one node. Its stop tells what is left to be told, and is the end of telling.

    :param limit: in bytes; None: there is none.
    :param clock: makes the turns of the reactor in which the watchers are told; None: they are not.
    :param rejected: called with :data:`REASON` for each refusal.
    :param chance: 0 to 1: spreads when the refused come back.
    :ivar held: bytes.
    :ivar tight: whether nothing new is to be begun.
    :ivar deaf: whether nothing new is to be read, either.
    :ivar unfinished: the requests that are not whole.
    :ivar watchers: called with :attr:`deaf` when it or :attr:`tight` has changed, in a turn of the reactor of
        its own.
    """

    def __init__(
        self,
        limit: int | None = None,
        clock: IReactorTime | None = None,
        *,
        rejected: Callable[[str], None] = lambda reason: None,
        chance: Callable[[], float] = lambda: 0.5,
    ) -> None:
        self.held = 0
        self.tight = self.deaf = False
        self.unfinished = Unfinished()
        self.watchers: list[Callable[[bool], None]] = []
        self._clock = clock
        self._rejected = rejected
        self._chance = chance
        #: What the watchers know.
        self._told = self._told_deaf = False
        self._telling: IDelayedCall | None = None
        #: Looks at who makes way, while it is tight; since when it is, and when the look is due.
        self._looking: IDelayedCall | None = None
        self._since_s = self._due_s = 0.0
        self._refused: Spell | None = None
        if clock is not None:
            self._refused = logged(
                clock, "buffers_refused", more=lambda: {"held": self.held, "limit": self.limit}
            )
        self.bound(limit)

    def stopService(self) -> None:
        super().stopService()  # type: ignore[no-untyped-call]
        if self._refused is not None:
            self._refused.close()

    def bound(self, limit: int | None) -> None:
        """Let *limit* hold from now on; what is held stays."""
        self.limit = limit
        self._high = float("inf") if limit is None else limit * TIGHT_SHARE
        self._low = float("inf") if limit is None else limit * EASY_SHARE
        self.add(0)

    def add(self, size: int) -> None:
        """Note that *size* bytes more are held; fewer, where it is negative."""
        held = self.held = self.held + size
        if held >= self._high:
            if not self.tight:
                self._turn(True)
        elif self.tight and held < self._low:
            self._turn(False)

    @property
    def telling(self) -> tuple[LazyTimer, ...]:
        """The timer of what is told of refusals in the log; none without a clock."""
        return () if self._refused is None else (self._refused.timer,)

    @property
    def full(self) -> bool:
        """Whether the limit is reached."""
        return self.limit is not None and self.held >= self.limit

    def refusal(self, code: ErrorCode = ErrorCode.BUSY) -> NodeError:
        """Return the refusal of what would be too much; it is counted, and logged now and then."""
        self._rejected(REASON)
        if self._refused is not None:
            self._refused.add()
        retry_after_s = RETRY_S * (0.5 + self._chance())
        message = "the node holds as much for its callers as it may"
        return NodeError(code, message, retry_after_s=retry_after_s, source=SOURCE)

    def _turn(self, tight: bool) -> None:
        self.tight = tight
        # What turns there and back before anybody was told has changed nothing for them.
        self.deaf = tight and (self._told_deaf or not self._told)
        if self._clock is not None and self._telling is None:
            # Not at once: whoever gives bytes back may be in the middle of anything.
            self._telling = self._clock.callLater(0, self._tell)

    def _tell(self) -> None:
        self._telling = None
        if self.tight is self._told:
            return
        self._told = self.tight
        (_log.warn if self.tight else _log.info)(
            "buffers_tight" if self.tight else "buffers_easy", held=self.held, limit=self.limit
        )
        if self.tight and self._clock is not None:
            self._since_s = self._clock.seconds()
            self._look_later(self._clock)
        elif self._looking is not None:
            self._looking.cancel()
            self._looking = None
        self._tell_watchers()

    def _tell_watchers(self) -> None:
        self._told_deaf = self.deaf
        for watcher in self.watchers:
            watcher(self.deaf)

    # While it is tight

    def _look_later(self, clock: IReactorTime) -> None:
        if self._looking is None:
            self._due_s = clock.seconds() + LOOK_S
            self._looking = clock.callLater(LOOK_S, self._look, clock)

    def _look(self, clock: IReactorTime) -> None:
        now_s = clock.seconds()
        late_s = now_s - self._due_s
        self._looking = None
        # Until it was told that it is over: before that it may be tight again.
        self._look_later(clock)
        if not self.tight:
            return
        lasted_s = now_s - self._since_s
        if late_s < LOOK_S:
            # Else nobody was read for a while, and who seems to be silent may not be.
            self.unfinished.silent_make_way(now_s, self._has_room)
        if lasted_s >= HASTY_S and self.unfinished.size > self.held - self._low:
            self.unfinished.largest_make_way(self._has_room)
        if self.deaf and lasted_s >= DEAF_S:
            self.deaf = False
            self._tell_watchers()

    def _has_room(self) -> bool:
        return not self.tight
