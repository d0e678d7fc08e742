"""A listener's factory: makes channels, knows which are open, and accounts for every request once.

Owned by the node, which listens with it; nothing here binds a socket.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import attrs
from twisted.internet.interfaces import IAddress, IProtocolFactory, IProtocolNegotiationFactory, IReactorTime
from twisted.internet.protocol import ServerFactory
from zope.interface import implementer

from micronode.calls.call import Ingress
from micronode.calls.table import OperationTable
from micronode.concurrency import connections, memory
from micronode.concurrency.connections import Bounds, Connections
from micronode.concurrency.outgoing import Outgoing
from micronode.concurrency.shedlog import ShedLog
from micronode.errors import NodeError
from micronode.http.channel import HttpChannel
from micronode.http.limits import Deadlines, Timeouts
from micronode.http.mounts import mount_routes
from micronode.http.operations import Dispatch, operation_routes
from micronode.http.request import Request
from micronode.http.response import DateField
from micronode.http.routes import Route, Routes
from micronode.oap.wire.limits import DECOMPRESS_RATIO
from micronode.observability.metrics import OTHER_METHOD, OTHER_ROUTE, REJECT_REASONS, Metrics, method_label

#: Called once a request with its log fields: request_id, route, status, latency_ms, peer, and where
#: there is one facet, and :meth:`NodeError.log_fields`.
Access = Callable[[dict[str, object]], None]

_REJECTED: Final = frozenset(REJECT_REASONS)
_COUNTED: Final = frozenset({memory.SOURCE, connections.SOURCE})


@attrs.frozen(kw_only=True)
class SiteSettings:
    """What may change about a site while it serves, as a whole.

    A request keeps those that were in force when its head was whole; a wait for one takes the current ones
    whenever it is looked at.
    """

    routes: Routes
    deadlines: Deadlines


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
class HttpSite(ServerFactory):
    """Serves *routes* to whoever connects.

    :ivar settings: routes and deadlines; assigning others is all there is to a reload.
    :ivar held: its connections, and how many there may be.
    :param clock: times every deadline and latency.
    :param wall: unix time in seconds, for ``Date``.
    :param listener: its name, for logs.
    :param bounds: how many connections it has at a time.
    :param buffers: what they hold is charged to it; None: to nobody.
    :param shed: tells of callers that are cut off in the log.
    """

    noisy = False

    def __init__(
        self,
        *,
        routes: Routes,
        metrics: Metrics,
        deadlines: Deadlines,
        clock: IReactorTime,
        access: Access,
        wall: Callable[[], float] = time.time,
        listener: str = "http",
        bounds: Bounds | None = None,
        buffers: memory.Buffers | None = None,
        shed: ShedLog | None = None,
    ) -> None:
        self.settings = SiteSettings(routes=routes, deadlines=deadlines)
        self.clock = clock
        self.date = DateField(wall)
        self.outgoing = Outgoing(clock)
        #: True from last_answers() on: every answer that begins is its connection's last.
        self.ending = False
        #: True from close_idle() on: whoever is asked nothing is waited for a moment only.
        self.draining = False
        self._metrics = metrics
        self._access = access
        self.buffers = buffers or memory.Buffers()
        self.buffers.watchers.append(self._memory_turned)
        self._shed = shed
        #: In the order in which they came.
        self._channels: dict[HttpChannel, None] = {}
        self.held: Connections[HttpChannel] = Connections(
            listener, clock, bounds=bounds, rejected=lambda reason: metrics.rejected(reason).inc()
        )

    def buildProtocol(self, addr: IAddress | None) -> HttpChannel | None:
        """Return the channel of a new connection; None: its address has too many."""
        if not self.held.lets_in(getattr(addr, "host", None)):
            return None
        channel = HttpChannel(self)
        channel.factory = self
        return channel

    def acceptableProtocols(self) -> list[bytes]:
        """Return what TLS may negotiate: HTTP/2 is not served."""
        return [b"http/1.1"]

    # The node's handles

    @property
    def connections(self) -> int:
        """How many connections are open, closing ones included."""
        return len(self._channels)

    def last_answers(self) -> None:
        """Say with every answer from now on that its connection ends; idle ones are still waited for.

        Whoever asks again comes on a new connection, and notices in time when there are none any more.
        """
        self.ending = True

    def close_idle(self) -> None:
        """Drain: close connections on which nothing comes for a moment, each other one after its last answer.

        What still comes in that moment is served. An answer that began before :meth:`last_answers` has not
        said that it is the last, so its caller is waited for as long behind it.
        """
        self.ending = self.draining = True
        for channel in list(self._channels):
            channel.drain()

    def give_up(self, error: NodeError, cut: NodeError) -> None:
        """Cancel what runs for a caller, and tell it *error*; where its answer has begun, that is cut.

        :param cut: what is told instead of a request for which something may have been done.
        """
        self.ending = self.draining = True
        for channel in list(self._channels):
            channel.give_up(error, cut)

    def abort_all(self) -> None:
        """Drop every connection; what runs for one is cancelled."""
        for channel in list(self._channels):
            channel.end()

    def _memory_turned(self, deaf: bool) -> None:
        """Read what may be read now, and nothing else."""
        for channel in list(self._channels):
            channel.settle()

    @property
    def routes(self) -> Routes:
        """The routes that a next request takes."""
        return self.settings.routes

    # The channels' side

    def opened(self, channel: HttpChannel) -> None:
        """Note a new connection."""
        self._channels[channel] = None
        self.held.opened(channel, channel.peer)

    def closed(self, channel: HttpChannel) -> None:
        """Note a connection's end."""
        self._channels.pop(channel, None)
        self.held.closed(channel)

    def slow_reader(self) -> None:
        """Count a caller that is cut off because it takes its answer too slowly."""
        self._metrics.rejected("slow_reader").inc()
        if self._shed is not None:
            self._shed.cut_off("slow_reader", Ingress.HTTP.value)

    def first_byte(self, request: Request) -> None:
        """Measure how long the head of an answer took, but that of a subscription."""
        route, metrics = request.route, self._metrics
        taken_s = self.clock.seconds() - request.began_s
        if route is None or route.facet is None:
            # What the node answers of itself takes no time of anybody's: one histogram is enough for it.
            metrics.first_byte(OTHER_ROUTE, OTHER_METHOD).observe(taken_s)
        elif not route.subscribes:
            metrics.first_byte(route.name, method_label(request.head.method)).observe(taken_s)

    def record(self, request: Request, status: int, error: NodeError | None) -> None:
        """Count and log *request*, whose answer ended with *status*."""
        route, metrics = request.route, self._metrics
        name = OTHER_ROUTE if route is None else route.name
        method = method_label(request.head.method)
        taken_s = self.clock.seconds() - request.began_s
        metrics.requests(name, method, status).inc()
        if route is None or route.facet is None:
            metrics.latency(OTHER_ROUTE, OTHER_METHOD).observe(taken_s)
        elif not route.subscribes:
            metrics.latency(name, method).observe(taken_s)
        if request.bytes_in:
            metrics.bytes("http", "in").inc(request.bytes_in)
        if request.bytes_out:
            metrics.bytes("http", "out").inc(request.bytes_out)
        fields: dict[str, object] = {
            "request_id": request.request_id,
            "route": name,
            "status": status,
            "latency_ms": round(taken_s * 1000, 3),
            "peer": request.peer,
        }
        if route is not None and route.facet is not None:
            fields["facet"] = route.facet
        if error is not None:
            fields.update(error.log_fields())
            # What the dispatcher refuses it counts itself, and so do these.
            if not request.dispatched and error.code.value in _REJECTED and error.source not in _COUNTED:
                metrics.rejected(error.code.value).inc()
        self._access(fields)


