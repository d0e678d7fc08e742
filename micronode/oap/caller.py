"""The caller's end of a connection on a transport: many calls at once, backpressure both ways."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode import __version__
from micronode.oap.answer import OAPError, OAPResponse
from micronode.oap.compression import make_inflate
from micronode.oap.exchange import Exchange
from micronode.oap.wire.caller import (
    CallerConnection,
    CallerEvent,
    CallFailed,
    ChunkReceived,
    GoawayReceived,
    HeadReceived,
    HelloAnswered,
    NodeFailed,
    NodePinged,
)
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import ConnectionFailed
from micronode.oap.wire.states import ConnectionState

#: How long close() waits for what is unsent, in seconds.
_CLOSE_S: Final = 1.0
_LOST: Final = "the connection was lost before the answer was whole"
#: How any answer of an HTTP server begins. As OAP/1 it would announce a frame of more than 1 GB.
_HTTP: Final = b"HTTP"


@implementer(IPushProducer)
class CallerProtocol(Protocol):
    """A connection to a node.

    :ivar ready: fires with the members of the node's answer to HELLO; fails with :class:`OAPError`.
    :ivar closed: fires (None) when the connection is gone; never fails.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.ready: Deferred[dict[str, Any]] = Deferred(lambda _: self._abort())
        self._clock = clock
        self._wire = CallerConnection(inflate=make_inflate())
        self._exchanges: dict[int, Exchange] = {}
        self._events: Iterator[CallerEvent] = iter(())
        self._input: deque[bytes] = deque()
        #: The first bytes that came, as many as tell HTTP.
        self._opening = b""
        self._holders: set[OAPResponse] = set()
        self._pumping = False
        self._reading_paused = False
        self._writing_paused = False
        self._losing = False
        self._lost = False
        self._retry_after_ms: int | None = None
        self._reason: OAPError | None = None
        self._waiters: list[Deferred[None]] = []

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        """Say HELLO."""
        self._transport.registerProducer(self, True)
        self._transport.write(self._wire.hello(f"micronode/{__version__}"))

    # Calling

    def call(
        self, profile: int, head: Mapping[str, Any], cap: bytes, body: IBodyProducer | None
    ) -> Deferred[OAPResponse]:
        """Open a stream; see :meth:`micronode.oap.client.OAPClient.call`."""
        if self._wire.state is not ConnectionState.OPEN:
            return fail(self._refusal())
        corr_id, start = self._wire.open(profile, head, ended=body is None, cap=cap)
        exchange = self._exchanges[corr_id] = Exchange(self, corr_id, body)
        self._transport.write(start)
        exchange.send_body()
        if self._writing_paused and exchange.body is not None:
            exchange.body.pauseProducing()
        return exchange.answered

    def _refusal(self) -> OAPError:
        if self._wire.state is ConnectionState.LEAVING:
            return OAPError.from_code(
                ErrorCode.DRAINING, "the node is going away", retry_after_ms=self._retry_after_ms
            )
        return self._reason or OAPError.from_code(ErrorCode.BAD_GATEWAY, "the connection is closed")

    def send_body(self, corr_id: int, data: bytes) -> None:
        """Send body bytes of an open call."""
        if self._wire.is_asking(corr_id):
            self._transport.write(self._wire.body(corr_id, data))

    def send_end(self, corr_id: int) -> None:
        """End the request of an open call."""
        if self._wire.is_asking(corr_id):
            self._transport.write(self._wire.end(corr_id))

    def cancel(self, exchange: Exchange) -> None:
        """Tell the node that a call is given up, and forget it."""
        corr_id = exchange.corr_id
        if self._exchanges.pop(corr_id, None) is not None and self._wire.is_open(corr_id):
            self._transport.write(self._wire.cancel(corr_id))

    def close(self) -> Deferred[None]:
        """Close the connection; open calls are cancelled, and fail here.

        A close alone would not tell the node: it looks like the half-close of a caller that still waits
        for its answers.

        :return: a Deferred that fires (None) when it is closed.
        """
        if self._lost:
            return succeed(None)
        closed: Deferred[None] = Deferred()
        self._waiters.append(closed)
        if len(self._waiters) == 1:
            for exchange in list(self._exchanges.values()):
                self.cancel(exchange)
                exchange.ended(OAPError.from_code(ErrorCode.CANCELLED, "the connection was closed here"))
            self._lose()
            late = self._clock.callLater(_CLOSE_S, self._transport.abortConnection)
            closed.addCallback(lambda _: late.cancel() if late.active() else None)
        return closed

    def _lose(self) -> None:
        if not self._losing:
            self._losing = True
            # A transport does not close while it has a producer that it paused.
            self._transport.unregisterProducer()
            self._transport.loseConnection()

    def _abort(self) -> None:
        if self.transport is not None and not self._lost:
            self._transport.abortConnection()

    # Input

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the node."""
        if len(self._opening) < len(_HTTP):
            self._opening += data[: len(_HTTP) - len(self._opening)]
        self._input.append(data)
        self._pump()

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self._holders:
                event = next(self._events, None)
                if event is not None:
                    self._handle(event)
                elif self._input:
                    self._events = self._wire.receive(self._input.popleft())
                else:
                    break
        finally:
            self._pumping = False

    def _handle(self, event: CallerEvent) -> None:
        match event:
            case ChunkReceived():
                exchange = self._exchange(event.corr_id, event.ended)
                if exchange is not None and exchange.response is not None:
                    exchange.response.receive(event.data)
                    if event.ended:
                        exchange.ended(None)
            case HeadReceived():
                exchange = self._exchange(event.corr_id, event.ended)
                if exchange is not None:
                    exchange.began(event.head)
                    if event.ended:
                        exchange.ended(None)
            case CallFailed():
                exchange = self._exchange(event.corr_id, True)
                if exchange is not None:
                    exchange.ended(OAPError.from_object(event.code, event.error))
            case HelloAnswered():
                if not self.ready.called:
                    self.ready.callback(event.reply)
            case NodePinged():
                self._transport.write(self._wire.pong(event))
            case GoawayReceived():
                self._retry_after_ms = event.retry_after_ms
            case NodeFailed():
                self._fail(OAPError.from_object(event.code, event.error))
            case ConnectionFailed():
                self._fail(OAPError.from_code(ErrorCode.BAD_GATEWAY, self._blame(event)))

    def _blame(self, event: ConnectionFailed) -> str:
        if self._opening == _HTTP:
            return (
                "the answer is HTTP, so this looks like an HTTP port; use that of oap.listen (default 5312)"
            )
        return f"the node broke OAP/1: {event.message}"

    def _exchange(self, corr_id: int, ended: bool) -> Exchange | None:
        return self._exchanges.pop(corr_id, None) if ended else self._exchanges.get(corr_id)

    def _fail(self, error: OAPError) -> None:
        self._reason = error
        self._lose()

    # Backpressure

    def hold(self, response: OAPResponse) -> None:
        """Read nothing until *response* lets go."""
        if self._lost:
            return
        self._holders.add(response)
        if not self._reading_paused:
            self._reading_paused = True
            self._transport.pauseProducing()

    def let_go(self, response: OAPResponse) -> None:
        """Read again, if no other response holds on."""
        if response not in self._holders:
            return
        self._holders.discard(response)
        self._pump()
        if self._reading_paused and not (self._holders or self._lost):
            self._reading_paused = False
            self._transport.resumeProducing()

    def give_up(self, response: OAPResponse) -> None:
        """Cancel the call of *response*."""
        for exchange in self._exchanges.values():
            if exchange.response is response:
                exchange.cancel()
                return

    def pauseProducing(self) -> None:
        """Pause the bodies: the transport is full."""
        if not self._writing_paused:
            self._writing_paused = True
            for exchange in list(self._exchanges.values()):
                if exchange.body is not None:
                    exchange.body.pauseProducing()

    def resumeProducing(self) -> None:
        """Let the bodies go on."""
        self._writing_paused = False
        for exchange in list(self._exchanges.values()):
            if exchange.body is not None and not self._writing_paused:
                exchange.body.resumeProducing()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what is open."""
        self._lost = True
        # What was read already counts; what a paused consumer did not take yet stays with its response.
        self._holders.clear()
        self._pump()
        self._wire.close()
        error = self._reason = self._reason or OAPError.from_code(ErrorCode.BAD_GATEWAY, _LOST)
        exchanges, self._exchanges = self._exchanges, {}
        for exchange in exchanges.values():
            exchange.ended(error)
        if not self.ready.called:
            self.ready.errback(error)
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.callback(None)
