"""An owner's response body that the node reads itself, whole and small."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred

from micronode.adapters.lease import Lease, outcome_of
from micronode.adapters.relay import BodyReader
from micronode.errors import NodeError


class Collector(BodyReader):
    """Reads a small body into memory."""

    def __init__(
        self,
        lease: Lease,
        max_bytes: int,
        within_s: float | None = None,
        check: Callable[[bytes], object] | None = None,
    ) -> None:
        super().__init__(lease, within_s)
        self._max_bytes = max_bytes
        self._check = check
        self._pieces: list[bytes] = []
        self.done: Deferred[bytes] = Deferred(lambda _: self.stop())

    def piece(self, data: bytes) -> None:
        if self._total > self._max_bytes:
            self.fail(self._lease.bad_answer("answered more than was asked for"))
        else:
            self._pieces.append(data)

    def whole(self) -> None:
        data = b"".join(self._pieces)
        if self._check is not None:
            try:
                self._check(data)
            except NodeError as error:
                # The connection is as good as any: what came over it was whole.
                self._lease.end(outcome_of(error))
                self.broken(error)
                return
        self._lease.end(self._lease.outcome)
        self.done.callback(data)

    def broken(self, error: NodeError) -> None:
        self.done.errback(error)
