"""A caller in memory: an IResponseSink that keeps what it gets and pauses on request."""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IEventSink, IResponseSink


@implementer(IResponseSink)
class MemorySink:
    """Collects one answer.

    :ivar outcome: None, then ``finished``, ``failed``, or ``void``: finished with another length than the
        head had promised.
    :param bodiless: the answer to a HEAD, whose length is that of the object.
    :param pause_after: pause the producer at the first write that makes the body this long.
    :param hold_finish: finish()'s Deferred waits for :meth:`flush`.
    """

    def __init__(
        self, *, pause_after: int | None = None, hold_finish: bool = False, bodiless: bool = False
    ) -> None:
        self.started = False
        self.head: ResponseHead | None = None
        self.writes: list[bytes] = []
        self.outcome: str | None = None
        self.error: NodeError | None = None
        self.producer: IPushProducer | None = None
        self.registrations = 0
        self._bodiless = bodiless
        self._pause_after = pause_after
        self._flushed: Deferred[None] | None = Deferred() if hold_finish else None
        self._is_gone = False
        self._is_paused = False

    @property
    def body(self) -> bytes:
        """All body bytes so far."""
        return b"".join(self.writes)

    # IResponseSink

    def start(self, head: ResponseHead) -> None:
        """See IResponseSink."""
        if self._is_gone or self.outcome is not None:
            return
        assert not self.started, "start() was called twice"
        self.started, self.head = True, head

    def write(self, data: bytes) -> None:
        """See IResponseSink."""
        if self._is_gone or self.outcome is not None:
            return
        assert self.started, "write() before start()"
        if not data:
            return
        self.writes.append(data)
        if self._pause_after is not None and len(self.body) >= self._pause_after and self.producer:
            self._pause_after = None
            self.pause()

    def registerProducer(self, producer: IPushProducer, streaming: bool) -> None:
        """See IResponseSink."""
        assert streaming, "push producers only"
        assert self.producer is None, "two producers"
        self.registrations += 1
        if self._is_gone:
            producer.stopProducing()
            return
        self.producer = producer
        if self._is_paused:
            producer.pauseProducing()

    def unregisterProducer(self) -> None:
        """See IResponseSink."""
        self.producer = None

    def finish(self) -> Deferred[None]:
        """See IResponseSink."""
        if self._is_gone:
            return succeed(None)
        if self.outcome is None:
            assert self.started, "finish() before start()"
            assert self.producer is None, "finish() with a producer"
            length = self.head.length if self.head is not None and not self._bodiless else None
            if length in (None, len(self.body)):
                self.outcome = "finished"
            else:
                self.outcome, self.error = "void", NodeError(ErrorCode.INTERNAL, "another length")
        return succeed(None) if self._flushed is None else self._flushed

    def answer(self, head: ResponseHead, body: bytes) -> Deferred[None]:
        """See IResponseSink."""
        self.start(head)
        self.write(body)
        return self.finish()

    def fail(self, error: NodeError) -> None:
        """See IResponseSink."""
        if not self._is_gone and self.outcome is None:
            self.outcome, self.error = "failed", error

    # The caller's side

    def pause(self) -> None:
        """Read no more."""
        self._is_paused = True
        if self.producer is not None:
            self.producer.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        self._is_paused = False
        if self.producer is not None:
            self.producer.resumeProducing()

    def flush(self) -> None:
        """Let the transport take what is left."""
        assert self._flushed is not None
        self._flushed.callback(None)

    def go(self) -> None:
        """Go away, as a caller does that hangs up."""
        self._is_gone = True
        if self.outcome is None:
            self.error = NodeError(ErrorCode.CANCELLED, "the caller has gone")
        producer, self.producer = self.producer, None
        if producer is not None:
            producer.stopProducing()


@implementer(IEventSink)
class MemoryEventSink(MemorySink):
    """The same for a subscription.

    :ivar messages: what was written.
    :param window: bytes of messages that may be written beyond what the caller took.
    """

    def __init__(self, *, window: int = 131_072) -> None:
        super().__init__()
        self.messages: list[bytes] = []
        self.max_event = window // 2
        self._window = window
        self._taken = 0
        self._waiting: list[tuple[int, Deferred[None]]] = []

    @property
    def event_room(self) -> int:
        """See IEventSink."""
        if self._is_over or self._is_paused:
            return 0
        return self._window + self._taken - sum(map(len, self.messages))

    @property
    def _is_over(self) -> bool:
        return self._is_gone or self.outcome is not None

    def write_event(self, data: bytes, event_id: str = "") -> None:
        """See IEventSink."""
        if self._is_over:
            return
        if not self.started:
            raise RuntimeError("write_event() before start()")
        if not 0 < len(data) <= min(self.max_event, self.event_room):
            raise ValueError("a message of a wrong size")
        self.messages.append(data)

    def when_room(self, size: int) -> Deferred[None]:
        """See IEventSink."""
        if not 0 < size <= self.max_event:
            raise ValueError("a message of a wrong size")
        waiter: Deferred[None] = Deferred(self._forget)
        self._waiting.append((size, waiter))
        self._wake()
        return waiter

    def _forget(self, waiter: Deferred[None]) -> None:
        self._waiting = [each for each in self._waiting if each[1] is not waiter]
        self._wake()

    def _wake(self) -> None:
        while self._waiting and (self._is_over or self._waiting[0][0] <= self.event_room):
            waiter = self._waiting.pop(0)[1]
            if self._is_over:
                waiter.errback(self.error or NodeError(ErrorCode.CANCELLED, "the answer is over"))
            else:
                waiter.callback(None)

    def finish(self) -> Deferred[None]:
        """See IResponseSink."""
        finished = super().finish()
        self._wake()
        return finished

    def fail(self, error: NodeError) -> None:
        """See IResponseSink."""
        super().fail(error)
        self._wake()

    # The caller's side

    def take(self, size: int) -> None:
        """Take *size* bytes of messages."""
        self._taken += size
        self._wake()

    def resume(self) -> None:
        """Read again."""
        super().resume()
        self._wake()

    def go(self) -> None:
        """Go away."""
        super().go()
        self._wake()
