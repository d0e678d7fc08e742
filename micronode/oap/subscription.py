"""The answer of a subscribing operation: a stream's sink, and messages beside the body.

A message is only taken when both the window and the stream's turn at the connection let it out at once: none
waits here, so that there is nothing to hand back to the owner but what the caller has got. Who waits for
room has the stream ask for its turn, and writes in it. ``specs/oap-1.md`` section 3, "Subscriptions".
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProducer
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.concurrency.memory import UNDERWAY_BYTES
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IEventSink

if TYPE_CHECKING:
    from micronode.oap.session import Session
    from micronode.oap.stream import Stream

_OVER = NodeError(ErrorCode.CANCELLED, "the answer is over")


@implementer(IEventSink)
class Subscription:
    """What a subscribing operation answers through.

    :param stream: what carries it; it is told of this.
    :param whole: whether the request ended with its START; else :meth:`asked` says when it did.
    """

    def __init__(self, stream: Stream, session: Session, *, whole: bool) -> None:
        self._stream = stream
        self._session = session
        self._whole = whole
        #: In the stream's turn, how many bytes of it are left.
        self._left = 0
        #: Who waits for room, and for how much.
        self._waiting: deque[tuple[int, Deferred[None]]] = deque()
        #: What its messages are charged as that are under way.
        self._charged = UNDERWAY_BYTES
        session.outbox.buffers.add(UNDERWAY_BYTES)
        stream.subscription = self

    # IEventSink

    @property
    def max_event(self) -> int:
        """See :class:`~micronode.interfaces.IEventSink`."""
        return self._session.answers.max_event

    @property
    def event_room(self) -> int:
        """See :class:`~micronode.interfaces.IEventSink`."""
        outbox = self._session.outbox
        if outbox.busy and (self._left <= 0 or outbox.full):
            return 0
        return self._window

    @property
    def _window(self) -> int:
        """What the window has room for."""
        if self._stream.answered or not self._whole:
            return 0
        return self._session.answers.room(self._stream) or 0

    def write_event(self, data: bytes, event_id: str = "") -> None:
        """See :class:`~micronode.interfaces.IEventSink`; an EVENT has no place for *event_id*."""
        stream = self._stream
        if stream.answered:
            return
        if not stream.started:
            raise RuntimeError("write_event() before start()")
        size = self._fitting(len(data))
        if size > self.event_room:
            raise ValueError(f"a message of {size} bytes, where there is room for {self.event_room}")
        self._left -= stream.write_event(data)

    def when_room(self, size: int) -> Deferred[None]:
        """See :class:`~micronode.interfaces.IEventSink`."""
        size = self._fitting(size)
        if self._stream.answered:
            return fail(self._stream.error or _OVER)
        if size <= self.event_room and not self._waiting:
            return succeed(None)
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append((size, waiter))
        self._stream.offer()
        return waiter

    def _fitting(self, size: int) -> int:
        if not 0 < size <= self.max_event:
            raise ValueError(f"a message of {size} bytes, where 1 to {self.max_event} may be")
        return size

    def _forget(self, waiter: Deferred[None]) -> None:
        self._waiting = deque(each for each in self._waiting if each[1] is not waiter)
        # It may have been in the way of others.
        self.credited()

    # IResponseSink

    @property
    def started(self) -> bool:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        return self._stream.started

    @property
    def error(self) -> NodeError | None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        return self._stream.error

    def start(self, head: ResponseHead) -> None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        self._stream.start(head)

    def write(self, data: bytes) -> None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        self._stream.write(data)

    def finish(self) -> Deferred[None]:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        finished = self._stream.finish()
        self.dismiss()
        return finished

    def answer(self, head: ResponseHead, body: bytes) -> Deferred[None]:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        self.start(head)
        self.write(body)
        return self.finish()

    def fail(self, error: NodeError) -> None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        self._stream.fail(error)

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        self._stream.registerProducer(producer, streaming)

    def unregisterProducer(self) -> None:
        """See :class:`~micronode.interfaces.IResponseSink`."""
        self._stream.unregisterProducer()

    # The session's and the stream's side

    def asked(self) -> None:
        """Note that the request is whole: messages may be sent from now on."""
        self._whole = True
        self._stream.offer()

    def credited(self) -> None:
        """Let those write who wait for room, in the stream's turn."""
        self._stream.offer()

    @property
    def ready(self) -> bool:
        """Whether somebody waits for his turn, and for nothing else."""
        return bool(self._waiting) and self._waiting[0][0] <= self._window

    def take_turn(self, limit: int) -> int:
        """Let those write who wait, about *limit* bytes; return how many were."""
        self._left = limit
        while self.ready and self.event_room:
            self._waiting.popleft()[1].callback(None)
        sent, self._left = limit - self._left, 0
        return sent

    def dismiss(self) -> None:
        """Tell those who wait that there will be no room any more."""
        charged, self._charged = self._charged, 0
        if charged:
            self._session.outbox.buffers.add(-charged)
        while self._waiting:
            self._waiting.popleft()[1].errback(self._stream.error or _OVER)
