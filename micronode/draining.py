"""What a drain does to a node's parts: the effects of :class:`~micronode.concurrency.shutdown.Drain`.

Why this order. A load balancer learns of a stop from ``/readyz`` and needs time (``drain.grace``) before the
listeners close, or callers get refused connections. Callers that keep their connections learn of it from an
answer that is the last on its own, or from GOAWAY, some now and some later, so that they do not all come to
the next node at once. What was admitted gets ``drain.deadline`` to finish; and the admin plane closes last,
so that the drain can be watched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final

from twisted.internet.defer import Deferred, DeferredList, maybeDeferred, succeed
from twisted.internet.interfaces import IListeningPort, IReactorTime
from twisted.logger import Logger

from micronode.assembly import Assembly
from micronode.calls.call import Call, Ingress
from micronode.calls.outcome import cut
from micronode.calls.refusals import DRAINING_RETRY_S, draining
from micronode.concurrency.lastaccept import stop_accepting
from micronode.concurrency.shutdown import Phase
from micronode.concurrency.spread import Spread
from micronode.errors import NodeError

_log = Logger()

#: About when callers of a node that stops are told to come back.
RETRY_MS: Final = int(DRAINING_RETRY_S * 1000)
_CALLS: Final = frozenset({Phase.CLOSING, Phase.FINISHING, Phase.ABORTING})


class Draining:
    """Drains the parts of one node.

    :param ports: its open listeners by name; those that are closed are taken out.
    :param inherited: the names of those whose sockets are others', too.
    :param drains: called when the drain begins.
    :param stop_services: stops what runs beside the calls.
    :param ended: called when all is over.
    """

    def __init__(
        self,
        parts: Assembly,
        clock: IReactorTime,
        ports: dict[str, IListeningPort],
        *,
        inherited: Callable[[str], bool],
        drains: Callable[[], None],
        stop_services: Callable[[], Deferred[None]],
        ended: Callable[[], None],
    ) -> None:
        self._parts = parts
        self._clock = clock
        self._ports = ports
        self._inherited = inherited
        self._drains = drains
        self._stop_services = stop_services
        self._ended = ended
        self._dispatcher, oap = parts.dispatcher, parts.oap
        self._goodbyes = Spread(
            clock, left=lambda: oap.staying, take=lambda count: oap.leave(count, RETRY_MS)
        )
        self._ends = Spread(clock, left=self._streaming, take=self._end_streaming)
        #: Fires when the listeners but that of the admin plane are closed.
        self._closed: Deferred[None] = succeed(None)

    def entered(self, phase: Phase) -> None:
        """Log that *phase* begins."""
        if phase not in (Phase.GRACE, Phase.STOPPED):  # of these the state tells
            _log.info(
                "drain_phase",
                phase=phase.value,
                calls=self._parts.dispatcher.active,
                connections=self._connections,
            )

    # Effects, in their order

    def grace(self, seconds: float) -> None:
        """See :class:`~micronode.concurrency.shutdown.Effects`."""
        self._parts.http.last_answers()
        self._parts.oap.begin_leaving()
        self._drains()
        self._goodbyes.begin(seconds)
        self._ends.begin(seconds)

    def closing(self, seconds: float) -> Deferred[None]:
        """See :class:`~micronode.concurrency.shutdown.Effects`."""
        parts = self._parts
        self._goodbyes.close()
        # Before the listeners: who is accepted at last is to hear of it, too.
        _each(lambda: parts.oap.last_call(RETRY_MS), self._ends.end)
        self._closed = self._close("http", "oap", wait_s=seconds)
        _each(parts.http.close_idle)
        return _all(_after(self._closed))

    def finishing(self) -> None:
        """See :class:`~micronode.concurrency.shutdown.Effects`."""
        _each(
            lambda: self._parts.oap.goaway(RETRY_MS),
            lambda: self._dispatcher.end_subscriptions(lambda call: draining()),
        )

    def aborting(self) -> None:
        """See :class:`~micronode.concurrency.shutdown.Effects`."""
        parts = self._parts
        if self.left(Phase.ABORTING):
            _log.warn("drain_deadline", calls=parts.dispatcher.active, connections=self._connections)
        _each(
            # First: subscriptions end whole, and nothing was done yet for those that wait for their turn.
            parts.dispatcher.drain,
            lambda: parts.oap.give_up(RETRY_MS),
            lambda: parts.http.give_up(draining(), cut(DRAINING_RETRY_S)),
        )

    def releasing(self) -> Deferred[None]:
        """See :class:`~micronode.concurrency.shutdown.Effects`."""
        parts = self._parts
        _each(parts.http.abort_all, parts.oap.abort_all, parts.dispatcher.drain, parts.dispatcher.abandon)
        if parts.dispatcher.active:
            _log.warn("stop_unfinished", calls=parts.dispatcher.active)
        return _all(maybeDeferred(self._stop_services), parts.owners.close(), _after(self._closed))

    def leaving(self) -> Deferred[None]:
        """See :class:`~micronode.concurrency.shutdown.Effects`."""
        # That of the admin plane; and what a defect has left open.
        closed = self._close(*list(self._ports), wait_s=0.0)
        _each(lambda: self._parts.admin.give_up(draining(), cut(DRAINING_RETRY_S)))
        return closed

    def stopped(self) -> None:
        """See :class:`~micronode.concurrency.shutdown.Effects`."""
        _each(self._parts.admin.abort_all, self._ended)

    def left(self, phase: Phase) -> int:
        """See :class:`~micronode.concurrency.shutdown.Effects`."""
        parts = self._parts
        if phase in _CALLS:
            return parts.dispatcher.active + self._connections
        return parts.admin.connections if phase is Phase.LEAVING else 0

    @property
    def _connections(self) -> int:
        return self._parts.http.connections + self._parts.oap.connections

    # Subscriptions over HTTP; those over OAP end with their connections

    def _streaming(self) -> int:
        count = 0

        def judge(call: Call) -> None:
            nonlocal count
            count += call.ingress is Ingress.HTTP

        self._dispatcher.end_subscriptions(judge)
        return count

    def _end_streaming(self, count: int) -> None:
        def judge(call: Call) -> NodeError | None:
            nonlocal count
            if call.ingress is not Ingress.HTTP or not count:
                return None
            count -= 1
            return draining()

        self._dispatcher.end_subscriptions(judge)

    def _close(self, *names: str, wait_s: float) -> Deferred[None]:
        closing = []
        for name in names:
            port = self._ports.pop(name, None)
            if port is not None:
                ours = not self._inherited(name)
                closing.append(stop_accepting(port, self._clock, ours=ours, wait_s=wait_s))
        return _all(*closing)


def _each(*acts: Callable[[], object]) -> None:
    """Do all of *acts*: a defect of one is no reason to leave the others."""
    for act in acts:
        try:
            act()
        except Exception:
            _log.failure("drain_effect")


def _after(other: Deferred[None]) -> Deferred[None]:
    """Return what fires (None) when *other* does, which others wait for, too."""
    waiter: Deferred[None] = Deferred()

    def over(result: None) -> None:
        waiter.callback(None)

    other.addCallback(over)
    return waiter


def _all(*each: Deferred[None]) -> Deferred[None]:
    """Return what fires (None) when all have; what fails is logged."""

    def over(results: Iterable[tuple[bool, Any]]) -> None:
        for fine, result in results:
            if not fine:
                _log.failure("drain_effect", failure=result)

    return DeferredList(each, consumeErrors=True).addCallback(over)
