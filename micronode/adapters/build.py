"""Owner clients as configuration describes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.owner import OwnerClient
from micronode.config.schema import Owner, Timeouts
from micronode.config.url import OwnerUrl
from micronode.observability.metrics import Metrics

#: Bytes of an answer, by owner. The largest honest answer of the index (200 neighbours, 50 hits with
#: snippets) stays far below. Storage has no bound: an object is as long as it is, and is never held.
_MAX_BODY: Final[Mapping[str, int]] = {"index": 8 * 1024 * 1024}


def make_owner_client(
    name: str, owner: Owner, timeouts: Timeouts, reactor: Any, metrics: Metrics
) -> OwnerClient:
    """Build the client of the owner *name*."""
    agents = [OwnerAgent(reactor, OwnerUrl.parse(url), connections=owner.concurrency) for url in owner.url]
    return OwnerClient(
        name,
        agents,
        reactor=reactor,
        concurrency=owner.concurrency,
        timeout_s=owner.timeout,
        idle_s=timeouts.idle,
        stall_s=timeouts.stall,
        max_body=_MAX_BODY.get(name),
        metrics=metrics,
    )
