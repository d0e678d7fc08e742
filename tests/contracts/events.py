"""What every :class:`~micronode.interfaces.IEventSink` promises beside what any sink does.

Mix :class:`EventSinkContract` into a ``SynchronousTestCase`` and give it the methods that know the wire.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IEventSink
from tests.contracts.sink import TIMEOUT, Outcome, SinkContract


class EventSinkContract(SinkContract):
    """The conformance suite; ``self`` is also a ``SynchronousTestCase``."""

    # To be provided.

    def messages(self) -> list[bytes]:
        """Return the messages that have reached the caller, from the beginning."""
        raise NotImplementedError

    def take(self, size: int) -> None:
        """Let the caller say that it has taken *size* bytes of messages more."""
        raise NotImplementedError

    # The suite.

    _taken = 0

    def take_all(self) -> None:
        """Let the caller say that it has taken all there is."""
        sent = sum(map(len, self.messages()))
        self.take(sent - self._taken)
        self._taken = sent

    def begin(self) -> Any:
        sink = self.make_sink()
        sink.start(ResponseHead(content_type="application/json"))
        return sink

    def begin_full(self) -> Any:
        """Return a begun sink without room, after writing messages as long as may be."""
        sink = self.begin()
        while sink.event_room:
            sink.write_event(bytes(min(sink.max_event, sink.event_room)))
        return sink

    def failed(self, waiting: Deferred[None]) -> ErrorCode:
        failure = self.failureResultOf(waiting, NodeError)  # type: ignore[attr-defined]
        code: ErrorCode = failure.value.code
        return code

    def test_provides_the_interface(self) -> None:
        verifyObject(IEventSink, self.make_sink())

    def test_messages_arrive_whole_and_in_order(self) -> None:
        sink = self.begin()
        sink.write_event(b'{"msg_id":"1"}')
        sink.write_event(b'{"msg_id":"2"}')
        self.assertEqual(self.messages(), [b'{"msg_id":"1"}', b'{"msg_id":"2"}'])
        self.assertIs(self.seen().outcome, Outcome.OPEN)
        self.successResultOf(sink.finish())
        self.assertIs(self.seen().outcome, Outcome.WHOLE)
        self.assertEqual(self.seen().body, b"")

    def test_failure_after_messages(self) -> None:
        sink = self.begin()
        sink.write_event(b"{}")
        sink.fail(TIMEOUT)
        self.assertIs(self.seen().outcome, Outcome.VOID)
        self.assertEqual(self.messages(), [b"{}"])

    def test_no_message_before_the_head(self) -> None:
        sink = self.make_sink()
        self.assertRaises(RuntimeError, sink.write_event, b"{}")

    def test_message_of_a_wrong_size(self) -> None:
        sink = self.begin()
        self.assertGreaterEqual(sink.event_room, sink.max_event)
        for size in (0, sink.max_event + 1):
            self.assertRaises(ValueError, sink.write_event, bytes(size))
            self.assertRaises(ValueError, sink.when_room, size)
        self.assertEqual(self.messages(), [])

    def test_room_is_what_was_not_written(self) -> None:
        sink = self.begin()
        before = sink.event_room
        sink.write_event(b"x" * 100)
        self.assertEqual(sink.event_room, before - 100)
        self.take(100)
        self.assertEqual(sink.event_room, before)

    def test_message_that_does_not_fit_is_a_defect(self) -> None:
        sink = self.begin_full()
        before = self.messages()
        self.assertRaises(ValueError, sink.write_event, b"{}")
        self.assertEqual(self.messages(), before)

    def test_no_room_while_the_caller_does_not_read(self) -> None:
        sink = self.begin()
        self.pause()
        self.assertEqual(sink.event_room, 0)
        waiting = sink.when_room(1)
        self.assertNoResult(waiting)  # type: ignore[attr-defined]
        self.resume()
        self.assertIsNone(self.successResultOf(waiting))
        self.assertGreater(sink.event_room, 0)

    def test_waiting_ends_at_once_where_there_is_room(self) -> None:
        sink = self.begin()
        self.assertIsNone(self.successResultOf(sink.when_room(sink.max_event)))

    def test_the_longest_message_fits_when_half_was_taken(self) -> None:
        """A caller may hold its word back until then."""
        sink = self.begin_full()
        waiting = sink.when_room(sink.max_event)
        self.take(sum(map(len, self.messages())) // 2)
        self.assertIsNone(self.successResultOf(waiting))

    def test_first_come_first_served(self) -> None:
        sink = self.begin_full()
        order: list[bytes] = []

        def write(_: None, message: bytes) -> None:
            order.append(message)
            sink.write_event(message)

        messages = [b"a" * sink.max_event, b"b" * 5, b"c" * 5]
        for message in messages:
            sink.when_room(len(message)).addCallback(write, message)
        self.assertEqual(order, [])
        for _ in messages:
            self.take_all()
        self.assertEqual(order, messages)

    def test_who_gives_up_waiting_is_in_nobody_s_way(self) -> None:
        sink = self.begin()
        self.pause()
        large, small = sink.when_room(20), sink.when_room(5)
        large.cancel()
        self.failureResultOf(large, CancelledError)  # type: ignore[attr-defined]
        self.assertNoResult(small)  # type: ignore[attr-defined]
        self.resume()
        self.assertIsNone(self.successResultOf(small))

    def test_waiting_fails_when_the_caller_goes(self) -> None:
        sink = self.begin_full()
        waiting = sink.when_room(1)
        self.disconnect()
        self.assertIs(self.failed(waiting), ErrorCode.CANCELLED)
        self.assertIs(self.failed(sink.when_room(1)), ErrorCode.CANCELLED)
        self.assertEqual(sink.event_room, 0)
        before = self.messages()
        sink.write_event(b"{}")
        self.assertEqual(self.messages(), before)

    def test_waiting_fails_when_the_answer_ends(self) -> None:
        sink = self.begin_full()
        waiting = sink.when_room(1)
        self.successResultOf(sink.finish())
        self.assertIs(self.failed(waiting), ErrorCode.CANCELLED)
        self.assertIs(self.failed(sink.when_room(1)), ErrorCode.CANCELLED)
        sink.write_event(b"{}")
        self.assertIs(self.seen().outcome, Outcome.WHOLE)

    def test_waiting_fails_with_what_the_answer_failed_with(self) -> None:
        sink = self.begin_full()
        waiting = sink.when_room(1)
        sink.fail(TIMEOUT)
        self.assertIs(self.failed(waiting), ErrorCode.OWNER_TIMEOUT)
        self.assertEqual(sink.event_room, 0)


class EventWindowContract(EventSinkContract):
    """Further: of a sink whose caller says how much it took, so that room is known to the byte."""

    def test_waiting_ends_when_the_message_fits(self) -> None:
        sink = self.begin_full()
        waiting = sink.when_room(10)
        self.take(9)
        self.assertNoResult(waiting)  # type: ignore[attr-defined]
        self.take(1)
        self.assertIsNone(self.successResultOf(waiting))
        sink.write_event(b"0123456789")
        self.assertEqual((self.messages()[-1], sink.event_room), (b"0123456789", 0))

    def test_first_come_first_served_to_the_byte(self) -> None:
        sink = self.begin_full()
        order: list[bytes] = []

        def write(_: None, message: bytes) -> None:
            order.append(message)
            sink.write_event(message)

        for message in (b"a" * 20, b"b" * 5, b"c" * 5):
            sink.when_room(len(message)).addCallback(write, message)
        self.take(10)
        self.assertEqual(order, [])
        self.take(15)
        self.assertEqual(order, [b"a" * 20, b"b" * 5])
        self.take(5)
        self.assertEqual(order[2:], [b"c" * 5])

    def test_waiting_may_be_given_up(self) -> None:
        sink = self.begin_full()
        large, small = sink.when_room(20), sink.when_room(5)
        self.take(5)
        self.assertNoResult(small)  # type: ignore[attr-defined]
        large.cancel()
        self.failureResultOf(large, CancelledError)  # type: ignore[attr-defined]
        self.assertIsNone(self.successResultOf(small))
