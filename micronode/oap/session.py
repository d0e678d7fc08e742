"""The streams of one connection: opened, fed, bounded, ended.

It stands between the sans-IO core and the dispatcher: what the core tells about streams comes in here. What
a stream answers goes out through :mod:`micronode.oap.answers`. The transport is the protocol's business.

Backpressure in is the business of :mod:`micronode.oap.uploads`, backpressure out the outbox's; a stream with
windows is paused by its empty window too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from twisted.internet.defer import fail

from micronode.calls.call import Call
from micronode.calls.context import fresh_request_id
from micronode.calls.operations import BodyRule
from micronode.errors import ErrorCode, NodeError, error_object
from micronode.interfaces import IResponseSink
from micronode.oap.answers import Answers
from micronode.oap.outbox import Outbox
from micronode.oap.request import make_call, read_start
from micronode.oap.services import Reading, Services
from micronode.oap.starving import Starving
from micronode.oap.stream import GONE, Stream
from micronode.oap.subscription import Subscription
from micronode.oap.uploads import Uploads
from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.events import BodyReceived, CreditReceived, StreamFailed, StreamOpened, StreamRefused
from micronode.oap.wire.limits import HEADER_BYTES
from micronode.oap.wire.windows import CREDIT_BYTES

_CREDIT_FRAME_BYTES: Final = HEADER_BYTES + CREDIT_BYTES
_CANCELLED: Final = NodeError(ErrorCode.CANCELLED, "cancelled by the caller")


class Session:
    """The streams of one connection.

    :param stream_ended: called without arguments when one is over.
    :ivar streams: the open ones, by corr_id.
    :ivar answers: what they answer, as frames.
    :ivar uploads: their requests' bodies.
    """

    def __init__(
        self,
        services: Services,
        wire: NodeConnection,
        outbox: Outbox,
        reading: Reading,
        *,
        peer: str,
        origin: str,
        stream_ended: Callable[[], None],
    ) -> None:
        self.streams: dict[int, Stream] = {}
        self.answers = Answers(services, wire, outbox)
        self.outbox = outbox
        self.clock = services.clock
        self._services = services
        self._meter = services.meter
        self._wire = wire
        self._stream_ended = stream_ended
        self._peer = peer
        self._origin = origin
        self.uploads = Uploads(services, self.streams, reading, taken=self._taken, refuse=self._refuse)
        #: Calls of this read whose bodies are still coming.
        self._begun: list[tuple[Stream, Call]] = []
        #: The protocol reads nothing.
        self._deaf = False
        outbox.on_room = self.send_credits

    # What the caller does

    def opened(self, event: StreamOpened) -> None:
        """Run what a START asks for."""
        corr_id = event.corr_id
        stream = Stream(self, corr_id, fresh_request_id(), self.clock.seconds())
        stream.windowed = event.windowed
        self.streams[corr_id] = stream
        self._meter.streams.inc()
        try:
            asked = read_start(self._services.dispatcher.table, event)
        except NodeError as error:
            self._meter.refused(error.code)
            stream.fail(error)
            return
        operation = stream.operation = asked.operation
        if self._services.buffers.tight:
            stream.fail(self._services.buffers.refusal())
            return
        if operation.body is BodyRule.STREAMED:
            stream.upload = self.uploads.begin(stream, event)
        call = make_call(
            asked,
            event,
            request_id=stream.request_id,
            peer=self._peer,
            body=stream.upload,
            origin=self._origin,
        )
        if stream.upload is not None and not event.ended:
            self._begun.append((stream, call))
            return
        sink = Subscription(stream, self, whole=event.ended) if operation.subscribes else stream
        self._run(stream, call, sink)

    def _run(self, stream: Stream, call: Call, sink: IResponseSink) -> None:
        try:
            running = self._services.dispatcher.dispatch(call, sink)
        except Exception:
            running = fail()
        stream.run(running)

    def handled(self) -> None:
        """Run the calls that came with a body, when all that was read with them was handled.

        So a body that came whole has a length, which an owner may need to hear of.
        """
        begun, self._begun = self._begun, []
        for stream, call in begun:
            if not stream.ended and stream.upload is not None:
                stream.upload.settle()
                self._run(stream, call, stream)

    def body(self, event: BodyReceived) -> None:
        """Pass a chunk of a request's body on."""
        stream = self.streams.get(event.corr_id)
        if stream is None or stream.answered:
            self._wire.taken(event.corr_id, len(event.data))
            return
        data = event.data
        upload = stream.upload
        if upload is None or stream.operation is None:
            if data:
                self._refuse(stream, ErrorCode.BAD_REQUEST, "this operation takes no request body")
            elif event.ended and stream.subscription is not None:
                stream.subscription.asked()
            return
        self._meter.bytes_in.inc(len(data))
        stream.received += len(data)
        if stream.received > stream.operation.max_body:
            limit = stream.operation.max_body
            self._refuse(stream, ErrorCode.BODY_TOO_LARGE, f"at most {limit} bytes are taken")
            return
        self.uploads.receive(stream, upload, event)

    def unanswered(self, corr_id: int) -> bool:
        """Whether the head of an answer was not made yet."""
        stream = self.streams.get(corr_id)
        return stream is not None and not stream.started

    def cancelled(self, corr_id: int) -> None:
        """Answer a cancel, when the call has been aborted."""
        stream = self.streams.get(corr_id)
        if stream is not None:
            stream.abort(_CANCELLED)

    def failed(self, event: StreamFailed) -> None:
        """End a stream that the caller broke."""
        stream = self.streams.get(event.corr_id)
        if stream is not None:
            self._refuse(stream, event.code, event.message)

    def refused(self, event: StreamRefused) -> None:
        """Answer a frame that opened nothing."""
        error = error_object(event.code, event.message, request_id=fresh_request_id(), corr_id=event.corr_id)
        if event.code is not ErrorCode.CANCELLED:
            self._meter.refused(event.code)
        self._meter.error_out.inc()
        self.outbox.write_control(self._wire.send_refusal(event, error))

    def half_closed(self) -> None:
        """No more input will come: requests that are not whole never will be, and nobody is subscribed."""
        self.uploads.half_closed()
        for stream in list(self.streams.values()):
            if stream.subscription is not None:
                # Nothing else would ever end it: there will be neither CREDIT nor a cancel.
                stream.abort(_CANCELLED)

    def end_subscriptions(self, error: NodeError) -> None:
        """End each subscription with *error*; what else is open goes on."""
        for stream in list(self.streams.values()):
            if stream.subscription is not None:
                stream.abort(error)

    def give_up(self, error: NodeError, cut: NodeError) -> None:
        """Cancel every call, and tell its caller *error*, or *cut* where something may have been done."""
        for stream in list(self.streams.values()):
            stream.abort(cut if stream.running and stream.subscription is None else error)

    def close(self, error: NodeError = GONE) -> None:
        """The connection is gone, or is dropped for *error*: cancel every call and send nothing."""
        for stream in list(self.streams.values()):
            stream.vanish(error)
        self.uploads.close()
        self.answers.close()

    def _refuse(self, stream: Stream, code: ErrorCode, message: str) -> None:
        if not stream.ended:
            self._meter.refused(code)
            stream.abort(NodeError(code, message))

    # What becomes of streams

    def release_request(self, stream: Stream) -> None:
        """Take no more of the request: the answer is whole. What still comes of it is dropped."""
        if stream.upload is not None:
            self.uploads.release(stream)
        self.send_credits()
        if stream.upload is not None:
            self.uploads.unblock()

    def forget(self, stream: Stream) -> None:
        """Let go of a stream that is over: count it, log it, and read on if it was in the way."""
        if self.streams.pop(stream.corr_id, None) is None:
            return
        operation = stream.operation
        route = operation.name if operation is not None else None
        taken_s = self.clock.seconds() - stream.began_s
        self._meter.streams.dec()
        if stream.subscription is None:
            self._meter.ended(operation, taken_s)
        fields: dict[str, object] = {
            "request_id": stream.request_id,
            "corr_id": str(stream.corr_id),
            "route": route or "other",
            "status": stream.status,
            # Rounded to whole ones, which takes a third of what rounding to digits takes.
            "latency_ms": round(taken_s * 1_000_000) / 1000,
            "peer": self._peer,
        }
        if operation is not None:
            fields["facet"] = operation.facet
        if stream.error is not None:
            fields.update(stream.error.log_fields())
        self._services.access(fields)
        self.outbox.withdraw(stream.corr_id)
        if stream.starving is not None:
            stream.starving.close()
            stream.starving = None
        if stream.windowed or stream.upload is not None:
            self.release_request(stream)
        self._stream_ended()

    # Windows

    def credited(self, event: CreditReceived) -> None:
        """Let a stream go on whose window was empty."""
        stream = self.streams.get(event.corr_id)
        if stream is not None:
            stream.credited(event.up_to)
            if stream.subscription is not None:
                stream.subscription.credited()

    def starve(self, stream: Stream) -> None:
        """Wait for CREDIT no longer than for a transport that takes nothing."""
        if stream.starving is None:
            services = self._services
            stream.starving = Starving(
                self.clock,
                services.timeouts.write_stall,
                lambda: self._starved(stream),
                min_rate=services.limits.min_rate,
            )
        stream.starving.start()
        if self._deaf:
            stream.starving.hold()

    def _starved(self, stream: Stream) -> None:
        self._services.slow_reader()
        self._refuse(stream, ErrorCode.TIMEOUT, "the answer's window was empty for too long")

    def _taken(self, corr_id: int, size: int) -> None:
        self._wire.taken(corr_id, size)
        self.send_credits()

    def send_credits(self) -> None:
        """Send the CREDITs that are due. Where nobody reads they wait: a later one says all of them."""
        if self.outbox.full:
            return
        frames = self._wire.credits()
        if frames:
            self._meter.event_out.inc(len(frames) // _CREDIT_FRAME_BYTES)
            self.outbox.write_control(frames)

    def hold(self, hold: bool) -> None:
        """While we do not read, nobody is too slow to send: neither a body nor CREDIT."""
        self._deaf = hold
        for stream in self.streams.values():
            for deadline in (stream.idle, stream.starving):
                if deadline is not None:
                    if hold:
                        deadline.hold()
                    else:
                        deadline.release()
