"""Requests that go wrong on purpose: the owner answers as ever, and a fault is what becomes of its answer.

Of what 500 and 503 befall the owner does not hear; all other faults befall the answer to what was done.
"""

from __future__ import annotations

from typing import Any, Final

from twisted.internet.interfaces import IAddress, IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure

from micronode.devowners.channel import OwnerChannel, OwnerFactory
from micronode.devowners.exchange import Exchange, Owner
from micronode.devowners.faultanswer import DEEDS, FaultyAnswer
from micronode.devowners.faultspec import Fault, Faults
from micronode.devowners.log import JSONLog
from micronode.devowners.request import OwnerRequest
from micronode.errors import ErrorCode, NodeError

_HEALTH: Final = (b"/healthz", b"/readyz")


class FaultyRequest(OwnerRequest):
    """A request that may have got a fault, from the moment its head is there."""

    channel: FaultyChannel
    _fault: Fault | None = None
    _answer: FaultyAnswer | None = None

    def gotLength(self, length: int | None) -> None:
        """Draw the fault, then see :class:`OwnerRequest`."""
        factory = self.channel.factory
        if factory.befalls_health or self.path not in _HEALTH:
            self._fault = factory.faults.draw()
        OwnerRequest.gotLength(self, length)

    def find_exchange(self) -> Exchange:
        """See :class:`OwnerRequest`.

        :raises NodeError: also ``internal`` or ``not_ready``, where that is the fault.
        """
        fault = self._fault
        if fault is not None and fault.kind == "500":
            raise NodeError(ErrorCode.INTERNAL, "a fault, as asked for")
        if fault is not None and fault.kind == "503":
            raise NodeError(ErrorCode.NOT_READY, "a fault, as asked for", retry_after_s=fault.amount)
        return OwnerRequest.find_exchange(self)

    @property
    def has_begun(self) -> bool:
        """See :class:`OwnerRequest`: also when nothing has left yet."""
        return self._answer is not None or bool(self.startedWriting)

    def send(self, data: bytes) -> None:
        """Send by way of the fault."""
        if self._is_spoilt():
            self._begun().inlet.put(data)
        else:
            OwnerRequest.send(self, data)

    def feed_from(self, producer: IPushProducer) -> None:
        """Let the fault pause *producer*."""
        if self._is_spoilt():
            self._begun().inlet.source = producer
        else:
            OwnerRequest.feed_from(self, producer)

    def end_feed(self) -> None:
        """Part with the producer."""
        if self._answer is not None:
            self._answer.inlet.source = None
        else:
            OwnerRequest.end_feed(self)

    def end(self) -> None:
        """The owner has said everything; the answer ends when the fault lets it."""
        if self._is_spoilt():
            if not self.is_over:
                self.is_over = True
                self._stop_lingering()
                self._begun().inlet.end()
        else:
            OwnerRequest.end(self)

    def connectionLost(self, reason: Failure) -> None:
        """See :class:`OwnerRequest`."""
        if self._answer is not None:
            self._answer.abandon()
        OwnerRequest.connectionLost(self, reason)

    def _is_spoilt(self) -> bool:
        return self._fault is not None and self._fault.kind in DEEDS

    def _begun(self) -> FaultyAnswer:
        if self._answer is None:
            assert self._fault is not None
            self._answer = FaultyAnswer(self, self._fault)
            self._answer.begin()
        return self._answer


class FaultyChannel(OwnerChannel):
    """A connection to an owner that has faults."""

    requestFactory = FaultyRequest
    factory: FaultyFactory


class FaultyFactory(OwnerFactory):
    """Makes the connections of an owner that has faults.

    :param befalls_health: whether ``/healthz`` and ``/readyz`` get their share, too.
    """

    protocol = FaultyChannel

    def __init__(
        self, owner: Owner, log: JSONLog, reactor: IReactorTime, faults: Faults, *, befalls_health: bool
    ) -> None:
        super().__init__(owner, log, reactor)
        self.faults = faults
        self.befalls_health = befalls_health

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Take a connection, or refuse it."""
        return _Refusal() if self.faults.refuses() else super().buildProtocol(addr)


class _Refusal(Protocol):
    """Ends a connection that the kernel has taken already."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.abortConnection()
