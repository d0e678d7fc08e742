"""One stream: the answer of its call becomes frames, and exactly one of them is terminal.

A stream ends in one of three ways: its call ends it (``finish``, ``fail``), the session does (``abort``:
cancel, a breach, a deadline, a limit), or the connection is gone (``vanish``). Whatever comes after
that is ignored, so that neither the relay nor the session has to ask first.

What its call answers waits here for the stream's turn at the connection (:mod:`micronode.oap.fairness`)
and for room in its window, and the stream is open meanwhile, so that its place in ``max_inflight`` and its
facet's permit bound what a caller that does not read makes the node hold. Errors alone do not wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IConsumer, IProducer, IPushProducer
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IResponseSink
from micronode.oap.compression import is_compressible
from micronode.oap.fairness import ALONE_BYTES
from micronode.oap.head import BODILESS, head_fields
from micronode.oap.running import Running, complain
from micronode.oap.starving import Starving
from micronode.oap.waiting import Waiting

if TYPE_CHECKING:
    from micronode.calls.operations import Operation
    from micronode.oap.session import Session
    from micronode.oap.subscription import Subscription
    from micronode.oap.timers import Deadline
    from micronode.oap.upload import Upload

GONE: Final = NodeError(ErrorCode.CANCELLED, "the caller has gone")


@implementer(IResponseSink, IConsumer)
class Stream:
    """The response side of a stream, and what belongs to it.

    :ivar operation: what was asked for; None until that is known.
    :ivar windowed: whether its bodies have windows.
    :ivar upload: the request's body, where the operation takes one.
    :ivar idle: the deadline for its next frame, where there is an upload.
    :ivar starving: the deadline for CREDIT; it runs while the answer's window is empty.
    :ivar waiting: body bytes of the answer that wait, and who makes them.
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
        self.windowed = False
        self.upload: Upload | None = None
        self.subscription: Subscription | None = None
        self.idle: Deadline | None = None
        self.starving: Starving | None = None
        self.received = 0
        self.started = False
        self.compressible = False
        self.ended = False
        self.status = 0
        self.error: NodeError | None = None
        self._session = session
        self._answers = session.answers
        self._running = Running(self)
        self.waiting = Waiting(corr_id, session.outbox.stock, session.outbox.buffers)
        #: What finish() returned while the end waited for the turn.
        self._finishing: Deferred[None] | None = None
        #: The head, until it is sent: together with the first bytes of the body, or with the end, or alone
        #: when it is due.
        self._head: dict[str, Any] | None = None
        self._head_due = False
        self._bodiless = False
        #: Bytes of body still owed; None: no length was promised.
        self._owed: int | None = None

    @property
    def answered(self) -> bool:
        """Whether its answer is whole, be it on its way or not: nothing more is taken of the request."""
        return self.ended or self._finishing is not None

    @property
    def running(self) -> bool:
        """Whether its call was begun and is not over."""
        return self._running.active

    def run(self, running: Deferred[None]) -> None:
        """Watch the call that answers here. *running* is the dispatcher's, and is cancelled by abort."""
        self._running.watch(running)

    # IResponseSink

    def start(self, head: ResponseHead) -> None:
        """Send *head*; it waits for the first of the body, at most until the reactor's next turn,
        and for the stream's turn.
        """
        if self._begin(head) and not self._bodiless and head.length != 0:
            self._answers.send_soon(self)

    def _begin(self, head: ResponseHead) -> bool:
        """Take *head*, which waits from now on; False: it is none, or none is wanted any more."""
        if self.ended or self.started:
            return False
        fields = head_fields(head, self._answers.max_head)
        if fields is None:
            self.fail(NodeError(ErrorCode.BAD_GATEWAY, "the owner's answer has a malformed head"))
            return False
        self.started = True
        self.status = head.status
        self._head = fields
        self.compressible = is_compressible(head.content_type)
        operation = self.operation
        self._bodiless = head.status in BODILESS or (operation is not None and operation.method == "HEAD")
        self._owed = None if self._bodiless else head.length
        return True

    def send_head(self) -> None:
        """Send the head if it still waits, now or in the stream's turn: the body is long in coming."""
        if self._head is not None:
            self._head_due = True
            if self._session.outbox.busy:
                self.offer()
            else:
                self._write_head()

    def _write_head(self) -> int:
        head, self._head = self._head, None
        return 0 if head is None else self._answers.write_head(self, head, ended=False)

    def write_event(self, message: bytes) -> int:
        """Write one message of its subscription, behind the head; return how long the frames are."""
        return self._write_head() + self._answers.write_event(self, message)

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
        waiting = self.waiting
        if waiting or waiting.starved or self._session.outbox.busy:
            waiting.hold(data)
            self.offer()
            return
        room = self._room(ALONE_BYTES)
        self._send(data[:room])
        if len(data) > room:
            waiting.hold(data[room:])
            self.offer()

    def _room(self, limit: int) -> int:
        """Return how much may be sent, by the window and *limit*."""
        room = self._answers.room(self)
        return limit if room is None or room > limit else room

    def _send(self, data: bytes) -> int:
        """Send body bytes for which there is room; return how long the frames are."""
        head, self._head = self._head, None
        size = self._answers.write_body(self, head, data)
        if self._answers.room(self) == 0:
            self.waiting.starve(True)
            self._session.starve(self)
        return size

    def offer(self) -> None:
        """Ask for a turn, where there is something to send."""
        if self.ready:
            self._session.outbox.offer(self.corr_id, self)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Pause *producer* while the caller does not read; stop it where the stream is over."""
        if not streaming:
            raise ValueError("only push producers: nobody pulls here")
        if self.waiting.has_producer:
            raise RuntimeError("a producer is registered already")
        if self.ended:
            producer.stopProducing()
            return
        self.waiting.register(cast(IPushProducer, producer))

    def unregisterProducer(self) -> None:
        """Forget the producer."""
        self.waiting.unregister()

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
        elif self.waiting or self._session.outbox.busy:
            finishing = self._finishing = Deferred()
            self._session.release_request(self)
            self.offer()
            return finishing
        else:
            self._end()
        return succeed(None)

    def answer(self, head: ResponseHead, body: bytes) -> Deferred[None]:
        """Send a whole answer: in one piece, where nothing is before it and it fits."""
        self._begin(head)
        fields = self._head
        fits = len(body) == self._owed and 0 < len(body) <= self._room(ALONE_BYTES)
        if fields is None or not fits or self._session.outbox.busy:
            self.write(body)
            return self.finish()
        self.ended = True
        self._head = None
        self._answers.write_answer(self, fields, body)
        self._leave()
        return succeed(None)

    def _end(self) -> int:
        self.ended = True
        head, self._head = self._head, None
        if head is not None:
            size = self._answers.write_head(self, head, ended=True)
        else:
            size = self._answers.write_end(self)
        self._leave()
        return size

    def fail(self, error: NodeError) -> None:
        """End the answer with *error*, now; a head that was started is sent before it if it may be."""
        if not self.answered:
            if not self._session.outbox.busy:
                self._write_head()
            self._end_with(error)
            self._answers.write_error(self, error)
            self._leave()

    def _end_with(self, error: NodeError) -> None:
        self.ended = True
        self.error, self.status = error, error.code.status

    # Turns, for the outbox

    @property
    def ready(self) -> bool:
        """Whether there is something that may be sent now.

        Neither the head nor an end is held by an empty window, unless bytes are owed before them.
        """
        if self.waiting:
            return not self.waiting.starved
        if self._finishing is not None or (self._head_due and self._head is not None):
            return True
        return self.subscription is not None and self.subscription.ready

    def take_turn(self, limit: int) -> int:
        """Send about *limit* bytes of what waits, and the end behind the last of them."""
        size, waiting = 0, self.waiting
        if waiting and not waiting.starved:
            size = self._send(waiting.take(self._room(limit)))
        if not (waiting or self.ended):
            if self._finishing is not None:
                return size + self._end()
            if self._head_due:
                # A head that waited must not wait for what its producer may be long in sending.
                size += self._write_head()
            if self.subscription is not None:
                size += self.subscription.take_turn(limit - size)
        waiting.regulate()
        return size

    def credited(self, up_to: int) -> None:
        """Take note of CREDIT for *up_to* bytes of the answer in all: there is room in the window."""
        waiting = self.waiting
        if waiting.starved and self._answers.room(self):
            if self.starving is not None:
                self.starving.stop(up_to)
                if self.ended:
                    # It was too little for too long.
                    return
            # Its producer goes on, and may have filled the window again when this returns.
            waiting.starve(False)
            self.offer()

    # The session's side

    def abort(self, error: NodeError) -> None:
        """End the stream for a reason outside its call: the call is cancelled, then *error* is sent.

        A head that waits is not sent before it: after a cancel or a breach it may not be any more.
        """
        if not self.ended:
            self._end_with(error)
            self._running.cancel()
            self._answers.write_error(self, error)
            self._leave()

    def vanish(self, error: NodeError = GONE) -> None:
        """The connection is gone, or is dropped for *error*: cancel the call, send nothing."""
        if not self.ended:
            self._end_with(error)
            self._running.cancel()
            self._leave()

    def _leave(self) -> None:
        """Let go of everything; the stream is over."""
        self._head = None
        self._session.forget(self)
        if self.subscription is not None:
            self.subscription.dismiss()
        self.waiting.close()
        finishing, self._finishing = self._finishing, None
        if finishing is not None:
            finishing.callback(None)

    def _break_length(self) -> None:
        complain(self, "body_length")
        self.fail(NodeError(ErrorCode.INTERNAL, "the body does not have the length its head says"))
        # Not now: this runs inside the call, which goes on when it returns.
        self._session.clock.callLater(0, self._running.cancel)
