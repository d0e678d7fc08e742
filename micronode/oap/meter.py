"""The metrics of the OAP/1 ingress, looked up once: counting a frame costs one increment."""

from __future__ import annotations

from typing import Final

from micronode.calls.call import Ingress
from micronode.errors import ErrorCode
from micronode.oap.wire.events import (
    BodyReceived,
    ConnectionFailed,
    CreditReceived,
    Event,
    FrameIgnored,
    HelloReceived,
    PingReceived,
    StreamCancelled,
    StreamFailed,
    StreamOpened,
    StreamRefused,
)
from micronode.observability.metrics import OTHER_ROUTE, Metrics

#: ``method`` of an OAP call in the latency histograms, which both ingresses share.
_METHOD: Final = "OTHER"
#: What a frame was, where its event alone tells; ``error`` is one that could not be understood.
_KINDS: Final = {
    HelloReceived: "hello",
    StreamOpened: "start",
    BodyReceived: "data",
    StreamCancelled: "end",
    CreditReceived: "event",
    PingReceived: "event",
    ConnectionFailed: "error",
}


class Meter:
    """Counts what the connections of one listener do.

    :ivar connections: a gauge. ``streams`` too.
    :ivar bytes_in: a counter of body bytes. ``bytes_out`` too.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        label = Ingress.OAP.value
        self.connections = metrics.oap_connections
        self.streams = metrics.oap_streams
        self.bytes_in = metrics.bytes(label, "in")
        self.bytes_out = metrics.bytes(label, "out")
        self.hello_out = metrics.frames("out", "hello")
        self.start_out = metrics.frames("out", "start")
        self.data_out = metrics.frames("out", "data")
        self.end_out = metrics.frames("out", "end")
        self.event_out = metrics.frames("out", "event")
        self.error_out = metrics.frames("out", "error")
        self._in = {event: metrics.frames("in", kind) for event, kind in _KINDS.items()}
        self._end_in = metrics.frames("in", "end")
        self._kinds_in = {kind: metrics.frames("in", kind) for kind in ("start", "data", "end", "event")}

    def received(self, event: Event) -> None:
        """Count the frame that caused *event*."""
        counter = self._in.get(type(event))
        if counter is None:
            # Only these are not told by their types.
            assert isinstance(event, StreamRefused | StreamFailed | FrameIgnored)
            counter = self._kinds_in[event.kind]
        elif type(event) is BodyReceived and event.ended:
            counter = self._end_in
        counter.value += 1

    def answered(self, size: int, chunks: int) -> None:
        """Count a whole answer: the frames of its head, its body and its end, and its body's bytes."""
        self.start_out.value += 1
        self.data_out.value += chunks
        self.end_out.value += 1
        self.bytes_out.value += size

    def refused(self, code: ErrorCode) -> None:
        """Count a frame, a stream or a connection that was refused before any work."""
        self._metrics.reject_oap(code)

    def slow_reader(self) -> None:
        """Count a caller that takes an answer too slowly."""
        self._metrics.rejected("slow_reader").inc()

    def dropped(self, reason: str) -> None:
        """Count a frame that was dropped without an answer, or ``truncated`` input.

        :param reason: from a closed set: those of FrameIgnored, and ``truncated``.
        """
        self._metrics.oap_rejects(reason).inc()

    def began(self, route: str | None, seconds: float) -> None:
        """Measure how long the head of an answer took."""
        self._metrics.first_byte(route or OTHER_ROUTE, _METHOD).observe(seconds)

    def ended(self, route: str | None, seconds: float) -> None:
        """Measure a call that is over; how it went is counted by its facet."""
        self._metrics.latency(route or OTHER_ROUTE, _METHOD).observe(seconds)
