"""What the streams of one connection answer, as frames: made by the core, counted, handed to the outbox.

Which stream may send how much, and when, is decided before it comes here: by the stream, its window and its
turn (:mod:`micronode.oap.fairness`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IDelayedCall

from micronode.errors import NodeError
from micronode.oap.outbox import Outbox
from micronode.oap.services import Services
from micronode.oap.wire.connection import NodeConnection

if TYPE_CHECKING:
    from micronode.oap.stream import Stream


class Answers:
    """Writes frames of streams. What returns a number tells how many bytes the frames have."""

    def __init__(self, services: Services, wire: NodeConnection, outbox: Outbox) -> None:
        self._clock = services.clock
        self._meter = services.meter
        self._wire = wire
        self._outbox = outbox
        #: Streams whose head waits for the first of the body, and the turn of the reactor that ends it.
        self._headed: list[Stream] = []
        self._turn: IDelayedCall | None = None

    @property
    def max_head(self) -> int:
        """How many bytes the head of an answer may have, as JSON."""
        return self._wire.max_head

    def send_soon(self, stream: Stream) -> None:
        """Let *stream* send its head in the reactor's next turn, if it did not before."""
        self._headed.append(stream)
        if self._turn is None:
            self._turn = self._clock.callLater(0, self._send_heads)

    def _send_heads(self) -> None:
        self._turn = None
        headed, self._headed = self._headed, []
        for stream in headed:
            stream.send_head()

    def close(self) -> None:
        """The connection is over: no head that waits is sent."""
        self._headed.clear()
        if self._turn is not None:
            self._turn.cancel()
            self._turn = None

    def write_head(self, stream: Stream, head: Mapping[str, Any], *, ended: bool) -> int:
        """Write the head of an answer; with *ended* it is all of it."""
        self._began(stream)
        return self._write(self._wire.send_head(stream.corr_id, head, ended=ended))

    def write_body(self, stream: Stream, head: Mapping[str, Any] | None, data: bytes) -> int:
        """Write body bytes, together with the head where that waited."""
        wire, corr_id, compress = self._wire, stream.corr_id, stream.compressible
        self._meter.bytes_out.inc(len(data))
        self._meter.data_out.inc(-(-len(data) // wire.max_chunk))
        if head is None:
            return self._write(wire.send_body(corr_id, data, compress=compress))
        self._began(stream)
        begun = wire.send_head(corr_id, head)
        return self._write(begun + wire.send_body(corr_id, data, compress=compress))

    def write_answer(self, stream: Stream, head: Mapping[str, Any], body: bytes) -> None:
        """Write a whole answer."""
        wire = self._wire
        self._meter.answered(len(body), -(-len(body) // wire.max_chunk))
        self._took(stream)
        self._outbox.write(wire.send_answer(stream.corr_id, head, body, compress=stream.compressible))

    @property
    def max_event(self) -> int:
        """How many bytes a message of a subscription may have."""
        return self._wire.max_event

    def room(self, stream: Stream) -> int | None:
        """Return how much of its answer *stream* may send now; None: it has no window."""
        return self._wire.room(stream.corr_id) if stream.windowed else None

    def write_event(self, stream: Stream, message: bytes) -> int:
        """Write one message of a subscription; return its size."""
        self._meter.bytes_out.inc(len(message))
        self._meter.event_out.inc()
        return self._write(self._wire.send_event(stream.corr_id, message, compress=stream.compressible))

    def write_end(self, stream: Stream) -> int:
        """Write the end of an answer that went well."""
        self._meter.end_out.inc()
        return self._write(self._wire.send_end(stream.corr_id))

    def _write(self, frames: bytes) -> int:
        self._outbox.write(frames)
        return len(frames)

    def write_error(self, stream: Stream, error: NodeError) -> None:
        """Write the end of an answer that did not, now, even where nobody reads."""
        corr_id = stream.corr_id
        if self._wire.is_open(corr_id):
            self._meter.error_out.inc()
            body = error.as_object(request_id=stream.request_id, corr_id=corr_id)
            self._outbox.write_control(self._wire.send_error(corr_id, error.code, body))

    def _began(self, stream: Stream) -> None:
        self._meter.start_out.inc()
        self._took(stream)

    def _took(self, stream: Stream) -> None:
        """Measure how long the head of an answer took."""
        if stream.subscription is None:
            route = stream.operation.name if stream.operation is not None else None
            self._meter.began(route, self._clock.seconds() - stream.began_s)