def make_app_site(
    *,
    dispatcher: Dispatch,
    metrics: Metrics,
    timeouts: Timeouts,
    idle_s: float,
    clock: IReactorTime,
    access: Access,
    decompress_ratio: int = DECOMPRESS_RATIO,
    **options: Any,
) -> HttpSite:
    """Return the application plane: the operations of *dispatcher*, over HTTP.

    :param timeouts: the configuration's ``timeouts``; read, body and write_stall count here.
    :param idle_s: ``http.idle``, how long a connection is kept between requests.
    :param access: the access log; see :data:`Access`.
    :param decompress_ratio: ``limits.decompress_ratio``.
    :param options: passed on to :class:`HttpSite`.
    """
    settings = app_settings(
        dispatcher, dispatcher.table, timeouts=timeouts, idle_s=idle_s, decompress_ratio=decompress_ratio
    )
    return HttpSite(
        routes=settings.routes,
        metrics=metrics,
        deadlines=settings.deadlines,
        clock=clock,
        access=access,
        **options,
    )


def app_settings(
    dispatcher: Dispatch,
    table: OperationTable,
    *,
    timeouts: Timeouts,
    idle_s: float,
    about: Sequence[Route] = (),
    decompress_ratio: int = DECOMPRESS_RATIO,
    min_rate: int = 0,
) -> SiteSettings:
    """Return the settings of an application plane that serves *table*; parameters as for the site.

    :param about: the routes by which it tells of itself; see :mod:`micronode.http.about`.
    :param min_rate: ``limits.min_rate``, bytes a second that callers take of their answers at least.
    :raises ValueError: two operations would be one route.
    """
    return SiteSettings(
        routes=operation_routes(
            dispatcher,
            table,
            about=(*about, *mount_routes(table, dispatcher)),
            decompress_ratio=decompress_ratio,
        ),
        deadlines=Deadlines.of(timeouts, idle_s, min_rate),
    )
