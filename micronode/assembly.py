"""What a node is made of: builds every part from a configuration, and again for a reload.

The only place that knows concrete classes; the life of a node is :mod:`micronode.node`'s. Each part has one
immutable snapshot of what a configuration says of it (the dispatcher's table and bounds, a site's routes and
deadlines, an owner's agents). A reload prepares new snapshots beside those in force, and puts all of them in
force in one turn of the reactor. ``docs/architecture.rst``, "Reload".
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.logger import Logger, LogLevel

from micronode.adapters.owner import OwnerClient
from micronode.adapters.policy import make_policy
from micronode.adapters.registry import Owners
from micronode.builtin import Shared, make_facet
from micronode.bus import EventBus, ServiceCrashed
from micronode.calls.dispatcher import Dispatcher
from micronode.calls.serving import Serving
from micronode.calls.table import OperationTable
from micronode.concurrency.connections import ADMIN_BOUNDS, Bounds
from micronode.concurrency.memory import Buffers
from micronode.concurrency.shedlog import ShedLog
from micronode.config.schema import Config
from micronode.config.used import used_owners
from micronode.custom import own_facets, upstreams
from micronode.facets.hosted import FacetSettings, Served
from micronode.facets.polls import Polls
from micronode.facets.subscription import Deliveries
from micronode.http.about import about_routes
from micronode.http.admin import make_admin_site
from micronode.http.control import Control
from micronode.http.limits import Deadlines
from micronode.http.site import HttpSite, app_settings
from micronode.interfaces import IReadinessCheck
from micronode.lifecycle import State
from micronode.oap.factory import OAPFactory
from micronode.observability.heartbeat import Heartbeat
from micronode.observability.logging import log_fields
from micronode.observability.metrics import Metrics
from micronode.observability.probes import Check, Probes
from micronode.observability.version import build_version, runtime_version
from micronode.prepared import Prepared, PreparedParts
from micronode.security.identity import Identity, read_identities, rewritten
from micronode.security.policy import Policy, check_of
from micronode.sickness import make_overload

_log = Logger()
_access_log = Logger(namespace="micronode.access")


class Assembly(MultiService):
    """The parts of one node. Its services are those that run beside the calls.

    :param hosted: the host's own facets by name.
    :param state: where in its life the node is.
    :param listening: whether its listeners are bound.
    :param control: how the node is looked at and steered from its admin plane.
    :ivar config: the configuration in force.
    :ivar facets: the names of the facets that are served.
    :ivar policy: what judges calls, or None.
    :ivar deliveries: what all subscriptions share.
    """

    def __init__(
        self,
        config: Config,
        reactor: Any,
        hosted: Mapping[str, Served],
        *,
        state: Callable[[], State],
        listening: Callable[[], bool],
        control: Control,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.config = config
        self._identities: Mapping[str, Identity] = {}
        self.facets: tuple[str, ...] = ()
        self.policy: Policy | None = None
        self._build = build_version()
        self._hosted = hosted
        self._reactor = reactor
        self._listening = listening
        self.metrics = self._make_metrics()
        self.bus = EventBus(lagged=self.metrics.bus_lagged.inc)
        self.heartbeat = Heartbeat(reactor, self.metrics.reactor_lag, self._crashed)
        self.heartbeat.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.owners = Owners(reactor, self.metrics, self.bus, self._crashed)
        self.owners.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.shed = ShedLog(reactor)
        self.shed.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.dispatcher = Dispatcher(
            OperationTable(()), gates={}, timeouts={}, clock=reactor, metrics=self.metrics, shed=self.shed
        )
        self.deliveries = Deliveries(
            reactor, Polls(reactor, gate=lambda: self.dispatcher.serving.bounds["feed"].gate)
        )
        self.probes = Probes(
            state=lambda: state().value,
            checks=(),
            version=lambda: self._build | {"runtime": runtime_version(self.config, self.facets)},
            event_loop=lambda: self.heartbeat.on_time,
            fit=lambda: self.overload.fit,
            shedding=lambda: bool(self.overload.level),
        )
        self.overload = make_overload(
            reactor,
            dispatcher=self.dispatcher,
            metrics=self.metrics,
            bus=self.bus,
            ready=lambda: self.probes.ready,
        )
        self.overload.setServiceParent(self)  # type: ignore[no-untyped-call]
        first = self._prepare(config, read_identities(config, self._identities))
        shared: dict[str, Any] = {"metrics": self.metrics, "clock": reactor}
        self.buffers = Buffers(
            config.limits.buffers,
            reactor,
            rejected=lambda reason: self.metrics.rejected(reason).inc(),
            chance=random.random,
        )
        self.buffers.setServiceParent(self)  # type: ignore[no-untyped-call]
        self.http = HttpSite(
            routes=first.http.routes,
            deadlines=first.http.deadlines,
            access=_access,
            buffers=self.buffers,
            shed=self.shed,
            **shared,
        )
        self.admin = make_admin_site(
            probes=self.probes,
            control=control,
            timeouts=config.timeouts,
            idle_s=config.http.idle,
            access=_admin_access,
            listener="admin",
            bounds=ADMIN_BOUNDS,
            **shared,
        )
        self.oap = OAPFactory(
            dispatcher=self.dispatcher,
            limits=config.limits,
            timeouts=config.timeouts,
            access=_access,
            buffers=self.buffers,
            shed=self.shed,
            **shared,
        )
        self._commit(first)

    # Another configuration

    def prepare(self, config: Config) -> Prepared:
        """Build all that *config* needs beside what runs; see :class:`micronode.config.reloader.Target`.

        Nothing that is built is connected, bound or started, so there is nothing to be let go of again.

        :raises ConfigError: a file is of no use.
        :raises Exception: a part cannot be built.
        """
        identities = read_identities(config, self._identities)
        if config == self.config and identities == self._identities:
            return Prepared(config=config, parts=None)
        parts = self._prepare(config, identities)
        return Prepared(config=config, parts=parts, rewritten=tuple(rewritten(self._identities, identities)))

    def commit(self, prepared: Prepared) -> None:
        """Put *prepared* in force: for every call and connection from now on; those there are keep theirs."""
        self.config = prepared.config
        if prepared.parts is not None:
            self._commit(prepared.parts)

    def _prepare(self, config: Config, identities: Mapping[str, Identity]) -> PreparedParts:
        own = own_facets(config, self._hosted)
        owners = self.owners.prepare(
            used_owners(config) | upstreams(own),
            config.timeouts,
            identities,
            health={name: facet.health for name, facet in own.items()},
        )
        enabled = {name: facet for name, facet in config.facets.items() if facet.enabled}
        shared = Shared(deliveries=self.deliveries, metrics=self.metrics, clock=self._reactor)
        served = {
            name: Served(
                FacetSettings(
                    limit=facet.limit,
                    queue=facet.queue,
                    timeout=facet.timeout,
                    subscriptions=facet.subscriptions,
                ),
                make_facet(name, config, owners.clients, shared).operations(),
            )
            for name, facet in enabled.items()
        } | dict(self._hosted)
        policy = make_policy(config.owners["policy"], owners.clients, self._reactor, self.policy)
        serving = Serving.of(
            served,
            self.dispatcher.serving,
            policy,
            max_calls=config.limits.max_calls,
            rps=config.limits.rps,
        )
        return PreparedParts(
            owners=owners,
            identities=identities,
            policy=policy,
            serving=serving,
            http=app_settings(
                self.dispatcher,
                serving.table,
                timeouts=config.timeouts,
                idle_s=config.http.idle,
                about=about_routes(served, config.limits),
                decompress_ratio=config.limits.decompress_ratio,
                min_rate=config.limits.min_rate,
            ),
            facets=tuple(served),
        )

    def _commit(self, parts: PreparedParts) -> None:
        config = self.config
        self._identities = parts.identities
        follow_owners = self.owners.commit(parts.owners)
        self.policy = parts.policy
        self.dispatcher.serve(parts.serving)
        self.deliveries.polls.bound(min(config.facets["feed"].limit, config.owners["mailbox"].concurrency))
        self.http.settings = parts.http
        self.http.held.bound(Bounds.of(config.limits))
        self.admin.settings = attrs.evolve(
            self.admin.settings, deadlines=Deadlines.of(config.timeouts, config.http.idle)
        )
        self.oap.bound(config.limits, config.timeouts)
        self.overload.watch(config.overload)
        self.buffers.bound(config.limits.buffers)
        self.facets = parts.facets
        # All is in force. What comes now follows from it, and nothing of it may keep the rest from it.
        for follow in (self._show, follow_owners, self._watch, self.dispatcher.end_withdrawn):
            try:
                follow()
            except Exception:
                _log.failure("reload_unfinished")

    def _show(self) -> None:
        """Show in the metrics what is there now; nothing is taken back, it has been counted."""
        self.metrics.add_facets(self.facets)
        self.metrics.add_owners(self.owners.clients)
        self.metrics.add_routes(operation.name for operation in self.dispatcher.table)

    def _watch(self) -> None:
        self.probes.watch(
            [
                Check("config", lambda: "ok"),
                Check("listeners", lambda: "ok" if self._listening() else "closed"),
                *(check_of(IReadinessCheck(each), self.policy) for each in self.owners.health.values()),
                # Nobody asks these; still their calls may tell.
                *(
                    Check(name, partial(_told_by_calls, client))
                    for name, client in self.owners.clients.items()
                    if name not in self.owners.health
                ),
            ]
        )

    def _make_metrics(self) -> Metrics:
        build = self._build
        return Metrics(
            facets=(),
            owners=(),
            states=[state.value for state in State],
            build={
                "version": build["version"],
                "git_sha": build["git_sha"],
                "python": build["python"],
                "twisted": build["build"]["twisted"],
            },
        )

    def _crashed(self, name: str, reason: str) -> None:
        """A service of ours failed and goes on."""
        self.metrics.service_restarts.inc()
        self.bus.publish(ServiceCrashed(name=name, reason=reason))


def _told_by_calls(client: OwnerClient) -> str:
    """Return how an owner is that nobody asks."""
    return "ok" if client.serves else "degraded"


def _access(fields: Mapping[str, object]) -> None:
    """Write one line of the access log; a host program sees it in the namespace ``micronode.access``."""
    log_fields(_access_log, LogLevel.info, "access", fields)


def _admin_access(fields: Mapping[str, object]) -> None:
    """The same for the admin plane, at debug: a probe a second is no news."""
    log_fields(_access_log, LogLevel.debug, "access", fields)
