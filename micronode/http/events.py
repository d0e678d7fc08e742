"""The answer of a subscribing operation over HTTP: server-sent events, as ``EventSource`` reads them.

A :class:`~micronode.http.sink.ResponseSink` carries it; here is what a stream of events has beside any
answer: messages with ids, comments while there are none, and an end that says why without cutting the
connection. An answer that is no stream (one of another status, or with a length) passes unchanged.

HTTP has no windows, so room is what the transport lets through: :data:`EVENT_ROOM_BYTES` a turn of the
reactor, nothing while its buffer is full. It takes 64 KiB before it says so; at most that and one turn's
messages wait in the node for a caller that does not read. ``docs/architecture.rst``, "Subscriptions".
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable
from typing import Final, cast

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IDelayedCall, IProducer, IPushProducer, IReactorTime
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.concurrency.timer import LazyTimer
from micronode.errors import ErrorCode, NodeError
from micronode.http.eventtext import EVENT_STREAM, HEARTBEAT, LINE_BYTES, event_text, retry_text
from micronode.http.response import error_parts
from micronode.http.sink import ResponseSink
from micronode.interfaces import IEventSink
from micronode.oap.wire.limits import MAX_CHUNK_BYTES

#: Seconds of silence before a comment is sent. Proxies close what is silent for 30 to 60 s.
HEARTBEAT_S: Final = 15.0
#: Bytes of the longest message: that of an OAP/1 chunk, so that both doors take the same ones.
MAX_EVENT_BYTES: Final = MAX_CHUNK_BYTES
#: Bytes of messages that may be written in one turn of the reactor; the longest must fit.
EVENT_ROOM_BYTES: Final = MAX_EVENT_BYTES
_FIELDS: Final = (
    ("cache-control", "no-store"),
    # nginx collects an answer unless it is told not to.
    ("x-accel-buffering", "no"),
)
_OURS: Final = frozenset(name for name, _ in _FIELDS)
_OVER: Final = NodeError(ErrorCode.CANCELLED, "the answer is over")


@implementer(IEventSink, IPushProducer)
class EventSink:
    """What a subscribing operation answers through; the transport pauses it, and it the operation.

    :param sink: what carries it; nobody else uses that one.
    :param clock: times the heartbeats and the turns.
    :param chance: 0 to 1: where between half and one and a half of its time a caller is told to come back.
    """

    max_event = MAX_EVENT_BYTES

    def __init__(
        self, sink: ResponseSink, clock: IReactorTime, *, chance: Callable[[], float] = random.random
    ) -> None:
        self._sink = sink
        self._clock = clock
        self._chance = chance
        self._heart = LazyTimer(clock, self._beat)
        #: Whether the answer is a stream of events; a body otherwise.
        self._streams = False
        #: Whether a message was written.
        self._spoke = False
        #: Whether the transport's buffer is full.
        self._full = False
        #: Bytes of messages of this turn, and what ends it.
        self._written = 0
        self._turn: IDelayedCall | None = None
        self._producer: IPushProducer | None = None
        #: Who waits for room, and for how much.
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        sink.registerProducer(self, True)

    # IEventSink

    @property
    def event_room(self) -> int:
        """See :class:`~micronode.interfaces.IEventSink`."""
        if self._sink.ended or self._full:
            return 0
        return max(0, EVENT_ROOM_BYTES - self._written)

    def write_event(self, data: bytes, event_id: str = "") -> None:
        """See :class:`~micronode.interfaces.IEventSink`; a wrong *event_id* is a ValueError, too."""
        if self._sink.ended:
            return
        if not self._streams:
            raise RuntimeError("write_event() before start(), or in an answer that is no stream of events")
        size = _fitting(len(data))
        if size > self.event_room:
            raise ValueError(f"a message of {size} bytes, where there is room for {self.event_room}")
        text = event_text(data, event_id=event_id)
        self._spoke = True
        # What its line ends make it longer counts: that may be the most of it.
        self._written += size + LINE_BYTES * (data.count(b"\n") + data.count(b"\r"))
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._next_turn)
        self._send(text)

    def when_room(self, size: int) -> Deferred[None]:
        """See :class:`~micronode.interfaces.IEventSink`."""
        size = _fitting(size)
        if self._sink.ended:
            return fail(self._sink.error or _OVER)
        if size <= self.event_room and not self._waiting:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append((size, waiter))
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        self._waiting = deque(each for each in self._waiting if each[1] is not waiter)
        # It may have been in the way of others.
        self._serve()

    def _next_turn(self) -> None:
        self._turn = None
        self._written = 0
        self._serve()

    def _serve(self) -> None:
        """Let those write who wait for room, as far as there is."""
        while self._waiting and self._waiting[0][0] <= self.event_room:
            self._waiting.popleft()[1].callback(None)

    # IResponseSink

    @property
    def started(self) -> bool:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        return self._sink.started

    @property
    def error(self) -> NodeError | None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        return self._sink.error

    def start(self, head: ResponseHead) -> None:
        """Send *head*: that of a stream of events, if it is a plain 200 without a length."""
        sink = self._sink
        if sink.ended or sink.started:
            return
        if head.status == 200 and head.length is None:
            more = tuple(field for field in head.headers if field[0].lower() not in _OURS)
            head = attrs.evolve(head, content_type=EVENT_STREAM, headers=(*more, *_FIELDS))
            self._streams = True
        sink.start(head)
        if sink.ended:
            self._over()
        elif self._streams:
            self._expect_silence()

    def write(self, data: bytes) -> None:
        """Send body bytes. They make the answer one that is no stream of events any more.

        :raises RuntimeError: messages were written before.
        """
        if self._streams and data and not self._sink.ended:
            if self._spoke:
                raise RuntimeError("over HTTP an answer has messages or a body, not both")
            self._streams = False
            self._heart.expect(None)
        self._sink.write(data)

    def finish(self) -> Deferred[None]:
        """End the stream well. ``EventSource`` comes back all the same, as it does after every end."""
        finished = self._sink.finish()
        self._over()
        return finished

    def answer(self, head: ResponseHead, body: bytes) -> Deferred[None]:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        self.start(head)
        self.write(body)
        return self.finish()

    def fail(self, error: NodeError) -> None:
        """End the answer with *error*; a stream that has begun tells it as its last event, and ends whole.

        A node that drains says only when to come back: another one is asked then, and nothing is wrong. It
        ends the connection, too, or that would be taken for the next request.
        """
        sink = self._sink
        if self._streams and sink.started and not sink.ended:
            if error.retry_after_ms is not None:
                # All of them were told at the same moment, and must not come back at the same.
                sink.write(retry_text(round(error.retry_after_ms * (0.5 + self._chance()))))
            drains = error.code is ErrorCode.DRAINING
            if not drains:
                _, body = error_parts(error, request_id=sink.request_id)
                sink.write(event_text(body.rstrip(), name="error"))
            sink.end(error, close=drains)
        else:
            sink.fail(error)
        self._over()

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        if not streaming:
            raise ValueError("only push producers: nobody pulls here")
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        producer = cast(IPushProducer, producer)
        if self._sink.ended:
            producer.stopProducing()
            return
        self._producer = producer
        if self._full:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        self._producer = None

    # Heartbeats

    def _beat(self) -> None:
        if self._sink.ended:
            self._over()
        elif self._full or self._sink.behind:
            # What waits already asks the same; a second comment tells no more than the first.
            self._expect_silence()
        else:
            self._send(HEARTBEAT)

    def _send(self, text: bytes) -> None:
        self._sink.write(text)
        self._expect_silence()

    def _expect_silence(self) -> None:
        if not self._sink.ended:
            self._heart.expect(self._clock.seconds() + HEARTBEAT_S)

    # IPushProducer, for the transport

    def pauseProducing(self) -> None:
        """The transport's buffer is full."""
        self._full = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """It is empty."""
        self._full = False
        self._written = 0
        if self._producer is not None:
            self._producer.resumeProducing()
        self._serve()

    def stopProducing(self) -> None:
        """The caller has gone."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stopProducing()
        self._over()

    def _over(self) -> None:
        """The answer has ended: let go of everything, and tell those who wait."""
        self._producer = None
        self._heart.close()
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.cancel()
        while self._waiting:
            self._waiting.popleft()[1].errback(self._sink.error or _OVER)


def _fitting(size: int) -> int:
    if not 0 < size <= MAX_EVENT_BYTES:
        raise ValueError(f"a message of {size} bytes, where 1 to {MAX_EVENT_BYTES} may be")
    return size
