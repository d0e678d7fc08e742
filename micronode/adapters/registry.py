"""The owners a node has: their clients by name, and the health checks of those that are configured.

A client is made once for each name and kept for good, since calls, and facets of calls, may hold it longer
than the configuration names it. So an owner that comes back while calls of before are under way has one count
of them, not two. Names come from configuration alone: the kinds of owners, and custom facets.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import attrs
from twisted.application.service import MultiService
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.build import make_owner_client, owner_settings
from micronode.adapters.endpoints import keep_one
from micronode.adapters.health import READY_PATH, OwnerHealth
from micronode.adapters.owner import OwnerClient
from micronode.adapters.settings import OwnerSettings
from micronode.bus import EventBus, HealthChanged
from micronode.config.schema import Owner, Timeouts
from micronode.observability.metrics import Metrics
from micronode.observability.repeating import Crashed, untold
from micronode.security.identity import Identity

_log = Logger()
_NONE: Mapping[str, Identity] = {}


@attrs.frozen
class Prepared:
    """Clients and settings for them by name, not yet in force. It holds no connection."""

    clients: Mapping[str, OwnerClient]
    settings: Mapping[str, OwnerSettings]
    #: Where each is asked how it is; those that are not in it are not asked.
    health: Mapping[str, bytes]


def _serves(client: OwnerClient) -> bool:
    return client.serves


class Owners(MultiService):
    """See the module's docstring. Its services are the health checks.

    :ivar clients: of the owners there are, by name.
    """

    def __init__(
        self, reactor: Any, metrics: Metrics, bus: EventBus | None = None, crashed: Crashed = untold
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.clients: Mapping[str, OwnerClient] = {}
        self._reactor = reactor
        self._metrics = metrics
        self._bus = bus or EventBus()
        self._crashed = crashed
        #: Every client there ever was.
        self._known: dict[str, OwnerClient] = {}
        self._health: dict[str, OwnerHealth] = {}
        self._asked: Mapping[str, bytes] = {}
        #: Closings of agents that are under way.
        self._closing: set[Deferred[Any]] = set()

    @property
    def health(self) -> Mapping[str, OwnerHealth]:
        """The health checks by name."""
        return dict(self._health)

    def prepare(
        self,
        owners: Mapping[str, Owner],
        timeouts: Timeouts,
        identities: Mapping[str, Identity] = _NONE,
        *,
        health: Mapping[str, str] | None = None,
    ) -> Prepared:
        """Build what *owners* need; nothing changes, and nothing is connected, before :meth:`commit`.

        :param owners: those there are to be, by name, each with a URL at least.
        :param identities: with which those are reached that have a URL ``https://``, by name.
        :param health: paths at which they are asked how they are, by name, where it is not ``/readyz``;
            those with an empty one are not asked.
        :raises Exception: one cannot be built.
        """
        clients: dict[str, OwnerClient] = {}
        settings: dict[str, OwnerSettings] = {}
        for name, owner in owners.items():
            client, identity = self._known.get(name), identities.get(name)
            if client is None:
                client = make_owner_client(name, owner, timeouts, self._reactor, self._metrics, identity)
                settings[name] = client.settings
            else:
                known = client.settings.endpoints
                settings[name] = owner_settings(
                    owner, timeouts, self._reactor, known=known, name=name, identity=identity
                )
            clients[name] = client
        paths = {name: (health or {}).get(name, READY_PATH).encode("ascii") for name in owners}
        return Prepared(clients, settings, {name: path for name, path in paths.items() if path})

    def commit(self, prepared: Prepared) -> Callable[[], None]:
        """Let *prepared* be in force for every call from now on; calls under way keep what they hold.

        :return: to be called once all else is in force: starts and stops health checks, and closes the
            connections that are of no use any more: idle ones now, others after their call.
        """
        left = [client for name, client in self.clients.items() if name not in prepared.clients]
        before = [client.settings for client in self.clients.values()]
        for name, client in prepared.clients.items():
            client.settings = settings = prepared.settings[name]
            keep_one(settings.endpoints)
            self._known[name] = client
        self.clients = prepared.clients
        self._asked = prepared.health
        used = {id(agent) for settings in prepared.settings.values() for agent in settings.agents}
        gone = [agent for settings in before for agent in settings.agents if id(agent) not in used]

        def follow() -> None:
            for client in left:
                client.use(False)
            for name, settings in prepared.settings.items():
                prepared.clients[name].use(True)
                for agent in settings.agents:
                    agent.keep(settings.concurrency)
            for agent in gone:
                self._close(agent)
            self._watch()

        return follow

    def close(self) -> Deferred[None]:
        """Close idle connections. :return: fires (None) when they are closed, a second later at most."""
        closing = [client.close() for client in self.clients.values()]
        return DeferredList([*closing, *self._closing], consumeErrors=True).addCallback(lambda _: None)

    def _watch(self) -> None:
        """Watch the owners there are, and no others."""
        for name in [name for name in self._health if name not in self._asked]:
            health = self._health.pop(name)
            previous = health.state()
            health.disownServiceParent()  # type: ignore[no-untyped-call]
            self._bus.publish(HealthChanged(name=name, state="disabled", previous=previous))
        for name, client in self.clients.items():
            path = self._asked.get(name)
            client.watch(path is not None)
            if path is None:
                continue
            if name in self._health:
                self._health[name].path = path
            else:
                health = OwnerHealth(
                    client,
                    self._reactor,
                    self._bus,
                    self._crashed,
                    path=path,
                    serves=partial(_serves, client),
                )
                self._health[name] = health
                health.setServiceParent(self)  # type: ignore[no-untyped-call]

    def _close(self, agent: OwnerAgent) -> None:
        closing = agent.close()
        self._closing.add(closing)

        def closed(result: object) -> None:
            self._closing.discard(closing)

        closing.addBoth(closed)
