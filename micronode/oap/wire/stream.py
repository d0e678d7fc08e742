"""What the protocol remembers of one open stream, at the node."""

from __future__ import annotations

from micronode.oap.wire.states import ASKING, StreamState
from micronode.oap.wire.windows import Inflow, Outflow


class Stream:
    """An open stream: owed its terminal frame."""

    __slots__ = ("app", "inflow", "opaque", "outflow", "state", "tenant")

    def __init__(self, app: int, tenant: bytes, state: StreamState, opaque: bool) -> None:
        self.app = app
        self.tenant = tenant
        self.state = state
        #: Its body is never inflated nor compressed.
        self.opaque = opaque
        #: The windows of its request's and its answer's body, where it has them.
        self.inflow: Inflow | None = None
        self.outflow: Outflow | None = None

    @property
    def asking(self) -> bool:
        """Whether more of its request may come."""
        return self.state in ASKING
