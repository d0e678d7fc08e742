"""The HTTP channel under whatever a caller, an owner and the network may do to it.

Run by pytest. The examples are the same in every run, and few enough for a few seconds in all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import LogLevel, globalLogPublisher

from micronode.calls.call import ResponseHead
from micronode.concurrency.memory import Buffers
from micronode.errors import ErrorCode, NodeError
from micronode.http.limits import MAX_HTTP_BODY_BYTES, MAX_PIPELINED_BYTES
from micronode.http.request import Request
from tests.http.support import Plane, StubDispatcher, Wire, get, post, read_answers, say
from tests.property.http_grammar import wilds

#: What one read of a Twisted transport brings at most, and what it buffers before it says that it is full.
READ_BYTES = BUFFER_BYTES = 65_536
#: More than any one answer here needs.
ANSWER_BYTES = 1_000
TARGETS = (
    b"/app/search?q=x",
    b"/app/search?q=%ff",
    b"/app/search?q=%2",
    b"/app/search?q=x&limit=9e9",
    b"/app/search?q=x&cap=y",
    b"/app/search?q=" + b"&" * 200,
    b"/app/search/",
    b"//app/search?q=x",
    b"/app/media",
    b"/app/media/x",
    b"/app/media/%2e%2e",
    b"/app/media/%00",
    b"/app/media/" + b"a/" * 2000,
    b"/app/feed/x",
    b"/app/feed/%2F/ack",
    b"http://node:5310/app/feed/x",
    b"/<key>",
    b"/|",
)

CHUNKED = get("/app/media", "Content-Type: a/b", "Transfer-Encoding: chunked", method="POST")
PROPER = (
    get(),
    get("/app/search?q=x", "Connection: close"),
    get("/app/graph/resolve/a%2Fb"),
    get("/app/media/x", method="HEAD"),
    b"GET /app/media/x HTTP/1.0\r\n\r\n",
    post("/app/feed/x/ack", b""),
    post("/app/feed/x", b"0123456789"),
    post("/app/media", b"x" * 70_000, "Content-Type: a/b", "Expect: 100-continue"),
    CHUNKED + b"3;a=b\r\nabc\r\n0\r\nA: b\r\n\r\n",
)

soup = st.one_of(
    wilds(TARGETS),
    st.lists(st.sampled_from(PROPER), min_size=1, max_size=4).map(b"".join),
    st.lists(st.sampled_from(PROPER), min_size=1, max_size=4).map(lambda some: b"".join(some)[:-3]),
    st.binary(max_size=200),
    st.text(alphabet="GET /POST:HTTP1.0\r\n \t\0;,%x0aé", max_size=200).map(str.encode),
    st.sampled_from((get() * 2000, get(method="PUT") * 500, post("/app/feed/x/ack", b"") * 300)),
    st.integers(10_000, 70_000).map(b"x".__mul__),
    st.sampled_from(
        (CHUNKED, CHUNKED + b"1;" + b"a" * 900, CHUNKED + b"FFFFF\r\n", CHUNKED + b"1\r\nx\r\n" * 9_000)
    ),
)
steps = st.one_of(
    st.tuples(st.just("receive"), soup),
    st.tuples(st.just("answer"), st.sampled_from(("whole", "chunks", "part", "fail", "empty"))),
    st.tuples(st.just("wait"), st.sampled_from((0.1, 1.0, 5.0, 10.0, 30.0, 75.0))),
    st.tuples(st.just("squeeze"), st.sampled_from((None, None, 1, 1_000))),
    st.tuples(st.sampled_from(("fill", "empty", "fill", "empty", "half_close", "drain")), st.none()),
)


@contextmanager
def silence() -> Iterator[None]:
    """Assert that nothing is logged that someone should look at."""
    said: list[Any] = []

    def observe(event: Any) -> None:
        if event.get("log_namespace") == Buffers.__module__:
            return  # that memory is tight
        if event.get("log_level", LogLevel.info) >= LogLevel.warn or event.get("isError"):
            said.append(event)

    globalLogPublisher.addObserver(observe)
    try:
        yield
    finally:
        globalLogPublisher.removeObserver(observe)
    assert not said


class SlowWire(Wire):
    """A transport whose caller reads only when it is told to."""

    unsent = 0

    def writeSequence(self, data: Iterable[bytes]) -> None:
        whole = b"".join(data)
        super().write(whole)
        self.unsent += len(whole)
        if self.unsent > BUFFER_BYTES:
            self.fill()

    def fill(self) -> None:
        if self.producer is not None and not self.producer.full:
            super().fill()

    def drain(self) -> None:
        self.unsent = 0
        if self.producer is not None and self.producer.full:
            super().drain()


class Session:
    """One connection, and everybody who does something to it."""

    def __init__(self, *, prompt: bool) -> None:
        """:param prompt: owners answer at once; else when :meth:`answer` is called."""
        self.dispatcher = StubDispatcher(say(b"hello") if prompt else None)
        clock = Clock()
        self.account = Buffers(None, clock)
        self.plane = Plane(self.dispatcher, clock=clock, buffers=self.account)
        self.methods: list[str] = []
        record = self.plane.site.record

        def booked(request: Request, status: int, error: NodeError | None) -> None:
            self.methods.append(request.head.method)
            record(request, status, error)

        self.plane.site.record = booked  # type: ignore[method-assign]
        self.wire = SlowWire()
        self.connection = self.plane.connect(self.wire)
        self.channel = self.connection.channel
        self.kernel = b""
        self.lost = self.mute = False

    def receive(self, data: bytes) -> None:
        """Bring *data*, as far as the node reads."""
        self.kernel += b"" if self.mute else data
        while self.kernel and not self.lost and self.wire.producerState == "producing":
            piece, self.kernel = self.kernel[:READ_BYTES], self.kernel[READ_BYTES:]
            self.channel.dataReceived(piece)
            self.settle()

    def answer(self, how: str) -> bool:
        """Let the call that is open go on; False: there is none."""
        if not self.dispatcher.sinks or self.dispatcher.results[-1].called:
            return False
        sink, result = self.dispatcher.sinks[-1], self.dispatcher.results[-1]
        if how == "fail":
            sink.fail(NodeError(ErrorCode.OWNER_UNAVAILABLE, "the owner has gone", retry_after_s=1.0))
        elif how == "empty":
            sink.start(ResponseHead(status=304 if sink.started else 204))
        elif not sink.started:
            sink.start(ResponseHead(length=6 if how == "whole" else None))
            sink.write(b"abcdef")
        if how != "part":
            sink.finish()
            result.callback(None)
        return True

    def wait(self, seconds: float) -> None:
        """Let time pass."""
        for _ in range(4):
            if not self.lost:
                self.plane.clock.advance(seconds / 4)
                self.settle()

    def fill(self, _: None = None) -> None:
        """Let the transport's buffer be full."""
        if not self.lost:
            self.wire.fill()

    def empty(self, _: None = None) -> None:
        """Let it be empty again."""
        if not self.lost:
            self.wire.drain()

    def half_close(self, _: None = None) -> None:
        """Let the caller shut its writing side down."""
        if not (self.lost or self.mute or self.kernel):
            self.mute = True
            self.channel.readConnectionLost()

    def drain(self, _: None = None) -> None:
        """Let the node be about to stop."""
        self.plane.site.close_idle()

    def squeeze(self, limit: int | None) -> None:
        """Let the node hold no more than *limit* bytes for its callers; None: any number."""
        self.account.bound(limit)
        self.plane.clock.advance(0)

    def settle(self) -> None:
        """Check what must hold at any time; lose the connection when the node dropped it."""
        assert len(self.channel._buffer) <= MAX_PIPELINED_BYTES + READ_BYTES
        assert self.wire.unsent <= BUFFER_BYTES + ANSWER_BYTES
        assert self.channel._body is None or len(self.channel._body.data) <= MAX_HTTP_BODY_BYTES
        if not self.lost and self.wire.disconnected:
            self.lose()

    def lose(self) -> None:
        """End the connection."""
        self.lost = True
        self.connection.lose()

    def check(self) -> None:
        """Check what must hold at the end."""
        assert self.lost
        assert self.account.held == 0
        assert self.plane.clock.getDelayedCalls() == []
        assert self.plane.site.connections == 0
        assert len(self.methods) == len(self.plane.log)
        assert all(result.called for result in self.dispatcher.results)
        said = self.wire.value().replace(b"HTTP/1.1 100 Continue\r\n\r\n", b"")
        heads = [number for number, method in enumerate(self.methods) if method == "HEAD"]
        statuses = [line["status"] for line in self.plane.log]
        if self.wire.disconnected or 499 in statuses:
            return
        answers = read_answers(said, heads=heads)
        assert [answer.status for answer in answers] == statuses
        for answer, method in zip(answers, self.methods, strict=True):
            assert answer.status < 400 or method == "HEAD" or answer.json["code"]


@settings(derandomize=True, database=None, deadline=None, max_examples=200)
@given(st.lists(steps, min_size=1, max_size=10), st.booleans(), st.booleans())
def test_whatever_happens_is_answered_or_silent(
    script: list[tuple[str, Any]], prompt: bool, patient: bool
) -> None:
    with silence():
        session = Session(prompt=prompt)
        for name, argument in script:
            getattr(session, name)(argument)
            session.settle()
        session.squeeze(None)
        session.settle()
        # At the end the caller goes; or it waits until the node has had enough.
        if patient:
            for _ in range(300):
                session.empty()
                while session.answer("whole"):
                    pass
                session.receive(b"")
                session.wait(1.0)
            assert session.lost or session.wire.disconnecting
        if not session.lost:
            session.lose()
        session.check()
