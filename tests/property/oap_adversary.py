"""A caller of any malice and owners that stall, as a state machine, and what may be held for them.

Slow callers, half-open ones, ones that never read, that cancel, that mix uploads with windows and without,
that heed their windows or do not. The bounds are those of ``specs/oap-1.md`` section 4, measured on the
objects after every step.
"""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from twisted.internet.task import Clock

from micronode.concurrency.memory import Buffers
from micronode.oap.wire.frames import ACK_REQ, EVENT, Control, encode_frame
from micronode.oap.wire.limits import (
    CONNECTION_WINDOW_BYTES,
    HEADER_BYTES,
    MAX_CAP_BYTES,
    MAX_CHUNK_BYTES,
    MAX_HEAD_BYTES,
    STREAM_WINDOW_BYTES,
)
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import credit_frame
from tests.support.held import held_by
from tests.support.oap import (
    CallerEnd,
    Dispatched,
    StubNode,
    body,
    cancel,
    hello,
    put,
    start,
)
from tests.support.slow import PIECE_BYTES, EndlessAnswer, SlowTransport, StallingOwner

MAX_INFLIGHT = 24
#: A Twisted transport asks for a pause when this much is unsent.
FULL_BYTES = 65_536
#: What one read brings at most.
READ_BYTES = 65_536
MOST_FRAME = HEADER_BYTES + max(MAX_CHUNK_BYTES, MAX_CAP_BYTES + MAX_HEAD_BYTES)
#: What was said and not read, the transport's own buffer included.
MOST_OUTPUT = 262_144
MOST_STREAMS = CONNECTION_WINDOW_BYTES + MAX_INFLIGHT * PIECE_BYTES
#: Heads and error objects that are not sent yet.
SLACK = 4_096
#: Mostly.
SOON = st.sampled_from((True, True, True, True, False))

#: How near to its bound each measure came.
MOST_SEEN: dict[str, int] = {}


