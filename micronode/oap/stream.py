"""One stream: the answer of its call becomes frames, and exactly one of them is terminal.

A stream ends in one of three ways: its call ends it (``finish``, ``fail``), the session does (``abort``:
cancel, a breach, a deadline, a limit), or the connection is gone (``vanish``). Whatever comes after
that is ignored, so that neither the relay nor the session has to ask first.

What its call answers waits here for the stream's turn at the connection (:mod:`micronode.oap.outbox`),
and the stream is open meanwhile, so that its place in ``max_inflight`` and its facet's permit bound what
a caller that does not read makes the node hold. Errors alone do not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer, IPushProducer
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IResponseSink
from micronode.oap.compression import is_compressible
from micronode.oap.wire.heads import dump_object

if TYPE_CHECKING:
    from micronode.calls.operations import Operation
    from micronode.oap.session import Session
    from micronode.oap.timers import Deadline
    from micronode.oap.upload import Upload

_log = Logger()
#: Members of a response head that an owner has a say in; a longer text is no honest one.
_TEXTS: Final = ("content_type", "etag", "range")
_MAX_TEXT: Final = 2_048
#: Bytes a character has in JSON at most, and all of a head but its texts: below that nothing is measured.
_MAX_LETTER: Final = 12
_OTHER_BYTES: Final = 256
#: Statuses of answers without a body (RFC 9110 section 6.4.1).
_BODILESS: Final = frozenset((204, 304))
GONE: Final = NodeError(ErrorCode.CANCELLED, "the caller has gone")
_DEFECT: Final = "a defect of the node; its log has the request id"


@implementer(IResponseSink, IConsumer, IPushProducer)
class Stream:
    """The response side of a stream, and what belongs to it.

    :ivar operation: what was asked for; None until that is known.
    :ivar upload: the request's body, where the operation takes one.
    :ivar idle: the deadline for its next frame, where there is an upload.
    :ivar starving: the deadline for CREDIT; it runs while the answer's window is empty.
    :ivar received: bytes of request body so far.
    :ivar compressible: whether chunks of its answer may be compressed, by what they are.
    :ivar ended: True once its terminal frame was sent, or the connection is gone.
    :ivar status: what the answer's status was, or the error's.
    :ivar error: why it ended, where it did not end well.
    """

    def __init__(self, session: Session, corr_id: int, request_id: str, began_s: float) -> None:
        self.corr_id = corr_id
        self.request_id = request_id
        self.began_s = began_s
        self.operation: Operation | None = None
        self.upload: Upload | None = None
        self.idle: Deadline | None = None
        self.starving: Deadline | None = None
        self.received = 0
        self.started = False
        self.compressible = False
        self.ended = False
        self.status = 0
        self.error: NodeError | None = None
        self._session = session
        self._running: Deferred[None] | None = None
        self._producer: IPushProducer | None = None
        #: Others have the turn, or nobody: the caller does not read.
        self._waiting = False
        #: The window of the answer is empty.
        self._starved = False
        #: Body bytes that wait for the turn, or for room in the window.
        self._held: list[bytes] = []
        #: What finish() returned while the end waited for the turn.
        self._finishing: Deferred[None] | None = None
        #: The head, until it is sent: together with the first bytes of the body, or with the end.
        self._head: dict[str, Any] | None = None
        self._bodiless = False
        #: Bytes of body still owed; None: no length was promised.
        self._owed: int | None = None

    @property
    def answered(self) -> bool:
        """Whether its answer is whole, be it on its way or not: nothing more is taken of the request."""
        return self.ended or self._finishing is not None

    def run(self, running: Deferred[None]) -> None:
        """Watch the call that answers here. *running* is the dispatcher's, and is cancelled by abort."""
        self._running = running
        running.addBoth(self._over)
        if self.ended:
            # It was ended while the call was being dispatched, before there was anything to cancel.
            self._cancel()

    def _over(self, result: object) -> None:
        self._running = None
        if self.ended:
            return
        route = self.operation.name if self.operation is not None else ""
        if isinstance(result, Failure):
            _log.failure("call_failed", failure=result, route=route, request_id=self.request_id)
        else:
            _log.error("call_unanswered", route=route, request_id=self.request_id)
        self.abort(NodeError(ErrorCode.INTERNAL, _DEFECT))

    # IResponseSink

    def start(self, head: ResponseHead) -> None:
        """Send *head*; it waits for the first of the body, at most until the reactor's next turn,
        and for the stream's turn.
        """
        if self.ended or self.started:
            return
        fields = _head_fields(head, self._session.max_head)
        if fields is None:
            self.fail(NodeError(ErrorCode.BAD_GATEWAY, "the owner's answer has a malformed head"))
            return
        self.started = True
        self.status = head.status
        self._head = fields
        self.compressible = is_compressible(head.content_type)
        operation = self.operation
        self._bodiless = head.status in _BODILESS or (operation is not None and operation.method == "HEAD")
        self._owed = None if self._bodiless else head.length
        if not self._bodiless and head.length != 0:
            self._session.send_soon(self)

    def send_head(self) -> None:
        """Send the head if it still waits, unless the stream's turn is to come."""
        if self._head is not None and not self._waiting:
            head, self._head = self._head, None
            self._session.write_head(self, head, ended=False)

    def write(self, data: bytes) -> None:
        """Send body bytes, or hold them until the stream's turn.

        More than the head promised ends the stream with an error.
        """
        if self.answered or self._bodiless or not data:
            return
        if not self.started:
            raise RuntimeError("write() before start()")
        if self._owed is not None:
            if len(data) > self._owed:
                self._break_length()
                return
            self._owed -= len(data)
        if self._waiting or self._starved:
            self._held.append(data)
        else:
            self._send(data)

    def _send(self, data: bytes) -> None:
        """Send *data*, as far as the window goes; the rest is held, and so is whoever makes more."""
        session = self._session
        room = session.room(self)
        if room is not None and len(data) >= room:
            if len(data) > room:
                self._held.append(data[room:])
                data = data[:room]
            self._starved = True
            session.starve(self)
            if self._producer is not None:
                self._producer.pauseProducing()
        head, self._head = self._head, None
        session.write_body(self, head, data)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pause *producer* while the caller does not read; stop it where the stream is over."""
        if not streaming:
            raise ValueError("only push producers: nobody pulls here")
        if self._producer is not None:
            raise RuntimeError("a producer is registered already")
        if self.ended:
            producer.stopProducing()
            return
        self._producer = cast(IPushProducer, producer)
        if self._waiting or self._starved:
            self._producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self._producer = None

    def finish(self) -> Deferred[None]:
        """End the answer, in the stream's turn.

        :return: fires (None) when the terminal frame was sent, or the caller has gone. Never fails.
        """
        if self._finishing is not None:
            return self._finishing
        if self.ended:
            return succeed(None)
        if not self.started:
            raise RuntimeError("finish() before start()")
        if self._owed:
            self._break_length()
        elif self._waiting or self._held:
            finishing = self._finishing = Deferred()
            self._session.release_request(self)
            return finishing
        else:
            self._end()
        return succeed(None)

    def _end(self) -> None:
        self.ended = True
        head, self._head = self._head, None
        if head is not None:
            self._session.write_head(self, head, ended=True)
        else:
            self._session.write_end(self)
        self._leave()

    def fail(self, error: NodeError) -> None:
        """End the answer with *error*, now; a head that was started is sent before it if it may be."""
        if not self.answered:
            self.send_head()
            self.ended = True
            self.error, self.status = error, error.code.status
            self._session.write_error(self, error)
            self._leave()

    # IPushProducer, for the outbox

    def pauseProducing(self) -> None:
        """Wait for the next turn."""
        self._waiting = True
        if self._producer is not None:
            self._producer.pauseProducing()

    def resumeProducing(self) -> None:
        """Take the turn."""
        self._waiting = False
        self._proceed()

    def credited(self) -> None:
        """Take note of CREDIT: there is room in the window."""
        if self._starved and self._session.room(self):
            self._starved = False
            if self.starving is not None:
                self.starving.stop()
            if not self._waiting:
                self._proceed()

    def _proceed(self) -> None:
        """Send what was held, then the end or what else the producer has."""
        if self._starved:
            # Neither the head nor an end is held by an empty window, unless bytes are owed before them.
            if self._finishing is not None and not self._held:
                self._end()
            else:
                self.send_head()
            return
        held, self._held = self._held, []
        if held:
            self._send(b"".join(held))
        if self._waiting or self.ended or (self._starved and (self._held or self._finishing is None)):
            return
        if self._finishing is not None:
            self._end()
            return
        # A head that waited must not wait for what its producer may be long in sending.
        self.send_head()
        if self._producer is not None and not self._waiting:
            self._producer.resumeProducing()

    def stopProducing(self) -> None:
        """The connection is gone; the session hears of it by itself."""

    # The session's side

    def abort(self, error: NodeError) -> None:
        """End the stream for a reason outside its call: the call is cancelled, then *error* is sent."""
        if not self.ended:
            self.send_head()
            self.ended = True
            self.error, self.status = error, error.code.status
            self._cancel()
            self._session.write_error(self, error)
            self._leave()

    def vanish(self, error: NodeError = GONE) -> None:
        """The connection is gone, or is dropped for *error*: cancel the call, send nothing."""
        if not self.ended:
            self.ended = True
            self.error, self.status = error, error.code.status
            self._cancel()
            self._leave()

    def _cancel(self) -> None:
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    def _leave(self) -> None:
        """Let go of everything; the stream is over."""
        self._head = None
        self._held.clear()
        self.unregisterProducer()
        self._session.forget(self)
        finishing, self._finishing = self._finishing, None
        if finishing is not None:
            finishing.callback(None)

    def _break_length(self) -> None:
        _log.error(
            "body_length", route=self.operation.name if self.operation else "", request_id=self.request_id
        )
        self.fail(NodeError(ErrorCode.INTERNAL, "the body does not have the length its head says"))
        # Not now: this runs inside the call, which goes on when it returns.
        self._session.clock.callLater(0, self._cancel)


def _head_fields(head: ResponseHead, max_bytes: int) -> dict[str, Any] | None:
    """Return the JSON of a response head; None where an owner's texts are not fit for it.

    It is measured here, since it may be sent where no call can fail any more.
    """
    fields: dict[str, Any] = {"status": head.status}
    for name in ("content_type", "length", "etag", "range", "verified"):
        value = getattr(head, name)
        if value is not None:
            fields[name] = value
    letters = 0
    for name in _TEXTS:
        text = fields.get(name, "")
        if len(text) > _MAX_TEXT or not text.isprintable():
            return None
        letters += len(text)
    if letters * _MAX_LETTER + _OTHER_BYTES > max_bytes and len(dump_object(fields)) > max_bytes:
        return None
    return fields
