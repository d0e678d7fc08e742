"""An owner's response body on its way to a caller: paced by the caller, bounded, and checked.

*Why the first 64 KiB wait.* Nothing is sent before the body is whole or longer than that, so what goes
wrong with a small answer is always a clean error and never an aborted one; and it leaves in one write
with its length known. Of a longer body each piece is passed on as it comes. Where the body has a digest
to match, the piece before it is passed on instead: the caller never holds the whole of a wrong object.
(Holding back only the last bytes of a known length would do no better and needs a second rule for
bodies of unknown length.) Held at any time: 64 KiB and one read. Of a body that is to be JSON that much is
looked at, and no more: one that is longer is passed on as it comes.

Where nothing is to be held, since a service may speak a line an hour, the head is sent when it is there and
each piece as it comes.

The caller's pauses reach the owner's transport; while paused no deadline runs here, since the sink has
its own for a caller that does not read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Final

import attrs
from blake3 import blake3
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.web.client import ResponseDone
from twisted.web.http import PotentialDataLoss
from zope.interface import implementer

from micronode.adapters.jsoncheck import is_json_object
from micronode.adapters.lease import Lease
from micronode.adapters.response import OwnerResponse
from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IResponseSink

#: Body bytes held before the head is sent.
HOLD_BYTES: Final = 65_536
_log = Logger()


def defect(owner: str) -> NodeError:
    """Log the exception that is being handled, and return what the caller gets to hear of it."""
    _log.failure("relay_failed", owner=owner)
    return NodeError(ErrorCode.INTERNAL, "the node failed while passing an answer on")


class BodyReader(Protocol, ABC):
    """Reads the body of one response; what it makes of the bytes is its subclasses' business.

    It keeps the deadline between pieces and the bound of the whole, and tells how the body ended:
    :meth:`piece`, then one of :meth:`whole` and :meth:`broken`.
    """

    def __init__(self, lease: Lease, within_s: float | None = None) -> None:
        self._lease = lease
        #: For the whole body; None: there is only the deadline between pieces.
        self._within_s = within_s
        self._total = 0
        self._over = False
        self._paused = False

    def read_from(self, response: OwnerResponse) -> None:
        """Begin. A body that is there is over at once, so nothing is timed then."""
        if not response.ended:
            self._lease.watch(self._lease.idle_s if self._within_s is None else self._within_s, self._stalled)
        response.deliverBody(self)

    @abstractmethod
    def piece(self, data: bytes) -> None:
        """Take body bytes."""

    @abstractmethod
    def whole(self) -> None:
        """The body was read to its end, and the slot is free."""

    @abstractmethod
    def broken(self, error: NodeError) -> None:
        """There will be no more; the connection is aborted and the slot free."""

    def stop(self) -> None:
        """Read no more and abort; nothing is told."""
        if not self._over:
            self._over = True
            self._lease.abort()

    def fail(self, error: NodeError) -> None:
        """Read no more, abort, and tell :meth:`broken`."""
        if not self._over:
            self._over = True
            self.broken(self._lease.fail(error))

    def dataReceived(self, data: bytes) -> None:
        if self._over:
            return
        self._total += len(data)
        if not self._paused and self._within_s is None:
            self._lease.touch(self._lease.idle_s)
        if self._lease.max_body is not None and self._total > self._lease.max_body:
            self.fail(self._lease.bad_answer("answered more than it may"))
            return
        try:
            self.piece(data)
        except Exception:
            self.fail(defect(self._lease.owner))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._over:
            return
        exchange = self._lease.exchange
        if exchange is not None and exchange.has_surplus:
            # Whatever the reason: of its length and its body one is wrong.
            self.fail(self._lease.bad_answer("sent more than its answer"))
        elif reason.check(ResponseDone) or (
            reason.check(PotentialDataLoss) and exchange is not None and exchange.ended_well
        ):
            self._over = True
            self._lease.rest()
            try:
                self.whole()
            except Exception:
                self.broken(self._lease.fail(defect(self._lease.owner)))
        else:
            self.fail(self._lease.bad_answer("closed before its answer was whole"))

    def _stalled(self) -> None:
        self.fail(self._lease.stalled())


@attrs.frozen
class Check:
    """What a body must be: its BLAKE3 *digest*, and the counter of those that are not."""

    digest: bytes
    #: A prometheus counter.
    mismatches: Any


@implementer(IPushProducer)
class Relay(BodyReader):
    """Passes a body on to an :class:`~micronode.interfaces.IResponseSink`.

    :param hold: whether the first 64 KiB wait, as they always do where there is a *check*.
    :param is_json: a body that is held whole must be a JSON object.
    :ivar done: fires (None) when the sink has finished; fails with NodeError when the owner failed, and
        then the sink is the caller's to fail. Cancelling it aborts the owner's connection.
    """

    def __init__(
        self,
        lease: Lease,
        head: ResponseHead,
        sink: IResponseSink,
        check: Check | None,
        *,
        hold: bool = True,
        is_json: bool = False,
    ) -> None:
        super().__init__(lease)
        self._head = head
        self._sink = sink
        self._check = check
        self._hold_bytes = HOLD_BYTES if hold or check is not None else -1
        self._is_json = is_json
        self._hasher = blake3() if check is not None else None
        self._held: list[bytes] = []
        self._streaming = False
        self._finishing: Deferred[None] | None = None
        self.done: Deferred[None] = Deferred(self._cancelled)

    # The body

    def read_from(self, response: OwnerResponse) -> None:
        if response.ended:
            # It is whole already: nobody waits, and its length is known.
            self._hold_bytes = HOLD_BYTES
        super().read_from(response)
        if self._hold_bytes < 0 and not self._streaming and not self._over:
            self._begin()

    def piece(self, data: bytes) -> None:
        length = self._head.length
        if self._hasher is not None:
            self._hasher.update(data)
        self._held.append(data)
        if not self._streaming:
            most = self._hold_bytes
            if self._total <= most and (length is None or length <= most):
                return
            self._begin()
        self._pass_on(keep=0 if self._hasher is None else 1)

    def _begin(self) -> None:
        self._streaming = True
        self._sink.start(self._head)
        self._sink.registerProducer(self, True)

    def whole(self) -> None:
        error = self._verdict()
        if error is not None:
            self._lease.end("bad_gateway")
            self.broken(error)
            return
        self._lease.end(self._lease.outcome)
        if self._streaming:
            self._pass_on(keep=0)
            self._let_go()
            self._finishing = self._sink.finish()
        else:
            head, body = self._head, b"".join(self._held)
            if head.length != self._total:
                head = attrs.evolve(head, length=self._total)
            self._held.clear()
            self._finishing = self._sink.answer(head, body)
        self._finishing.addCallback(self._finished)

    def broken(self, error: NodeError) -> None:
        self._held.clear()
        self._let_go()
        self.done.errback(error)

    def _verdict(self) -> NodeError | None:
        if self._is_json and not self._streaming and not is_json_object(b"".join(self._held)):
            return self._lease.bad_answer("answered with what is no JSON object")
        if self._check is None or self._hasher is None or self._hasher.digest() == self._check.digest:
            return None
        self._check.mismatches.inc()
        return NodeError(
            ErrorCode.INTEGRITY_FAILED,
            f"owner {self._lease.owner} answered bytes that do not match their address",
            source=self._lease.owner,
        )

    def _pass_on(self, *, keep: int) -> None:
        """Write what is held but for the last *keep* pieces."""
        count = len(self._held) - keep
        if count <= 0:
            return
        ready, self._held = self._held[:count], self._held[count:]
        self._sink.write(ready[0] if count == 1 else b"".join(ready))

    def _let_go(self) -> None:
        """The sink has nobody to pause any more; told once, since a sink may fail at it."""
        if self._streaming:
            self._streaming = False
            self._sink.unregisterProducer()

    def _finished(self, _: None) -> None:
        if not self.done.called:
            self.done.callback(None)

    def _cancelled(self, _: Deferred[None]) -> None:
        if self._over:
            return
        self.stop()
        self._held.clear()
        self._let_go()

    # IPushProducer, towards the sink

    def pauseProducing(self) -> None:
        """The caller reads no more for now."""
        if not self._over and not self._paused:
            self._paused = True
            self._lease.rest()
            self.transport.pauseProducing()  # type: ignore[union-attr]

    def resumeProducing(self) -> None:
        """The caller reads again."""
        if not self._over and self._paused:
            self._paused = False
            self._lease.watch(self._lease.idle_s, self._stalled)
            self.transport.resumeProducing()  # type: ignore[union-attr]

    def stopProducing(self) -> None:
        """The caller has gone: abort the owner's connection. There is nobody to fail to."""
        if not self._over:
            self.stop()
            self._held.clear()
            if not self.done.called:
                self.done.callback(None)
