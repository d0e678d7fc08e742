"""The node: :func:`make_node` builds every part, :class:`NodeService` starts and drains them.

The only place that knows concrete classes. It touches nothing process-wide: no signals, no logging
set-up, no global reactor, so a host program can hold several nodes.

Why the order of a stop matters: a load balancer learns of it from ``/readyz`` and needs time
(``drain.grace``) before the listeners close, or callers get refused connections; calls that were
admitted get ``drain.deadline`` to finish; and the admin listener closes last, so that the drain can be
watched.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Mapping
from typing import Any, Final

from twisted.application.service import MultiService
from twisted.internet.defer import CancelledError, Deferred, DeferredList, TimeoutError, maybeDeferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.internet.task import deferLater
from twisted.logger import Logger

from micronode.adapters.build import make_owner_client
from micronode.adapters.health import OwnerHealth
from micronode.adapters.index import IndexClient
from micronode.adapters.owner import OwnerClient
from micronode.adapters.storage import StorageClient
from micronode.bus import EventBus, StateChanged
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.operations import OperationTable
from micronode.concurrency.listening import ListenError, bind, bound_address
from micronode.config.address import ListenAddress
from micronode.config.schema import BUILT_FACETS, BUILT_OWNERS, Config
from micronode.facets.graph import GraphFacet
from micronode.facets.hosted import FacetSettings, Hosted, Served, make_bounds, serve_hosted
from micronode.facets.media import MediaFacet
from micronode.facets.search import SearchFacet
from micronode.http.admin import ADMIN_ROUTES, make_admin_site
from micronode.http.site import make_app_site
from micronode.interfaces import IFacet, IReadinessCheck
from micronode.lifecycle import State, make_lifecycle
from micronode.oap.factory import OAPFactory
from micronode.observability.heartbeat import Heartbeat
from micronode.observability.metrics import Metrics
from micronode.observability.probes import Check, Probes
from micronode.observability.version import build_version, runtime_version

_log = Logger()
_access_log = Logger(namespace="micronode.access")

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

    :ivar config: what it was made of.
    :ivar addresses: ``http``, ``admin``, ``oap`` -> where each is bound (``HOST:PORT`` or ``unix:/path``);
        empty before the start.
    :ivar state: where in its life it is.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        facets: Iterable[Hosted] = (),
        sockets: Mapping[str, socket.socket] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        config.require_built()
        self.config = config
        self._sockets = sockets or {}
        self.bus = EventBus()
        self.addresses: dict[str, str] = {}
        self.state = State.STARTING
        self._reactor = reactor
        self._build = build_version()
        self._lifecycle = make_lifecycle(self._entered)
        self._ports: dict[str, IListeningPort] = {}
        self._hurried = False
        self._waiting: Deferred[None] | None = None
        self._stopping: Deferred[None] | None = None

        hosted = serve_hosted(facets, BUILT_FACETS)
        enabled = {name: facet for name, facet in config.facets.items() if facet.enabled}
        self._facet_names = (*enabled, *hosted)
        self.metrics = self._make_metrics()
        self._heartbeat = Heartbeat(reactor, self.metrics.reactor_lag)
        self._heartbeat.setServiceParent(self)  # type: ignore[no-untyped-call]
        self._owners = self._make_owners()
        served = {
            name: Served(
                FacetSettings(limit=facet.limit, timeout=facet.timeout), self._make_facet(name).operations()
            )
            for name, facet in enabled.items()
        } | hosted
        table = OperationTable(operation for each in served.values() for operation in each.operations)
        self._dispatcher = Dispatcher(table, clock=reactor, metrics=self.metrics, **make_bounds(served))
        self.metrics.add_routes([*(operation.name for operation in table), *ADMIN_ROUTES])
        self.probes = self._make_probes()
        shared: dict[str, Any] = {"metrics": self.metrics, "timeouts": config.timeouts, "clock": reactor}
        self._admin = make_admin_site(
            probes=self.probes, idle_s=config.http.idle, access=_admin_access, **shared
        )
        self._http = make_app_site(
            dispatcher=self._dispatcher,
            idle_s=config.http.idle,
            decompress_ratio=config.limits.decompress_ratio,
            access=_access,
            **shared,
        )
        self._oap = OAPFactory(dispatcher=self._dispatcher, limits=config.limits, access=_access, **shared)

    # Building

    def _make_metrics(self) -> Metrics:
        build = self._build
        return Metrics(
            facets=self._facet_names,
            owners=BUILT_OWNERS,
            states=[state.value for state in State],
            build={
                "version": build["version"],
                "git_sha": build["git_sha"],
                "python": build["python"],
                "twisted": build["build"]["twisted"],
            },
        )

    def _make_owners(self) -> dict[str, OwnerClient]:
        config = self.config
        owners = {}
        for name in BUILT_OWNERS:
            owner = config.owners[name]
            owners[name] = make_owner_client(name, owner, config.timeouts, self._reactor, self.metrics)
            health = OwnerHealth(owners[name], self._reactor)
            health.setServiceParent(self)  # type: ignore[no-untyped-call]
        return owners

    def _make_facet(self, name: str) -> IFacet:
        index, storage = self._owners["index"], self._owners["storage"]
        if name == "search":
            return SearchFacet(IndexClient(index))
        if name == "graph":
            return GraphFacet(IndexClient(index))
        return MediaFacet(
            StorageClient(storage),
            max_object=self.config.limits.max_object,
            mismatches=self.metrics.integrity_failures("put"),
        )

    def _make_probes(self) -> Probes:
        checks: list[IReadinessCheck] = [
            Check("config", lambda: "ok"),
            Check("listeners", lambda: "ok" if self._ports else "closed"),
            *(IReadinessCheck(child) for child in self if IReadinessCheck.providedBy(child)),
        ]
        return Probes(
            state=lambda: self.state.value,
            checks=checks,
            version=lambda: self._build | {"runtime": runtime_version(self.config, self._facet_names)},
            event_loop=lambda: self._heartbeat.on_time,
        )

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
        listeners: tuple[tuple[str, str, IProtocolFactory], ...] = (
            ("admin", config.admin.listen, self._admin),
            ("oap", config.oap.listen, self._oap),
            ("http", config.http.listen, self._http),
        )
        try:
            for name, text, factory in listeners:
                if text != "off":
                    address = ListenAddress.parse_listener(text)
                    self._ports[name] = bind(self._reactor, f"{name}.listen", address, factory, self._sockets)
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
        drain = self.config.drain
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
        await DeferredList([owner.close() for owner in self._owners.values()])
        await self._close("admin")
        self._admin.abort_all()
        self._lifecycle.stopped()

    async def _let_calls_end(self) -> None:
        """Wait for calls that were cancelled; one that ignores it does not keep the node from stopping."""
        try:
            await self._dispatcher.when_idle().addTimeout(_CANCEL_S, self._reactor)
        except TimeoutError:
            _log.warn("stop_unfinished", calls=self._dispatcher.active)

    @property
    def calls(self) -> int:
        """How many calls are in flight."""
        return self._dispatcher.active

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
        self.bus.publish(StateChanged(state=state.value, previous=previous.value))
        if state is State.STOPPED:
            self.bus.close()
        self.metrics.enter(state.value)
        self.metrics.ready_state.set(1 if self.probes.ready else 0)
        _log.info("state", state=state.value)


def _access(fields: Mapping[str, object]) -> None:
    """Write one line of the access log; a host program sees it in the namespace ``micronode.access``."""
    _access_log.info("access", **fields)


def _admin_access(fields: Mapping[str, object]) -> None:
    """The same for the admin plane, at debug: a probe a second is no news."""
    _access_log.debug("access", **fields)


def make_node(
    config: Config,
    reactor: Any,
    *,
    facets: Iterable[Hosted] = (),
    sockets: Mapping[str, socket.socket] | None = None,
) -> NodeService:
    """Build a node; nothing is bound and nothing runs before it is started.

    :param reactor: provides IReactorTCP, IReactorUNIX and IReactorTime. The caller runs it.
    :param facets: facets of the host's own, served beside the built-in ones: IFacet objects, each alone
        or with its :class:`~micronode.facets.hosted.FacetSettings`.
    :raises ConfigError: *config* asks for what this release has not.
    :raises ValueError: a facet of *facets* has a name that is taken, or an operation that is.
    """
    return NodeService(config, reactor, facets, sockets)
