"""The caller's end of a connection on a transport: many calls at once, backpressure both ways."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.interfaces import IPushProducer, IReactorTime
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.iweb import IBodyProducer
from zope.interface import implementer

from micronode import __version__
from micronode.concurrency.nodelay import send_at_once
from micronode.oap.client.backoff import of_calls
from micronode.oap.client.errors import OAPError
from micronode.oap.client.exchange import Exchange
from micronode.oap.client.exchanges import Exchanges
from micronode.oap.client.inbox import Inbox
from micronode.oap.client.liveness import Liveness
from micronode.oap.client.opening import Opening
from micronode.oap.client.outcome import Outcome
from micronode.oap.client.response import OAPResponse
from micronode.oap.compression import make_inflate
from micronode.oap.rate import Rate
from micronode.oap.wire.caller import CallerConnection
from micronode.oap.wire.caller_events import (
    CallerEvent,
    CallFailed,
    ChunkReceived,
    CreditGranted,
    GoawayReceived,
    HeadReceived,
    HelloAnswered,
    MessageReceived,
    NodeFailed,
    NodePinged,
)
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.events import ConnectionFailed
from micronode.oap.wire.states import ConnectionState

#: How long a close waits for what is unsent, in seconds: a node need not read.
_CLOSE_S: Final = 1.0
_LOST: Final = "the connection was lost before the answer was whole"


@implementer(IPushProducer)
class CallerProtocol(Protocol):
    """A connection to a node.

    :ivar ready: fires with the members of the node's answer to HELLO; fails with :class:`OAPError`.
    :ivar lost: settled (None) when the connection is gone.
    :ivar full: whether the transport has more than it can send at once.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.ready: Deferred[dict[str, Any]] = Deferred(lambda _: self._abort())
        self.clock = clock
        self._wire = CallerConnection(inflate=make_inflate(), windows=True)
        self._exchanges = Exchanges()
        self._events: Iterator[CallerEvent] = iter(())
        self._input: deque[bytes] = deque()
        self._opening = Opening()
        # A node that asks without end and does not read would fill our memory with echoes.
        self._pings = Rate(clock, 10, 1.0)
        self._liveness = Liveness(clock, ask=self._ping, lost=self._vanished)
        self._holders: set[Exchange] = set()
        self._pumping = self.full = False
        #: We close, because we were asked to or for a reason of our own; and: the transport is gone.
        self._closing = self._losing = self._gone = False
        self._goaway = GoawayReceived(None)
        self._reason: OAPError | None = None
        self.lost: Outcome[None] = Outcome()

    @property
    def usable(self) -> bool:
        """Whether calls may be opened."""
        return self._wire.state is ConnectionState.OPEN and not self._losing

    @property
    def heard(self) -> str:
        """What has come before the node's HELLO, in words."""
        return str(self._opening)

    @property
    def windowed(self) -> bool:
        """Whether each stream has windows."""
        return self._wire.windowed

    @property
    def _transport(self) -> Any:
        return self.transport

    def connectionMade(self) -> None:
        """Say HELLO."""
        send_at_once(self._transport)
        self._transport.registerProducer(self, True)
        self._transport.write(self._wire.hello(f"micronode/{__version__}"))

    # Calling

    def call(
        self, profile: int, head: Mapping[str, Any], cap: bytes, body: IBodyProducer | None
    ) -> Deferred[OAPResponse]:
        """Open a stream; see :meth:`micronode.oap.client.OAPClient.call`."""
        try:
            exchange = self.open(profile, head, cap, asking=body is not None)
        except OAPError as error:
            return fail(error)
        exchange.send(body)
        return exchange.answered

    def open(
        self,
        profile: int,
        head: Mapping[str, Any],
        cap: bytes,
        *,
        asking: bool,
        inbox: Inbox | None = None,
    ) -> Exchange:
        """Open a stream.

        :param asking: whether the request has a body, to be sent by way of the exchange's.
        :param inbox: takes the messages of the answer, if it is to be a subscription.
        :raises OAPError: the connection takes no calls, or has no windows, which a subscription needs.
        :raises ValueError: the head or the capability is too large.
        """
        if not self.usable:
            raise self.refusal()
        if inbox is not None and not self.windowed:
            raise OAPError.from_code(ErrorCode.UNKNOWN_OP, "the node has no windows, so no subscriptions")
        corr_id, start = self._wire.open(profile, head, ended=not asking, cap=cap)
        exchange = Exchange(self, corr_id, asking=asking, inbox=inbox)
        self._exchanges.add(exchange)
        self._transport.write(start)
        self._liveness.asked()
        return exchange

    def refusal(self) -> OAPError:
        """Return why no call can be opened here."""
        if self._wire.state is ConnectionState.LEAVING:
            return self._draining()
        return self._reason or OAPError.from_code(ErrorCode.BAD_GATEWAY, "the connection is closed")

    def _draining(self) -> OAPError:
        wait = self._goaway.retry_after_ms
        return OAPError.from_code(ErrorCode.DRAINING, "the node is going away", retry_after_ms=wait)

    def room(self, corr_id: int) -> int | None:
        """Return how many body bytes the windows of an open call have room for; None: it has none."""
        return self._wire.room(corr_id)

    def send_body(self, corr_id: int, data: bytes) -> None:
        """Send body bytes of an open call."""
        if self._wire.is_asking(corr_id):
            self._transport.write(self._wire.body(corr_id, data))

    def send_end(self, corr_id: int) -> None:
        """End the request of an open call."""
        if self._wire.is_asking(corr_id):
            self._transport.write(self._wire.end(corr_id))

    def starve(self, corr_id: int) -> None:
        """Let the body of a call go on when there is room; others that wait come first."""
        self._exchanges.starve(corr_id)

    def cancel(self, exchange: Exchange) -> None:
        """Tell the node that a call is given up, and forget it."""
        corr_id = exchange.corr_id
        self.let_go(exchange)
        if self._exchanges.discard(corr_id) and self._wire.is_open(corr_id):
            self._transport.write(self._wire.cancel(corr_id))

    def close(self) -> Deferred[None]:
        """Close the connection; open calls are cancelled, and fail here.

        A close alone would not tell the node: it looks like the half-close of a caller that still waits
        for its answers.

        :return: a Deferred that fires (None) when it is closed.
        """
        if not (self._closing or self._gone):
            self._closing = True
            self._exchanges.give_up(OAPError.from_code(ErrorCode.CANCELLED, "the connection was closed here"))
            self._lose()
        return self.lost.when()

    def _lose(self) -> None:
        if not self._losing:
            self._losing = True
            self._liveness.close()
            # A transport does not close while it has a producer that it paused.
            self._transport.unregisterProducer()
            late = self.clock.callLater(_CLOSE_S, self._abort)
            self.lost.when().addCallback(lambda _: late.cancel() if late.active() else None)
            self._transport.loseConnection()

    def _abort(self) -> None:
        if self.transport is not None and not self._gone:
            self._transport.abortConnection()

    # Input

    def dataReceived(self, data: bytes) -> None:
        """Take bytes from the node."""
        self._opening.note(data)
        self._input.append(data)
        self._pump()

    def _pump(self) -> None:
        if self._pumping:
            return
        self._pumping = True
        try:
            while not self._holders:
                for event in self._events:
                    self._handle(event)
                    if self._holders:
                        break
                else:
                    if not self._input:
                        break
                    self._events = self._wire.receive(self._input.popleft())
        finally:
            self._pumping = False
        self._send_credits()
        if not self._holders:
            self._liveness.heard(owed=self._wire.open_streams > 0)
        if self._wire.state is ConnectionState.LEAVING and not self._wire.open_streams:
            self._lose()

    def _send_credits(self) -> None:
        credits = self._wire.credits()
        if credits and not self._gone:
            self._transport.write(credits)

    def taken(self, corr_id: int, size: int) -> None:
        """Note that *size* bytes of an answer are held here no more."""
        self._wire.taken(corr_id, size)
        if not self._pumping:
            self._send_credits()

    def _handle(self, event: CallerEvent) -> None:
        match event:
            case ChunkReceived() | MessageReceived() | HeadReceived() | CallFailed() | CreditGranted():
                self._exchanges.handle(event)
            case HelloAnswered():
                self._liveness.greeted(event.reply)
                if not self.ready.called:
                    self.ready.callback(event.reply)
            case NodePinged():
                if self._pings.allows():
                    self._transport.write(self._wire.pong(event))
            case GoawayReceived():
                self._goaway = event
            case NodeFailed():
                self._fail(OAPError.from_object(event.code, event.error))
            case ConnectionFailed():
                self._fail(OAPError.from_code(ErrorCode.BAD_GATEWAY, self._opening.blame(event.message)))

    def _ping(self) -> None:
        self._transport.write(self._wire.ping())

    def _vanished(self) -> None:
        self._reason = OAPError.from_code(
            ErrorCode.BAD_GATEWAY, "the node has not been heard of for too long"
        )
        self._abort()

    def _fail(self, error: OAPError) -> None:
        self._reason = error
        self._lose()

    # Backpressure

    def hold(self, exchange: Exchange) -> None:
        """Read nothing until *exchange* lets go."""
        if not (self._holders or self._gone):
            self._transport.pauseProducing()
            self._liveness.hold(True)
        self._holders.add(exchange)

    def let_go(self, exchange: Exchange) -> None:
        """Read again, if no other call holds on."""
        if exchange not in self._holders:
            return
        self._holders.discard(exchange)
        self._pump()
        if not (self._holders or self._gone):
            self._liveness.hold(False)
            self._transport.resumeProducing()

    def pauseProducing(self) -> None:
        """Pause the bodies: the transport is full."""
        self.full = True
        self._exchanges.settle()

    def resumeProducing(self) -> None:
        """Let the bodies go on."""
        self.full = False
        self._exchanges.feed()
        self._exchanges.settle()

    def stopProducing(self) -> None:
        """The transport is gone; connectionLost follows."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Fail what is open."""
        self._gone = True
        # What was read already counts; what a paused consumer did not take yet stays with its response.
        self._holders.clear()
        self._pump()
        self._wire.close()
        self._liveness.close()
        error = self._reason = self._reason or OAPError.from_code(ErrorCode.BAD_GATEWAY, _LOST)
        # What the node did not look at before it left is `draining`, as if it had said so itself.
        self._exchanges.end(of_calls(error), last=self._goaway.last_corr_id, unseen=self._draining())
        if not self.ready.called:
            self.ready.errback(error)
        self.lost.settle(None)
