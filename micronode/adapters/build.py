"""Owner clients as configuration describes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

import attrs

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.owner import OwnerClient, OwnerSettings
from micronode.config.schema import Owner, Timeouts
from micronode.config.url import OwnerUrl
from micronode.observability.metrics import Metrics

#: Bytes of an answer, by owner. The largest honest answer of the index (200 neighbours, 50 hits with
#: snippets) stays far below. Storage has no bound: an object is as long as it is, and is never held.
_MAX_BODY: Final[Mapping[str, int]] = {"index": 8 * 1024 * 1024}


def owner_settings(
    owner: Owner, timeouts: Timeouts, reactor: Any, *, known: Iterable[OwnerAgent] = ()
) -> OwnerSettings:
    """Build the settings that *owner* describes; nothing is connected by it.

    :param known: agents that are used again, with their connections, where their URL is one of its.
    :raises Exception: TLS does not take a URL's host.
    """
    kept = {agent.url: agent for agent in known if not agent.closed}
    agents = []
    for text in owner.url:
        url = OwnerUrl.parse(text)
        agents.append(kept.get(url) or OwnerAgent(reactor, url, connections=owner.concurrency))
    return OwnerSettings(
        agents=tuple(agents),
        concurrency=owner.concurrency,
        timeout_s=owner.timeout,
        idle_s=timeouts.idle,
        stall_s=timeouts.stall,
    )


def make_owner_client(
    name: str, owner: Owner, timeouts: Timeouts, reactor: Any, metrics: Metrics
) -> OwnerClient:
    """Build the client of the owner *name*."""
    return OwnerClient(
        name,
        **attrs.asdict(owner_settings(owner, timeouts, reactor), recurse=False),
        reactor=reactor,
        max_body=_MAX_BODY.get(name),
        metrics=metrics,
    )
