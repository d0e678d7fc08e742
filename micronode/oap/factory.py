"""The OAP/1 ingress of a node: makes a protocol a connection, and drains them all."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import islice
from typing import Final

import attrs
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from micronode.concurrency.connections import Bounds, Connections
from micronode.concurrency.memory import Buffers
from micronode.concurrency.outgoing import Outgoing
from micronode.concurrency.shedlog import ShedLog
from micronode.config.schema import Limits, Timeouts
from micronode.oap.meter import Meter
from micronode.oap.protocol import OAPProtocol
from micronode.oap.services import Access, Dispatch, Services
from micronode.observability.metrics import Metrics

#: What TLS negotiates (ALPN).
ALPN: Final = b"oap/1"


class OAPFactory(Factory):
    """Serves OAP/1 on TCP, TLS and Unix sockets: hand it to any stream server endpoint.

    :ivar services: what its next connections share.
    :ivar held: its connections, and how many there may be.
    """

    noisy = False

    def __init__(
        self,
        *,
        dispatcher: Dispatch,
        metrics: Metrics,
        clock: IReactorTime,
        access: Access,
        limits: Limits,
        timeouts: Timeouts,
        buffers: Buffers | None = None,
        shed: ShedLog | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """:param clock: times every deadline.
        :param access: the access log, called once a call.
        :param limits: the configuration's ``limits``; all but max_object count here.
        :param timeouts: the configuration's ``timeouts``; all but body count here.
        :param buffers: what its connections hold is charged to it; None: to nobody.
        :param shed: tells of callers that are cut off in the log.
        :param chance: 0 to 1: where between half and one and a half of its time a caller of a node that
            goes away is told to come back.
        """
        buffers = buffers or Buffers()
        buffers.watchers.append(self._memory_turned)
        self.services = Services(
            dispatcher=dispatcher,
            meter=Meter(metrics),
            access=access,
            outgoing=Outgoing(clock),
            clock=clock,
            limits=limits,
            timeouts=timeouts,
            buffers=buffers,
            shed=shed,
        )
        #: In the order in which they came.
        self._protocols: dict[OAPProtocol, None] = {}
        self.held: Connections[OAPProtocol] = Connections(
            "oap", clock, bounds=Bounds.of(limits), rejected=lambda reason: metrics.rejected(reason).inc()
        )
        #: Those that were not told yet that the node goes away, the oldest first; None while it does not.
        self._staying: dict[OAPProtocol, None] | None = None
        #: When callers may come back that are accepted now, if it is their turn to go away at once.
        self._last_call_ms: int | None = None
        self._leaving = False
        self._chance = chance

    def buildProtocol(self, addr: IAddress | None) -> OAPProtocol | None:
        """Return the protocol of a new connection; None: the node goes away, or its address has too many."""
        if self._leaving or not self.held.lets_in(getattr(addr, "host", None)):
            return None
        return OAPProtocol(self)

    def acceptableProtocols(self) -> list[bytes]:
        """Return what TLS may negotiate."""
        return [ALPN]

    # The node's handles

    def bound(self, limits: Limits, timeouts: Timeouts) -> None:
        """Let *limits* and *timeouts* hold for connections from now on, and for how many there may be.

        One that is open keeps those of its beginning: HELLO has told them to the caller.
        """
        self.services = attrs.evolve(self.services, limits=limits, timeouts=timeouts)
        self.held.bound(Bounds.of(limits))

    @property
    def connections(self) -> int:
        """How many connections are open, closing ones included."""
        return len(self._protocols)

    def begin_leaving(self) -> None:
        """Drain: connections, also those that come, are :attr:`staying` until :meth:`leave` takes them."""
        if self._staying is None:
            self._staying = dict.fromkeys(self._protocols)
            for protocol in self._protocols:
                protocol.watch()

    @property
    def staying(self) -> int:
        """How many connections were not told yet that the node goes away."""
        return len(self._staying or ())

    def leave(self, count: int, retry_after_ms: int) -> None:
        """Let *count* of those go away that are staying; see :meth:`OAPProtocol.leave`.

        :param retry_after_ms: about when their callers may come back; each is told another time.
        """
        staying = self._staying or {}
        for protocol in list(islice(staying, count)):
            del staying[protocol]
            protocol.leave(self._jittered(retry_after_ms))

    def last_call(self, retry_after_ms: int) -> None:
        """Let all go away, and those who are accepted from now on with their first call."""
        self._last_call_ms = retry_after_ms
        self._staying = {}
        for protocol in list(self._protocols):
            protocol.leave(self._jittered(retry_after_ms))

    def _jittered(self, milliseconds: int) -> int:
        return round(milliseconds * (0.5 + self._chance()))

    def give_up(self, retry_after_ms: int) -> None:
        """Cancel every call, tell its caller that the node drains, and close each connection behind that."""
        self._leaving = True
        for protocol in list(self._protocols):
            protocol.give_up(self._jittered(retry_after_ms))

    def goaway(self, retry_after_ms: int) -> None:
        """Drain: tell every caller to go away, and close each connection after its last stream.

        Connections without streams close as soon as GOAWAY is written; new ones are not taken.
        """
        self._leaving = True
        for protocol in list(self._protocols):
            protocol.goaway(retry_after_ms)

    def abort_all(self) -> None:
        """Drop every connection; its calls are cancelled."""
        for protocol in list(self._protocols):
            protocol.end()

    def _memory_turned(self, deaf: bool) -> None:
        """Read nothing of connections without streams while the node is *deaf*, for want of memory."""
        for protocol in list(self._protocols):
            protocol.spare_memory(deaf)

    # The protocols' side

    def opened(self, protocol: OAPProtocol) -> None:
        """Note a new connection."""
        self._protocols[protocol] = None
        self.held.opened(protocol, protocol.peer)
        if self._last_call_ms is not None:
            protocol.leave(self._jittered(self._last_call_ms))
        elif self._staying is not None:
            self._staying[protocol] = None
            protocol.watch()

    def closed(self, protocol: OAPProtocol) -> None:
        """Note a connection's end."""
        self._protocols.pop(protocol, None)
        self.held.closed(protocol)
        if self._staying:
            self._staying.pop(protocol, None)
