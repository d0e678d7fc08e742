"""OAP/1 in tests: frames, a transport in memory, a dispatcher that does as it is told, a node of these."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from micronode.calls.call import Call, Reply, ResponseHead
from micronode.calls.operations import Access, Argument, BodyRule, Operation
from micronode.calls.table import OperationTable
from micronode.concurrency.memory import Buffers
from micronode.config.schema import Limits, Timeouts
from micronode.interfaces import IResponseSink
from micronode.oap.factory import OAPFactory
from micronode.oap.protocol import OAPProtocol
from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import ACK_REQ, END, NO_TENANT, REQ, START, Code, encode_frame
from micronode.oap.wire.profiles import Profile
from tests.support.measures import make_metrics


@attrs.frozen
class SeenFrame:
    """A frame as it came over the wire."""

    flags: int
    code: int
    app: int
    tenant: bytes
    corr_id: int
    payload: bytes

    @property
    def json(self) -> Any:
        """The payload, read as JSON."""
        return json.loads(self.payload)

    @property
    def ends(self) -> bool:
        """Whether END is set."""
        return self.flags & END != 0


def read_frames(data: bytes) -> list[SeenFrame]:
    """Return the frames of *data*, which must be whole."""
    decoder = FrameDecoder()
    seen = []
    for flags, code, app, tenant, corr_id, _, payload in decoder.feed(data):
        assert payload is not None, "the node sent a frame over its limit"
        seen.append(SeenFrame(flags, code, app, tenant, corr_id, payload))
    assert not decoder.mid_frame, "the node sent half a frame"
    return seen


# What a caller sends.


def hello(**members: Any) -> bytes:
    """Return a HELLO."""
    return encode_frame(REQ, Code.REQUEST, 0, 0, json.dumps({"ua": None, **members}).encode())


def start(
    corr_id: int,
    app: int = Profile.SEARCH,
    op: str = "query",
    args: dict[str, Any] | None = None,
    *,
    ended: bool = True,
    flags: int = 0,
    tenant: bytes = NO_TENANT,
    cap: bytes = b"",
    **head: Any,
) -> bytes:
    """Return a START; without more a whole request of ``search.query``."""
    if args is None:
        args = {"q": "reactor"} if op == "query" else {}
    payload = json.dumps({"op": op, "args": args, **head}).encode()
    flags |= REQ | START | (END if ended else 0)
    return encode_frame(flags, Code.REQUEST, app, corr_id, payload, tenant=tenant, cap=cap)


def put(corr_id: int, *, ended: bool = False, **head: Any) -> bytes:
    """Return a START of ``media.put``."""
    return start(corr_id, Profile.MEDIA, "put", ended=ended, **head)


def subscribe(corr_id: int, *, ended: bool = True, **head: Any) -> bytes:
    """Return a START of ``feed.subscribe``."""
    head.setdefault("flags", ACK_REQ)
    return start(corr_id, Profile.FEED, "subscribe", {"topic": "jobs"}, ended=ended, **head)


def body(corr_id: int, data: bytes, *, ended: bool = False, app: int = Profile.MEDIA) -> bytes:
    """Return a frame of request body."""
    return encode_frame(REQ | (END if ended else 0), Code.REQUEST, app, corr_id, data)


def cancel(corr_id: int, app: int = Profile.SEARCH) -> bytes:
    """Return a cancel."""
    return encode_frame(REQ | END, Code.CANCEL, app, corr_id)


# The node's parts.


async def _handler(call: Call) -> Reply:
    raise AssertionError("the stub dispatcher runs no handlers")


def _operation(facet: str, op: str, profile: int, **fields: Any) -> Operation:
    fields.setdefault("method", "GET")
    return Operation(
        name=f"{facet}.{op}",
        facet=facet,
        path=f"/app/{facet}/{op}",
        profile=profile,
        op=op,
        access=Access.READ,
        handler=_handler,
        **fields,
    )


TABLE = OperationTable(
    [
        _operation("search", "query", Profile.SEARCH, arguments=(Argument(name="q", required=True),)),
        _operation("media", "head", Profile.MEDIA, method="HEAD"),
        _operation("feed", "subscribe", Profile.FEED, subscribes=True),
        _operation("media", "put", Profile.MEDIA, method="POST", body=BodyRule.STREAMED, max_body=4 << 20),
    ]
)


class Dispatched:
    """A call that the stub dispatcher got.

    :ivar over: the Deferred that the ingress watches.
    :ivar cancelled: whether it was cancelled.
    """

    def __init__(self, call: Call, sink: IResponseSink) -> None:
        self.call = call
        self.sink: Any = sink
        self.cancelled = False
        self.over: Deferred[None] = Deferred(self._cancel)

    def _cancel(self, over: Deferred[None]) -> None:
        self.cancelled = True
        over.callback(None)

    def _over(self, _: None) -> None:
        if not self.over.called:
            self.over.callback(None)

    def answer(self, data: bytes, **head: Any) -> None:
        """Answer with *data*, as a relay does."""
        self.sink.start(ResponseHead(length=len(data), **head))
        self.sink.write(data)
        self.sink.finish().addCallback(self._over)


class StubDispatcher:
    """Keeps the calls it gets; *on_call* may answer them at once."""

    def __init__(self, on_call: Callable[[Dispatched], None] | None = None) -> None:
        self.table = TABLE
        self.calls: list[Dispatched] = []
        self.on_call = on_call

    def dispatch(self, call: Call, sink: IResponseSink) -> Deferred[None]:
        """See the dispatcher."""
        dispatched = Dispatched(call, sink)
        self.calls.append(dispatched)
        if self.on_call is not None:
            self.on_call(dispatched)
        return dispatched.over


class MemoryTransport(StringTransport):
    """A TCP transport in memory, as real ones behave: half-close, one producer, a close takes a turn.

    :ivar half_closed: whether our side shut its writing side down.
    :ivar aborted: whether our side cut the connection.
    :ivar lost: whether the protocol knows that the connection is gone.
    :ivar writes: what each write was.
    :ivar full_at: more unread bytes than these fill it, as a write can; None: it fills on request alone.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__(lenient=True)
        self.half_closed = self.aborted = self.lost = False
        self.writes: list[bytes] = []
        self.full_at: int | None = None
        self.protocol: Any = None
        self._clock = clock

    def write(self, data: bytes) -> None:
        assert not self.half_closed, "a write after the half-close"
        self.writes.append(data)
        super().write(data)
        if self.full_at is not None and self.producer is not None and len(self.value()) > self.full_at:
            self.fill()

    def writeSequence(self, data: Any) -> None:
        self.write(b"".join(data))

    def unregisterProducer(self) -> None:
        self.producer = None

    def loseWriteConnection(self) -> None:
        assert self.producer is None, "a paused producer keeps a transport from closing"
        self.half_closed = True

    def loseConnection(self) -> None:
        if not self.disconnecting:
            assert self.producer is None, "a paused producer keeps a transport from closing"
            self.disconnecting = True
            self._clock.callLater(0, self.lose, ConnectionDone())

    def abortConnection(self) -> None:
        if not self.aborted:
            self.aborted = True
            self._clock.callLater(0, self.lose, ConnectionAborted())

    def lose(self, reason: Exception | None = None) -> None:
        """End the connection, as the peer or the network does."""
        if not self.lost:
            self.lost = True
            self.protocol.connectionLost(Failure(reason or ConnectionDone()))

    def fill(self) -> None:
        """Take no more bytes."""
        assert self.producer is not None
        self.producer.pauseProducing()

    def drain(self) -> None:
        """Take bytes again."""
        assert self.producer is not None
        self.producer.resumeProducing()

    @property
    def closing(self) -> bool:
        """Whether our side closes, in whichever way."""
        return self.half_closed or self.disconnecting or self.aborted


