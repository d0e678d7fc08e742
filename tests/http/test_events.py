"""Tests for :mod:`micronode.http.events`: what every event sink promises, and how it looks to EventSource."""

from __future__ import annotations

import json
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.calls.operations import Argument, OperationTable
from tests.contracts.events import EventSinkContract
from tests.contracts.sink import Outcome, Seen
from tests.http.support import (
    Answer,
    Plane,
    StubDispatcher,
    get,
    operation,
    read_answers,
)
from tests.support.eventsource import EventReader

JSON = ResponseHead(content_type="application/json")
EVENTS = get("/app/feed/jobs/events", "X-Request-ID: r-1")


def subscribing() -> StubDispatcher:
    """Return a dispatcher whose table has a subscription, too."""
    dispatcher = StubDispatcher()
    arguments = (
        Argument(name="key", required=True),
        Argument(name="last_event_id", header="last-event-id", max_length=1024),
    )
    events = operation(
        "feed.subscribe", "GET", "/app/feed/{key}/events", "subscribe", arguments=arguments, subscribes=True
    )
    dispatcher.table = OperationTable([*dispatcher.table, events])
    return dispatcher


@attrs.define
class Stream:
    """What a caller has got of an answer, up to now."""

    #: Its head; None: not yet.
    head: Answer | None
    #: Its body, and whether it ended as its framing says an end looks.
    body: bytes
    whole: bool
    #: What came behind it.
    behind: bytes

    @property
    def events(self) -> EventReader:
        """The body as EventSource reads it."""
        reader = EventReader()
        reader.feed(self.body)
        return reader


def read_stream(raw: bytes, *, closed: bool = False) -> Stream:
    """Read the first answer of *raw*, which need not be whole; :param closed: whether more may come."""
    head, separator, rest = raw.partition(b"\r\n\r\n")
    if not separator:
        return Stream(None, b"", False, raw)
    plain = head.replace(b"Transfer-Encoding", b"X-Was").replace(b"Content-Length", b"X-Length")
    (answer,) = read_answers(plain + separator)
    if "x-length" in answer.fields:
        length = int(answer.fields["x-length"])
        return Stream(answer, rest[:length], len(rest) >= length, rest[length:])
    if "x-was" not in answer.fields:
        return Stream(answer, rest, closed, b"")
    body = b""
    while True:
        size, separator, after = rest.partition(b"\r\n")
        count = int(size, 16) if separator else -1
        if count < 0 or len(after) < count + 2:
            return Stream(answer, body, False, rest)
        assert after[count : count + 2] == b"\r\n", after[:40]
        body, rest = body + after[:count], after[count + 2 :]
        if not count:
            return Stream(answer, body, True, rest)


class EventSinkContractTests(EventSinkContract, SynchronousTestCase):
    """The suite that every event sink passes."""

    def make_sink(self) -> Any:
        dispatcher = subscribing()
        self.connection = Plane(dispatcher).connect().send(EVENTS)
        return dispatcher.sinks[0]

    def seen(self) -> Seen:
        raw = self.connection.transport.value()
        if not raw:
            return Seen(outcome=Outcome.OPEN)
        if self.connection.aborted:
            return Seen(outcome=Outcome.VOID)
        stream = read_stream(raw)
        assert stream.head is not None
        status, events = stream.head.status, stream.events.events
        if not stream.whole:
            return Seen(outcome=Outcome.OPEN)
        if events and events[-1].type == "error":
            return Seen(outcome=Outcome.VOID)
        if status >= 400:
            return Seen(outcome=Outcome.FAILED, status=status, error=json.loads(stream.body)["code"])
        return Seen(outcome=Outcome.WHOLE, status=status, body=b"" if events else stream.body)

    def messages(self) -> list[bytes]:
        return [each.encode() for each in read_stream(self.connection.transport.value()).events.messages]

    def take(self, size: int) -> None:
        self.connection.plane.clock.advance(0)

    def pause(self) -> None:
        self.connection.transport.fill()

    def resume(self) -> None:
        self.connection.transport.drain()

    def disconnect(self) -> None:
        self.connection.lose()
