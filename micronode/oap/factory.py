"""The OAP/1 ingress of a node: makes a protocol a connection, and drains them all."""

from __future__ import annotations

from typing import Final

import attrs
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import Factory

from micronode.concurrency.connections import Bounds, Connections
from micronode.concurrency.memory import Buffers
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
    ) -> None:
        """:param clock: times every deadline.
        :param access: the access log, called once a call.
        :param limits: the configuration's ``limits``; all but max_object count here.
        :param timeouts: the configuration's ``timeouts``; all but body count here.
        :param buffers: what its connections hold is charged to it; None: to nobody.
        """
        buffers = buffers or Buffers()
        buffers.watchers.append(self._memory_turned)
        self.services = Services(
            dispatcher=dispatcher,
            meter=Meter(metrics),
            access=access,
            clock=clock,
            limits=limits,
            timeouts=timeouts,
            buffers=buffers,
        )
        self._protocols: set[OAPProtocol] = set()
        self.held: Connections[OAPProtocol] = Connections(
            "oap", clock, bounds=Bounds.of(limits), rejected=lambda reason: metrics.rejected(reason).inc()
        )
        self._leaving = False

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
            protocol.abort()

    def _memory_turned(self, tight: bool) -> None:
        """Read nothing of connections without streams while memory is tight."""
        for protocol in list(self._protocols):
            protocol.spare_memory(tight)

    # The protocols' side

    def opened(self, protocol: OAPProtocol) -> None:
        """Note a new connection."""
        self._protocols.add(protocol)
        self.held.opened(protocol, protocol.peer)

    def closed(self, protocol: OAPProtocol) -> None:
        """Note a connection's end."""
        self._protocols.discard(protocol)
        self.held.closed(protocol)