class CallerEnd:
    """A connection to a node under test, seen from the caller."""

    def __init__(self, protocol: OAPProtocol, transport: MemoryTransport, clock: Clock) -> None:
        self.protocol = protocol
        self.transport = transport
        self._clock = clock
        transport.protocol = protocol
        protocol.makeConnection(transport)

    def send(self, *pieces: bytes) -> None:
        """Let bytes arrive, all in one read."""
        self.protocol.dataReceived(b"".join(pieces))

    def greet(self, **members: Any) -> dict[str, Any]:
        """Say HELLO, and return the reply."""
        self.send(hello(**members))
        [reply] = self.heard()
        return reply.json  # type: ignore[no-any-return]

    def heard(self) -> list[SeenFrame]:
        """Return the frames that came since the last time."""
        data: bytes = self.transport.value()
        self.transport.clear()
        return read_frames(data)

    def half_close(self) -> None:
        """Send no more."""
        self.protocol.readConnectionLost()

    def hang_up(self) -> None:
        """Close."""
        self.transport.lose()


class StubNode:
    """The OAP/1 ingress before a stub dispatcher, on a clock."""

    def __init__(
        self,
        on_call: Callable[[Dispatched], None] | None = None,
        *,
        account: Buffers | None = None,
        clock: Clock | None = None,
        **settings: Any,
    ) -> None:
        limits = {name: settings.pop(name) for name in tuple(settings) if hasattr(Limits, name)}
        self.clock = clock or Clock()
        self.metrics = make_metrics()
        self.dispatcher = StubDispatcher(on_call)
        self.access: list[dict[str, object]] = []
        self.factory = OAPFactory(
            dispatcher=self.dispatcher,
            metrics=self.metrics,
            clock=self.clock,
            access=self.access.append,
            limits=Limits(**limits),
            timeouts=Timeouts(**settings),
            buffers=account,
        )

    @property
    def calls(self) -> list[Dispatched]:
        """The calls that were dispatched."""
        return self.dispatcher.calls

    def connect(self, *, greet: bool = True) -> CallerEnd:
        """Return a new connection; HELLO has been said unless *greet* is false."""
        protocol = self.factory.buildProtocol(None)
        assert protocol is not None
        end = CallerEnd(protocol, MemoryTransport(self.clock), self.clock)
        if greet:
            end.greet()
        return end

    def count(self, name: str, **labels: str) -> float:
        """Return the value of one metric."""
        return self.metrics.registry.get_sample_value(name, labels) or 0.0


class SpyConsumer:
    """Takes a body; pauses and resumes its producer on request."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.producer: IPushProducer | None = None

    @property
    def data(self) -> bytes:
        """All that was written."""
        return b"".join(self.pieces)

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        assert self.producer is None
        self.producer = producer

    def unregisterProducer(self) -> None:
        self.producer = None

    def write(self, data: bytes) -> None:
        assert data, "an empty write"
        self.pieces.append(data)
