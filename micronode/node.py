"""The node: :class:`NodeService` starts its parts, lets them reload, and drains them.

What the parts are is :mod:`micronode.assembly`'s business. A node touches nothing process-wide: no signals,
no logging set-up, no global reactor, so a host program can hold several.

Why the order of a stop matters: a load balancer learns of it from ``/readyz`` and needs time
(``drain.grace``) before the listeners close, or callers get refused connections; answers over HTTP are
the last on their connections from the first moment on, so that nobody asks again on one that is about to
be closed; calls that were admitted get ``drain.deadline`` to finish; and the admin listener closes last,
so that the drain can be watched.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger

from micronode.assembly import Assembly
from micronode.bus import StateChanged
from micronode.concurrency.listening import ListenError, bind, bound_address
from micronode.config.address import ListenAddress
from micronode.config.hot_reload import Outcome
from micronode.config.reloader import Read, Reloader
from micronode.config.schema import BUILT_FACETS, Config
from micronode.facets.hosted import Hosted, serve_hosted
from micronode.http.control import Control, refuse_everybody
from micronode.http.site import HttpSite
from micronode.lifecycle import State, make_lifecycle
from micronode.oap.factory import OAPFactory
from micronode.overview import make_status

_log = Logger()

#: What peers are told to wait before they come back to a node that stops.
GOAWAY_RETRY_MS: Final = 5_000
#: Seconds between two looks at how many connections are left while draining.
_DRAIN_TICK_S: Final = 0.05
#: Seconds that cancelled calls have to let their owners go: that takes a turn of the reactor or two.
_CANCEL_S: Final = 1.0


class NodeService(MultiService):
    """A node as a Twisted service; made by :func:`make_node`.

    Starting binds its listeners at once and raises
    :class:`~micronode.concurrency.listening.ListenError` when one cannot be bound (then none is).
    Stopping drains; the Deferred of :meth:`stopService` fires (None) when everything is closed, at the
    latest about ``drain.grace + drain.deadline`` and a second later. A stopped node is not started again.

    :ivar addresses: ``http``, ``admin``, ``oap`` -> where each is bound (``HOST:PORT`` or ``unix:/path``);
        empty before the start.
    :ivar state: where in its life it is.
    :ivar bus: tells what happens to it; closed when it has stopped.
    :ivar reloader: what :meth:`reload` and :meth:`preview` are done by, and how the last one ended.
    :ivar status: how it is, on one page.
    :ivar sockets: inherited listening sockets by name.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        facets: Iterable[Hosted] = (),
        *,
        read: Read | None = None,
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        config.require_built()
        self.addresses: dict[str, str] = {}
        self.state = State.STARTING
        self.sockets = dict(sockets or {})
        self._reactor = reactor
        self._lifecycle = make_lifecycle(self._entered)
        self._ports: dict[str, IListeningPort] = {}
        self._hurried = False
        self._waiting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None

        self._parts = parts = Assembly(
            config,
            reactor,
            serve_hosted(facets, BUILT_FACETS),
            state=lambda: self.state,
            listening=lambda: bool(self._ports),
            control=Control(
                status=lambda: self.status.as_dict(),
                preview=self.preview,
                reload=self.reload,
                drain=self.stopService,
                authenticate=refuse_everybody,
            ),
        )
        parts.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.metrics, self.bus, self.probes = parts.metrics, parts.bus, parts.probes
        self.reloader = Reloader(parts, read=read, bus=self.bus, metrics=self.metrics)
        self.status = make_status(
            parts,
            self.reloader,
            state=lambda: self.state.value,
            listeners=lambda: {name: self.addresses[name] for name in self._ports},
            clock=reactor,
        )
        self._dispatcher, self._owners = parts.dispatcher, parts.owners
        self._admin, self._http, self._oap = parts.admin, parts.http, parts.oap

    @property
    def config(self) -> Config:
        """The configuration in force; a reload replaces it."""
        return self._parts.config

    @property
    def calls(self) -> int:
        """How many calls are in flight."""
        return self._dispatcher.active

    # Reloading

    def reload(self, config: Config | None = None) -> Deferred[Outcome]:
        """Take another configuration while the node runs: *config*, or what its sources say now.

        What needs a restart keeps its value, and is named. Calls under way keep what they began with.

        :return: fires with what came of it; it never fails, and cancelling it does not stop the reload.
        """
        return self.reloader.reload(config)

    def preview(self) -> Deferred[Outcome]:
        """Tell what a reload would do now; changes nothing. The Deferred is as that of :meth:`reload`."""
        return self.reloader.preview()

    # Starting

    def privilegedStartService(self) -> None:
        """Bind the listeners, so that a port below 1024 can be had before privileges are dropped.

        :raises ListenError: one cannot be bound; none is then.
        """
        self._bind()
        super().privilegedStartService()  # type: ignore[no-untyped-call]

    def startService(self) -> None:
        """Start serving; binds the listeners where :meth:`privilegedStartService` was not called.

        :raises ListenError: one cannot be bound; none is then.
        """
        self._bind()
        super().startService()  # type: ignore[no-untyped-call]
        self._lifecycle.started()

    def _bind(self) -> None:
        if self._ports:
            return
        config = self.config
        listeners: tuple[tuple[str, str, HttpSite | OAPFactory], ...] = (
            ("admin", config.admin.listen, self._admin),
            ("oap", config.oap.listen, self._oap),
            ("http", config.http.listen, self._http),
        )
        try:
            for name, text, factory in listeners:
                if text != "off":
                    key, address = f"{name}.listen", ListenAddress.parse_listener(text)
                    self._ports[name] = bind(self._reactor, key, address, factory, self.sockets, factory.held)
        except ListenError:
            for port in self._ports.values():
                port.stopListening()
            self._ports.clear()
            raise
        self.addresses = {name: bound_address(port) for name, port in self._ports.items()}
        for name, address_text in self.addresses.items():
            _log.info("listening", listener=name, address=address_text)

    # Stopping

    def stopService(self) -> Deferred[None]:
        """Drain and stop.

        :return: fires (None) when every connection, listener and owner connection is closed.
        """
        if self._stopping is None:
            self._stopping = Deferred.fromCoroutine(self._drain())
        return self._stopping

    def hurry(self) -> None:
        """Skip what is left of the waiting: a stop that is under way ends at once."""
        self._hurried = True
        if self._waiting is not None:
            self._waiting.cancel()

    async def _drain(self) -> None:
        # Before the state changes: who listens to the bus hears of the reload's end first.
        self.reloader.stop()
        drain = self.config.drain
        self._http.last_answers()
        self._lifecycle.drain()
        await self._wait(drain.grace)
        await self._close("http", "oap")
        # Before the subscriptions end, or their callers would come back on the same connection.
        self._oap.goaway(GOAWAY_RETRY_MS)
        self._dispatcher.drain()
        self._http.close_idle()
        deadline = self._reactor.seconds() + drain.deadline
        while self._busy() and not self._hurried and self._reactor.seconds() < deadline:
            await self._wait(_DRAIN_TICK_S)
        if self._busy():
            _log.warn("drain_deadline", calls=self._dispatcher.active)
        self._http.abort_all()
        self._oap.abort_all()
        await self._let_calls_end()
        await maybeDeferred(super().stopService)
        await self._owners.close()
        await self._close("admin")
        self._admin.abort_all()
        self._lifecycle.stopped()
        self.bus.close()

    async def _let_calls_end(self) -> None:
        """Wait for calls that were cancelled; one that ignores it does not keep the node from stopping."""
        try:
            await self._dispatcher.when_idle().addTimeout(_CANCEL_S, self._reactor)
        except TimeoutError:
            _log.warn("stop_unfinished", calls=self._dispatcher.active)

    def _busy(self) -> bool:
        return bool(self._dispatcher.active or self._http.connections or self._oap.connections)

    async def _close(self, *names: str) -> None:
        for name in names:
            port = self._ports.pop(name, None)
            if port is not None:
                await maybeDeferred(port.stopListening)

    async def _wait(self, seconds: float) -> None:
        """Wait, unless the stop was hurried."""
        if self._hurried or seconds <= 0:
            return
        self._waiting = deferLater(self._reactor, seconds)
        try:
            await self._waiting
        except CancelledError:
            if not self._hurried:
                raise
        finally:
            self._waiting = None

    def _entered(self, state: State) -> None:
        previous, self.state = self.state, state
        self.metrics.enter(state.value)
        self.metrics.ready_state.set(1 if self.probes.ready else 0)
        _log.info("state", state=state.value)
        self.bus.publish(StateChanged(state=state.value, previous=previous.value))


def make_node(
    config: Config,
    reactor: Any,
    *,
    facets: Iterable[Hosted] = (),
    read: Read | None = None,
    sockets: Mapping[str, socket.socket] | None = None,
) -> NodeService:
    """Build a node; nothing is bound and nothing runs before it is started.

    :param reactor: provides IReactorTCP, IReactorUNIX and IReactorTime, for *sockets* also IReactorSocket.
        The caller runs it.
    :param facets: facets of the host's own, served beside the built-in ones: IFacet objects, each alone
        or with its :class:`~micronode.facets.hosted.FacetSettings`.
    :param read: reads all sources of the configuration again, for :meth:`NodeService.reload`; returns an
        awaitable of :class:`~micronode.config.sources.Loaded`, and may raise
        :class:`~micronode.config.problems.ConfigError`.
    :param sockets: listening sockets by name, for listeners ``systemd:NAME``; they stay the caller's.
    :raises ConfigError: *config* asks for what this release has not.
    :raises ValueError: a facet of *facets* has a name that is taken, or an operation that is.
    """
    return NodeService(config, reactor, facets, read=read, sockets=sockets)
