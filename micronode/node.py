"""The node: :class:`NodeService` starts its parts, lets them reload, and drains them.

What the parts are is :mod:`micronode.assembly`'s business, in which order they stop that of
:mod:`micronode.draining`. A node touches nothing process-wide: no signals, no logging set-up, no global
reactor, so a host program can hold several.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any

from twisted.application.service import MultiService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger

from micronode.assembly import Assembly
from micronode.bus import StateChanged
from micronode.concurrency.listening import ListenError, bind, bound_address
from micronode.concurrency.shutdown import Drain, Phase
from micronode.config.address import ListenAddress
from micronode.config.hot_reload import Outcome
from micronode.config.reloader import Read, Reloader
from micronode.config.schema import BUILT_FACETS, Config
from micronode.draining import Draining
from micronode.facets.hosted import Hosted, serve_hosted
from micronode.http.control import Control, refuse_everybody
from micronode.http.site import HttpSite
from micronode.lifecycle import State, make_lifecycle
from micronode.oap.factory import OAPFactory
from micronode.overview import make_status
from micronode.topology.whole import make_topology

_log = Logger()


class NodeService(MultiService):
    """A node as a Twisted service; made by :func:`make_node`.

    Starting binds its listeners at once and raises
    :class:`~micronode.concurrency.listening.ListenError` when one cannot be bound (then none is).
    Stopping drains; the Deferred of :meth:`stopService` fires (None) when everything is closed, at the
    latest ``drain.grace + drain.deadline`` and a second later. A stopped node is not started again.

    :ivar addresses: ``http``, ``admin``, ``oap`` -> where each is bound (``HOST:PORT`` or ``unix:/path``);
        empty before the start.
    :ivar state: where in its life it is.
    :ivar bus: tells what happens to it; closed when it has stopped.
    :ivar reloader: what :meth:`reload` and :meth:`preview` are done by, and how the last one ended.
    :ivar status: how it is, on one page.
    :ivar topology: its gates, queues, producers, timers, buffers and pools.
    :ivar sockets: inherited listening sockets by name.
    :ivar drain: how it stops, phase by phase.
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
        #: The names of listeners whose sockets others have, too.
        self._inherited: set[str] = set()
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
        self.topology = make_topology(parts)
        self.status = make_status(
            parts,
            self.reloader,
            self.topology,
            state=lambda: self.state.value,
            listeners=lambda: {name: self.addresses[name] for name in self._ports},
            drain=self._drain_status,
            clock=reactor,
        )
        self._dispatcher, self._owners = parts.dispatcher, parts.owners
        self._admin, self._http, self._oap = parts.admin, parts.http, parts.oap
        draining = Draining(
            parts,
            reactor,
            self._ports,
            inherited=self._inherited.__contains__,
            drains=self._drains,
            stop_services=super().stopService,
            ended=self._stopped,
        )
        self.drain = Drain(reactor, draining, entered=draining.entered)

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
        if self.state is not State.STARTING:
            raise RuntimeError("a node that has stopped is not started again; make another one")
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
                    if address.name:
                        self._inherited.add(name)
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

        :return: fires (None) when every connection, listener and owner connection is closed. It never fails,
            and cancelling it does not keep the node from stopping.
        """
        drain = self.config.drain
        # Nobody is served by a node that was not started.
        served = self.state is State.RUNNING
        stopped = self.drain.when_stopped()
        self.drain.begin(drain.grace if served else 0.0, drain.deadline if served else 0.0)
        return stopped

    def hurry(self) -> None:
        """Skip what is left of the waiting: a stop that is under way ends at once."""
        self.drain.hurry()

    def _drains(self) -> None:
        # Before the state changes: who listens to the bus hears of the reload's end first.
        self.reloader.stop()
        self._lifecycle.drain()

    def _drain_status(self) -> tuple[str, float] | None:
        drain = self.drain
        return None if drain.phase is Phase.SERVING else (drain.phase.value, drain.left_s)

    def _stopped(self) -> None:
        self._lifecycle.stopped()
        self.bus.close()

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
