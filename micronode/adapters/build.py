"""Owner clients as configuration describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.endpoints import Endpoint
from micronode.adapters.owner import OwnerClient
from micronode.adapters.settings import OwnerSettings
from micronode.config.schema import Owner, Timeouts
from micronode.config.url import OwnerUrl
from micronode.observability.metrics import Metrics
from micronode.security.identity import Identity

#: Bytes of an answer, by owner. The largest honest answer of the index (200 neighbours, 50 hits with
#: snippets) stays far below; the mailbox is asked for half of it. Storage has no bound: an object is as long
#: as it is, and is never held.
_MAX_BODY: Final[Mapping[str, int]] = {"index": 8 * 1024 * 1024, "mailbox": 4 * 1024 * 1024}
#: Calls beyond its concurrency that may wait for their turn, and the seconds they may, by owner. A decision
#: of the policy owner is quick, and many callers that come at once each need one; they all give up soon.
_WAITING: Final[Mapping[str, tuple[int, float]]] = {"policy": (1024, 0.25)}


def owner_settings(
    owner: Owner,
    timeouts: Timeouts,
    reactor: Any,
    *,
    known: Iterable[Endpoint] = (),
    name: str = "",
    identity: Identity | None = None,
) -> OwnerSettings:
    """Build the settings that *owner* describes; nothing is connected by it.

    :param name: of the owner.
    :param known: endpoints that stay, with their connections and all that is known of them, where their
        URL is one of its, and the identity the same.
    :param identity: with which connections are made over TLS.
    """
    kept = {
        endpoint.agent.url: endpoint
        for endpoint in known
        if not endpoint.agent.closed and (not endpoint.agent.url.tls or endpoint.agent.identity == identity)
    }
    endpoints: dict[OwnerUrl, Endpoint] = {}
    for text in owner.url:
        url = OwnerUrl.parse(text)
        # A URL that is named twice is one endpoint.
        if url not in endpoints:
            endpoints[url] = kept.get(url) or Endpoint(
                OwnerAgent(reactor, url, connections=owner.concurrency, owner=name, identity=identity),
                reactor.seconds,
            )
    queue, wait_s = _WAITING.get(name, (0, 0.0))
    return OwnerSettings(
        endpoints=tuple(endpoints.values()),
        concurrency=owner.concurrency,
        timeout_s=owner.timeout,
        idle_s=timeouts.idle,
        stall_s=timeouts.stall,
        queue=queue,
        wait_s=wait_s,
    )


def make_owner_client(
    name: str,
    owner: Owner,
    timeouts: Timeouts,
    reactor: Any,
    metrics: Metrics,
    identity: Identity | None = None,
) -> OwnerClient:
    """Build the client of the owner *name*."""
    return OwnerClient(
        name,
        owner_settings(owner, timeouts, reactor, name=name, identity=identity),
        reactor=reactor,
        max_body=_MAX_BODY.get(name),
        metrics=metrics,
    )
