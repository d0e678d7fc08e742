"""What every :class:`~micronode.interfaces.IResponseSink` promises, whichever wire is behind it.

Mix :class:`SinkContract` into a ``SynchronousTestCase`` and give it the five methods that know the wire.
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Any

import attrs
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IResponseSink


class Outcome(Enum):
    """How an answer ended, in the caller's eyes."""

    #: Not yet.
    OPEN = auto()
    #: A whole, successful answer.
    WHOLE = auto()
    #: A clean failure answer and nothing else.
    FAILED = auto()
    #: It began well and then ended in a way that nobody takes for whole.
    VOID = auto()


@attrs.frozen(kw_only=True)
class Seen:
    """What has reached the caller."""

    outcome: Outcome
    #: Status of the head; None: there was none.
    status: int | None = None
    body: bytes = b""
    #: Name of the error of a FAILED answer.
    error: str | None = None


@implementer(IPushProducer)
class SpyProducer:
    """Records what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def resumeProducing(self) -> None:
        self.told.append("resume")

    def stopProducing(self) -> None:
        self.told.append("stop")


BUSY = NodeError(ErrorCode.BUSY, "all slots are taken")
TIMEOUT = NodeError(ErrorCode.OWNER_TIMEOUT, "the owner stalled")


class SinkContract:
    """The conformance suite; ``self`` is also a ``SynchronousTestCase``."""

    # To be provided.

    def make_sink(self) -> Any:
        """Return the sink of a fresh call whose caller reads (called once a test)."""
        raise NotImplementedError

    def seen(self) -> Seen:
        """Return what has reached the caller of that sink, all of it from the beginning."""
        raise NotImplementedError

    def pause(self) -> None:
        """Let the caller stop reading, until the sink must notice."""
        raise NotImplementedError

    def resume(self) -> None:
        """Let the caller read again, until the sink must notice."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Let the caller vanish."""
        raise NotImplementedError

    # The suite.

    def assert_error(self, sink: Any, code: ErrorCode | None) -> None:
        """Assert how *sink* says that it ended."""
        self.assertIs(None if sink.error is None else sink.error.code, code)  # type: ignore[attr-defined]

    def test_provides_the_interface(self) -> None:
        verifyObject(IResponseSink, self.make_sink())

    def test_whole_answer_arrives(self) -> None:
        sink = self.make_sink()
        self.assertFalse(sink.started)
        sink.start(ResponseHead(status=201, content_type="text/plain", length=6))
        self.assertTrue(sink.started)
        sink.write(b"abc")
        sink.write(b"")
        self.assertIs(self.seen().outcome, Outcome.OPEN)
        sink.write(b"def")
        self.assertIsNone(self.successResultOf(sink.finish()))
        self.assertEqual(self.seen(), Seen(outcome=Outcome.WHOLE, status=201, body=b"abcdef"))
        self.assert_error(sink, None)

    def test_length_need_not_be_known(self) -> None:
        sink = self.make_sink()
        sink.start(ResponseHead())
        sink.write(b"abc")
        sink.write(b"def")
        self.successResultOf(sink.finish())
        self.assertEqual(self.seen(), Seen(outcome=Outcome.WHOLE, status=200, body=b"abcdef"))

    def test_answer_without_body(self) -> None:
        sink = self.make_sink()
        sink.start(ResponseHead(length=0))
        self.successResultOf(sink.finish())
        self.assertEqual(self.seen(), Seen(outcome=Outcome.WHOLE, status=200))

    def test_whole_answer_in_one_piece(self) -> None:
        for head, body in (
            (ResponseHead(status=201, content_type="text/plain", length=6), b"abcdef"),
            (ResponseHead(), b"abcdef"),
            (ResponseHead(length=0), b""),
            (ResponseHead(length=50_000), b"x" * 50_000),
        ):
            with self.subTest(head=head):  # type: ignore[attr-defined]
                sink = self.make_sink()
                self.successResultOf(sink.answer(head, body))
                self.assertEqual(self.seen(), Seen(outcome=Outcome.WHOLE, status=head.status, body=body))
                self.assert_error(sink, None)
                sink.fail(TIMEOUT)
                self.assertIs(self.seen().outcome, Outcome.WHOLE)

    def test_answer_of_another_length_is_void(self) -> None:
        for body in (b"ab", b"abcd"):
            with self.subTest(body=body):  # type: ignore[attr-defined]
                sink = self.make_sink()
                self.successResultOf(sink.answer(ResponseHead(length=3), body))
                self.assertIs(self.seen().outcome, Outcome.VOID)
                self.assert_error(sink, ErrorCode.INTERNAL)
        self.flush_expected_errors()

    def test_fail_before_start_is_a_clean_failure(self) -> None:
        sink = self.make_sink()
        sink.fail(BUSY)
        seen = self.seen()
        self.assertIs(seen.outcome, Outcome.FAILED)
        self.assertEqual((seen.status, seen.error), (429, "busy"))
        self.assert_error(sink, ErrorCode.BUSY)

    def test_fail_after_start_voids_the_body(self) -> None:
        for chunk in (b"", b"part"):
            with self.subTest(chunk=chunk):  # type: ignore[attr-defined]
                sink = self.make_sink()
                sink.start(ResponseHead(length=100))
                sink.write(chunk)
                sink.fail(TIMEOUT)
                self.assertIs(self.seen().outcome, Outcome.VOID)

    def test_fail_voids_a_body_of_unknown_length(self) -> None:
        sink = self.make_sink()
        sink.start(ResponseHead())
        sink.write(b"part")
        sink.fail(TIMEOUT)
        self.assertIs(self.seen().outcome, Outcome.VOID)

    def test_only_the_first_end_counts(self) -> None:
        sink = self.make_sink()
        sink.start(ResponseHead(length=2))
        sink.write(b"ok")
        self.successResultOf(sink.finish())
        whole = self.seen()
        sink.write(b"more")
        sink.fail(TIMEOUT)
        self.successResultOf(sink.finish())
        self.assertEqual(self.seen(), whole)

    def test_nothing_follows_a_failure(self) -> None:
        sink = self.make_sink()
        sink.fail(BUSY)
        failed = self.seen()
        sink.start(ResponseHead(length=2))
        sink.write(b"ok")
        self.successResultOf(sink.finish())
        sink.fail(TIMEOUT)
        self.assertEqual(self.seen(), failed)

    def test_body_longer_than_promised_is_void(self) -> None:
        sink = self.make_sink()
        sink.start(ResponseHead(length=3))
        sink.write(b"abc")
        sink.write(b"d")
        self.successResultOf(sink.finish())
        self.assertIs(self.seen().outcome, Outcome.VOID)
        self.assert_error(sink, ErrorCode.INTERNAL)
        self.flush_expected_errors()

    def test_body_shorter_than_promised_is_void(self) -> None:
        sink = self.make_sink()
        sink.start(ResponseHead(length=3))
        sink.write(b"ab")
        self.successResultOf(sink.finish())
        self.assertIs(self.seen().outcome, Outcome.VOID)
        self.assert_error(sink, ErrorCode.INTERNAL)
        self.flush_expected_errors()

    def flush_expected_errors(self) -> None:
        """Forget errors that an implementation logs about a defect of its caller."""

    def test_caller_that_stops_reading_pauses_the_producer(self) -> None:
        sink, producer = self.make_sink(), SpyProducer()
        sink.start(ResponseHead())
        sink.registerProducer(producer, True)
        self.pause()
        self.assertEqual(producer.told, ["pause"])
        self.resume()
        self.assertEqual(producer.told, ["pause", "resume"])
        sink.unregisterProducer()
        self.pause()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_producer_registered_while_nobody_reads_is_paused_at_once(self) -> None:
        sink, producer = self.make_sink(), SpyProducer()
        sink.start(ResponseHead())
        self.pause()
        sink.registerProducer(producer, True)
        self.assertEqual(producer.told, ["pause"])

    def test_unregistering_nothing_is_harmless(self) -> None:
        sink = self.make_sink()
        sink.unregisterProducer()
        sink.start(ResponseHead(length=0))
        sink.unregisterProducer()
        self.successResultOf(sink.finish())
        sink.unregisterProducer()
        self.assertIs(self.seen().outcome, Outcome.WHOLE)

    def test_producer_of_a_caller_that_has_gone_is_stopped(self) -> None:
        sink, producer = self.make_sink(), SpyProducer()
        sink.start(ResponseHead())
        self.disconnect()
        sink.registerProducer(producer, True)
        self.assertEqual(producer.told, ["stop"])
        sink.unregisterProducer()

    def test_all_is_harmless_after_the_caller_has_gone(self) -> None:
        sink = self.make_sink()
        self.disconnect()
        before = self.seen()
        sink.start(ResponseHead(length=2))
        sink.write(b"ok and more")
        sink.unregisterProducer()
        self.assertIsNone(self.successResultOf(sink.finish()))
        sink.fail(TIMEOUT)
        self.assertEqual(self.seen(), before)
        self.assert_error(sink, ErrorCode.CANCELLED)

    def test_whole_answer_to_a_caller_that_has_gone(self) -> None:
        sink = self.make_sink()
        self.disconnect()
        before = self.seen()
        self.assertIsNone(self.successResultOf(sink.answer(ResponseHead(length=2), b"ok")))
        self.assertEqual(self.seen(), before)
        self.assert_error(sink, ErrorCode.CANCELLED)

    def test_caller_may_go_in_the_middle(self) -> None:
        sink = self.make_sink()
        sink.start(ResponseHead(length=100))
        sink.write(b"ok")
        self.disconnect()
        before = self.seen()
        sink.write(b"more")
        sink.fail(TIMEOUT)
        self.assertIsNone(self.successResultOf(sink.finish()))
        self.assertEqual(self.seen(), before)
