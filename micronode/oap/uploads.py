"""The request bodies of one connection: what they hold together, and which of them is in the way.

Backpressure in: a body with windows (ACK_REQ) is given CREDIT as its owner takes, and never stops the
reading. One without, whose buffer is full, stops the reading of the whole connection, as there is no other
way. That must not last: after ``timeouts.stall`` its stream alone fails, and what still comes of it is read
and dropped. The two are counted apart, so that an owner that is slow for a stream with windows does not fail
one without.

Otherwise a body may wait for its owner: whoever passes it on has a deadline (``timeouts.stall`` in the
adapters). But a facet that never takes it must not keep its permit for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from micronode.errors import ErrorCode
from micronode.oap.services import Reading, Services
from micronode.oap.timers import Deadline
from micronode.oap.upload import Upload
from micronode.oap.wire.limits import CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES

if TYPE_CHECKING:
    from micronode.oap.stream import Stream
    from micronode.oap.wire.events import BodyReceived, StreamOpened


class Uploads:
    """Feeds the bodies of *streams*, and fails those that come or go too slowly.

    :param streams: the open ones, by corr_id; not its own.
    :param taken: called with a corr_id and a number of bytes when so many of a body with windows were taken.
    :param refuse: ends a stream with an error.
    :ivar held: bytes of bodies without windows that wait for an owner.
    :ivar windowed_held: the same of bodies with windows.
    """

    def __init__(
        self,
        services: Services,
        streams: Mapping[int, Stream],
        reading: Reading,
        *,
        taken: Callable[[int, int], None],
        refuse: Callable[[Stream, ErrorCode, str], None],
    ) -> None:
        self.held = self.windowed_held = 0
        self._clock = services.clock
        self._buffers = services.buffers
        self._idle_s = services.timeouts.stream_idle
        self._streams = streams
        self._reading = reading
        self._taken = taken
        self._refuse = refuse
        #: The stream that keeps the connection from being read.
        self._blocking: Stream | None = None
        self._stall = Deadline(services.clock, services.timeouts.stall, self._stalled)

    def begin(self, stream: Stream, event: StreamOpened) -> Upload:
        """Return the body of *stream*, and watch that it comes."""
        corr_id = event.corr_id
        if event.windowed:
            upload = Upload(
                self._windowed_held_changed,
                whole=event.ended,
                taken=lambda size: self._taken(corr_id, size),
            )
        else:
            upload = Upload(self._held_changed, whole=event.ended)
        if not event.ended:
            stream.idle = Deadline(self._clock, self._idle_s, lambda: self._silent(stream))
            stream.idle.start()
        return upload

    def receive(self, stream: Stream, upload: Upload, event: BodyReceived) -> None:
        """Pass a chunk on; a body without windows may stop the reading with it."""
        upload.receive(event.data)
        if event.ended:
            upload.end()
        if stream.idle is not None and not stream.ended:
            if upload.over:
                stream.idle.stop()
            else:
                stream.idle.start()
        if upload.held and self._buffers.full and not stream.ended:
            refusal = self._buffers.refusal(ErrorCode.OWNER_UNAVAILABLE)
            self._refuse(stream, refusal.code, f"{refusal.message}, and the owner does not take the body")
        elif not (event.ended or upload.windowed) and self._is_full(upload):
            self._block(stream)

    def release(self, stream: Stream) -> None:
        """Take no more of a body; :meth:`unblock` is to be called after it."""
        idle, stream.idle = stream.idle, None
        if idle is not None:
            idle.close()
        if stream.upload is not None:
            stream.upload.abandon()

    def half_closed(self) -> None:
        """No more input will come: bodies that are not whole never will be."""
        for stream in list(self._streams.values()):
            upload = stream.upload
            if stream.idle is not None and upload is not None and not upload.whole:
                self._refuse(stream, ErrorCode.BAD_REQUEST, "the connection ended inside the request's body")

    def close(self) -> None:
        """The connection is over."""
        self._stall.close()

    # Backpressure

    def _is_full(self, upload: Upload) -> bool:
        """Tell whether *upload* keeps more than it may, itself or together with the others."""
        held = upload.held
        return held >= STREAM_WINDOW_BYTES or (held > 0 and self.held >= CONNECTION_WINDOW_BYTES)

    def _held_changed(self, difference: int) -> None:
        self.held += difference
        self._buffers.add(difference)
        if difference < 0:
            self.unblock()

    def _windowed_held_changed(self, difference: int) -> None:
        self.windowed_held += difference
        self._buffers.add(difference)

    def _block(self, stream: Stream) -> None:
        if self._blocking is None:
            self._reading.stop_reading()
        self._blocking = stream
        self._stall.start()

    def unblock(self) -> None:
        """Read on unless the stream in the way is still full."""
        stream = self._blocking
        if stream is None:
            return
        if not stream.ended and stream.upload is not None and self._is_full(stream.upload):
            return
        for other in self._streams.values():
            upload = other.upload
            if upload is not None and not (other.ended or upload.windowed) and self._is_full(upload):
                self._block(other)
                return
        self._blocking = None
        self._stall.stop()
        self._reading.go_on_reading()

    # Deadlines

    def _stalled(self) -> None:
        stream = self._blocking
        if stream is not None:
            self._refuse(stream, ErrorCode.OWNER_UNAVAILABLE, "the owner does not take the request's body")

    def _silent(self, stream: Stream) -> None:
        upload, idle = stream.upload, stream.idle
        if upload is None or idle is None or upload.over:
            return
        waits = self.windowed_held >= CONNECTION_WINDOW_BYTES // 2
        if not (upload.whole or (upload.windowed and (upload.held or waits))):
            self._refuse(stream, ErrorCode.TIMEOUT, "the request's body did not go on in time")
        elif upload.moved or not (upload.whole or upload.held):
            # The caller may have no room, or nothing more to say: the owner is slow.
            upload.moved = False
            idle.start()
        else:
            self._refuse(stream, ErrorCode.OWNER_UNAVAILABLE, "nobody takes the request's body")