class Connection(RuleBasedStateMachine):
    """One connection after the other to one node."""

    @initialize()
    def begin(self) -> None:
        self.owners: list[StallingOwner] = []
        self.sources: list[EndlessAnswer] = []
        clock = Clock()
        self.account = Buffers(None, clock)
        self.node = StubNode(
            self.serve, account=self.account, clock=clock, max_inflight=MAX_INFLIGHT, max_object=1 << 30
        )
        self.connect()

    def serve(self, dispatched: Dispatched) -> None:
        """Take bodies slowly, answer by what was asked."""
        text = dispatched.call.args.get("q", "")
        if dispatched.call.body is not None:
            self.owners.append(StallingOwner(dispatched))
            dispatched.call.body.pauseProducing()
        elif text == "endless":
            self.sources.append(EndlessAnswer(dispatched))
        elif text == "small":
            dispatched.answer(bytes(PIECE_BYTES))

    def connect(self) -> None:
        """Begin a connection."""
        protocol = self.node.factory.buildProtocol(None)
        assert protocol is not None
        self.transport = SlowTransport(self.node.clock)
        self.end = CallerEnd(protocol, self.transport, self.node.clock)
        self.transport.full_at = FULL_BYTES
        #: What the caller has said and the node has not read.
        self.said = bytearray(hello())
        self.last = 0
        #: corr_id -> whether it has windows, bytes sent.
        self.uploads: dict[int, tuple[bool, int]] = {}
        self.credits: dict[int, int] = {}
        self.deliver(READ_BYTES, 1)

    @property
    def reads(self) -> bool:
        """Whether the node reads."""
        return self.transport.producerState == "producing" and not (
            self.transport.closing or self.transport.lost
        )

    # The caller

    def say(self, data: bytes, *, now: bool = True) -> None:
        """Say something; it arrives *now*, if the node reads, or later."""
        self.said += data
        if now:
            self.deliver(READ_BYTES, 1_000)

    def deliver(self, size: int, times: int) -> None:
        """Let the node read, as long as it does, in pieces of *size* bytes."""
        for _ in range(times):
            if not (self.reads and self.said):
                break
            data = bytes(self.said[:size])
            del self.said[:size]
            self.end.protocol.dataReceived(data)

    @rule(size=st.sampled_from((1, 39, 1_000, 40_000)), times=st.integers(1, 40))
    def trickle(self, size: int, times: int) -> None:
        """What was said before arrives in pieces, and maybe not to its end."""
        self.deliver(size, times)

    @rule(
        windowed=st.booleans(),
        streams=st.integers(1, 12),
        size=st.sampled_from((1, 4_096, MAX_CHUNK_BYTES - 1, MAX_CHUNK_BYTES)),
        chunks=st.integers(0, 3),
        now=SOON,
    )
    def open_uploads(self, windowed: bool, streams: int, size: int, chunks: int, now: bool) -> None:
        for _ in range(streams):
            self.last += 1
            self.uploads[self.last] = windowed, 0
            self.say(put(self.last, flags=ACK_REQ if windowed else 0), now=now)
            self.send_body(self.last, size, chunks, heeds=True, now=now)

    def send_body(self, corr_id: int, size: int, chunks: int, *, heeds: bool, now: bool) -> None:
        """Send to an upload; its window is heeded or not, as if there never was any CREDIT."""
        windowed, sent = self.uploads[corr_id]
        for _ in range(chunks):
            if len(self.said) > 4 << 20 or (windowed and heeds and sent + size > STREAM_WINDOW_BYTES):
                break
            sent += size
            self.say(body(corr_id, bytes(size)), now=now)
        self.uploads[corr_id] = windowed, sent

    @precondition(lambda self: self.uploads)
    @rule(
        data=st.data(),
        size=st.sampled_from((0, 1, 4_096, MAX_CHUNK_BYTES - 1, MAX_CHUNK_BYTES)),
        chunks=st.integers(1, 4),
        heeds=SOON,
        now=SOON,
    )
    def send_bodies(self, data: Any, size: int, chunks: int, heeds: bool, now: bool) -> None:
        """Send to one upload, or to all in turn."""
        chosen = data.draw(st.sampled_from((None, *self.uploads)))
        for corr_id in list(self.uploads) if chosen is None else [chosen]:
            self.send_body(corr_id, size, chunks, heeds=heeds, now=now)

    @rule(
        text=st.sampled_from(("small", "endless", "endless", "never")),
        windowed=st.booleans(),
        times=st.integers(1, 30),
        now=SOON,
    )
    def ask(self, text: str, windowed: bool, times: int, now: bool) -> None:
        for _ in range(times):
            self.last += 1
            self.say(start(self.last, args={"q": text}, flags=ACK_REQ if windowed else 0), now=now)

    @rule(times=st.integers(1, 400))
    def ask_in_vain(self, times: int) -> None:
        """Errors do not wait for their turn."""
        self.say(b"".join(start(self.last + number, op="fly") for number in range(1, times + 1)))
        self.last += times

    @precondition(lambda self: self.last)
    @rule(data=st.data(), times=st.integers(1, 5))
    def cancel_some(self, data: Any, times: int) -> None:
        for _ in range(times):
            corr_id = data.draw(st.integers(max(1, self.last - 30), self.last))
            self.say(cancel(corr_id, Profile.MEDIA if corr_id in self.uploads else Profile.SEARCH))
            self.uploads.pop(corr_id, None)

    @precondition(lambda self: self.last)
    @rule(data=st.data(), size=st.integers(0, 200_000))
    def credit(self, data: Any, size: int) -> None:
        corr_id = data.draw(st.integers(max(1, self.last - 10), self.last))
        self.credits[corr_id] = self.credits.get(corr_id, 0) + size
        self.say(credit_frame(corr_id, self.credits[corr_id]))

    @rule(size=st.integers(0, 64))
    def ping(self, size: int) -> None:
        self.say(encode_frame(EVENT, Control.PING, 0, 0, bytes(size)))

    @rule(most=st.sampled_from((0, 1, 1_000, 70_000, 1 << 20)))
    def read(self, most: int) -> None:
        if not self.transport.lost:
            self.transport.take(most)

    @rule(how=st.sampled_from(("stay", "stay", "stay", "stay", "half", "reset")))
    def leave(self, how: str) -> None:
        """Leave, or not; after a half-close the answers may still be read."""
        if self.transport.lost or how == "stay":
            return
        if how == "half":
            if self.reads:
                self.end.half_close()
                self.said.clear()
            return
        self.transport.lose()
        assert held_by(self.end.protocol).total <= SLACK
        assert self.account.held == 0

    @precondition(lambda self: self.transport.lost or self.transport.closing)
    @rule()
    def come_back(self) -> None:
        self.transport.lose()
        assert held_by(self.end.protocol).total <= SLACK
        assert self.account.held == 0
        self.connect()

    # The owners, and time

    @precondition(lambda self: self.owners)
    @rule(data=st.data(), paused=st.booleans())
    def owner_takes_or_not(self, data: Any, paused: bool) -> None:
        producer: Any = data.draw(st.sampled_from(self.owners)).producer
        if paused:
            producer.pauseProducing()
        else:
            producer.resumeProducing()

    @rule(pieces=st.integers(1, 20))
    def sources_pour(self, pieces: int) -> None:
        for source in self.sources:
            source.pour(pieces)

    @rule(limit=st.sampled_from((None, None, None, 1, 100_000)))
    def squeeze(self, limit: int | None) -> None:
        """Let the node hold no more than so much for its callers, or any number again."""
        self.account.bound(limit)

    @rule(seconds=st.sampled_from((0.0, 0.0, 0.0, 0.2, 0.2, 1.1, 6.0, 31.0)))
    def pass_time(self, seconds: float) -> None:
        self.node.clock.advance(seconds)

    # The bounds

    @invariant()
    def bounds_hold(self) -> None:
        if not hasattr(self, "end"):
            return
        protocol: Any = self.end.protocol
        held = held_by(protocol)
        with_window = without = 0
        for stream in protocol._session.streams.values():
            upload = stream.upload
            if upload is None:
                continue
            if upload.windowed:
                assert upload.held <= STREAM_WINDOW_BYTES
                with_window += upload.held
            else:
                # The chunk that fills it is the last.
                assert upload.held < STREAM_WINDOW_BYTES + MAX_CHUNK_BYTES
                without += upload.held
        assert with_window <= CONNECTION_WINDOW_BYTES
        assert without < CONNECTION_WINDOW_BYTES + MAX_CHUNK_BYTES
        assert held.uploads <= with_window + without + SLACK
        # Beside one read there is one frame: half of it, or the one that filled what it was for.
        assert held.frame <= MOST_FRAME
        assert held.input + held.frame <= READ_BYTES + MOST_FRAME + SLACK
        assert held.streams <= MOST_STREAMS
        unread = len(self.transport.value()) if not self.transport.lost else 0
        assert held.output + unread <= MOST_OUTPUT
        self.reached(held, with_window, without, unread)

    def reached(self, held: Any, with_window: int, without: int, unread: int) -> None:
        """Remember how near to its bounds it came."""
        for name, value in (
            ("with windows", with_window),
            ("without", without),
            ("frame", held.frame),
            ("input", held.input),
            ("streams", held.streams),
            ("output", held.output + unread),
        ):
            MOST_SEEN[name] = max(MOST_SEEN.get(name, 0), value)
