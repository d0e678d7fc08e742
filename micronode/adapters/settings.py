"""What may change about an owner while it is called: one immutable snapshot, replaced whole by a reload."""

from __future__ import annotations

import attrs

from micronode.adapters.agent import OwnerAgent
from micronode.adapters.endpoints import Endpoint


@attrs.frozen(kw_only=True)
class OwnerSettings:
    """See the module's docstring. A call keeps those that it began with."""

    #: One for each URL.
    endpoints: tuple[Endpoint, ...]
    #: Calls at a time. Where more are under way already, it is refused until there are fewer.
    concurrency: int
    #: For one attempt, up to the response head.
    timeout_s: float
    #: Between two pieces of a response body.
    idle_s: float
    #: How long the owner may take nothing of a request body.
    stall_s: float
    #: How many calls beyond *concurrency* may wait for their turn, and how long. None does unless both are
    #: set: who waits holds a permit of its facet, and nobody knows how long what it waits for takes.
    queue: int = 0
    wait_s: float = 0.0

    @property
    def agents(self) -> tuple[OwnerAgent, ...]:
        """What connects to the endpoints."""
        return tuple(endpoint.agent for endpoint in self.endpoints)
