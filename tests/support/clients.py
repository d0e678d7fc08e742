"""An OwnerClient on a network in memory."""

from __future__ import annotations

from random import Random
from typing import Any

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.endpoints import Endpoint
from micronode.adapters.owner import OwnerClient
from micronode.adapters.settings import OwnerSettings
from micronode.config.url import OwnerUrl
from micronode.observability.metrics import Metrics
from tests.support.measures import make_metrics
from tests.support.network import MemoryNetwork

URL = "http://10.0.0.9:5321"


def make_client(
    network: MemoryNetwork, *urls: str, name: str = "index", metrics: Metrics | None = None, **changes: Any
) -> OwnerClient:
    """Return a client with small numbers: 5 s to the head, 60 s between pieces, 5 s of stall, 2 calls."""
    fields: dict[str, Any] = {"concurrency": 2, "timeout_s": 5.0, "idle_s": 60.0, "stall_s": 5.0}
    max_body = changes.pop("max_body", None)
    fields.update(changes)
    endpoints = tuple(
        Endpoint(
            OwnerAgent(network.reactor, OwnerUrl.parse(url), connections=fields["concurrency"]),
            network.reactor.seconds,
        )
        for url in urls or (URL,)
    )
    return OwnerClient(
        name,
        OwnerSettings(endpoints=endpoints, **fields),
        reactor=network.reactor,
        max_body=max_body,
        metrics=metrics or make_metrics(),
        random=Random(1),
    )
