"""The double keeps the promises of the real sinks."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.contracts.events import EventWindowContract
from tests.contracts.sink import Outcome, Seen, SinkContract
from tests.support.sinks import MemoryEventSink, MemorySink

OUTCOMES = {None: Outcome.OPEN, "finished": Outcome.WHOLE, "void": Outcome.VOID}


class Seeing:
    """The suite's way to a MemorySink."""

    sink: MemorySink

    def seen(self) -> Seen:
        sink = self.sink
        status = sink.head.status if sink.head is not None else None
        if sink.outcome != "failed":
            return Seen(outcome=OUTCOMES[sink.outcome], status=status, body=sink.body)
        if sink.started:
            return Seen(outcome=Outcome.VOID, status=status, body=sink.body)
        assert sink.error is not None
        code = sink.error.code
        return Seen(outcome=Outcome.FAILED, status=code.status, error=code.value)

    def pause(self) -> None:
        self.sink.pause()

    def resume(self) -> None:
        self.sink.resume()

    def disconnect(self) -> None:
        self.sink.go()


class MemorySinkTests(Seeing, SinkContract, SynchronousTestCase):
    def make_sink(self) -> MemorySink:
        self.sink = MemorySink()
        return self.sink


class MemoryEventSinkTests(Seeing, EventWindowContract, SynchronousTestCase):
    sink: MemoryEventSink

    def make_sink(self) -> MemoryEventSink:
        self.sink = MemoryEventSink()
        return self.sink

    def messages(self) -> list[bytes]:
        return self.sink.messages

    def take(self, size: int) -> None:
        self.sink.take(size)
