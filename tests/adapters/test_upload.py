"""micronode.adapters.upload: a request body under watch."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IConsumer
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface.verify import verifyObject

from micronode.adapters.upload import JOIN_BYTES, BodyWriter, UploadBody, WrongLengthError
from micronode.http.body import BytesBody
from tests.adapters.test_owner import SpyBody


class UploadBodyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.body = SpyBody(7)
        self.stalls: list[float] = []
        self.begun: list[None] = []
        self.upload = UploadBody(
            self.body,
            self.clock,
            5.0,
            lambda: self.stalls.append(self.clock.seconds()),
            lambda: self.begun.append(None),
        )
        self.wire = StringTransport()

    def start(self) -> Deferred[None]:
        return self.upload.startProducing(self.wire)

    def test_interface(self) -> None:
        verifyObject(IBodyProducer, self.upload)
        self.assertEqual(self.upload.length, 7)

    def test_passes_on(self) -> None:
        self.assertEqual(self.begun, [])
        done = self.start()
        self.assertEqual(self.begun, [None])
        self.body.consumer.write(b"abc")
        self.body.consumer.write(b"")
        self.assertEqual(self.wire.value(), b"abc")
        self.body.done.callback(None)
        self.assertIsNone(self.successResultOf(done))

    def test_failure_of_the_body(self) -> None:
        done = self.start()
        self.body.done.errback(ZeroDivisionError())
        self.failureResultOf(done, ZeroDivisionError)

    def test_stall(self) -> None:
        self.start()
        self.upload.pauseProducing()
        self.clock.advance(3)
        self.upload.pauseProducing()
        self.clock.advance(1.9)
        self.assertEqual(self.stalls, [])
        self.clock.advance(0.2)
        self.assertEqual(len(self.stalls), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_resume_ends_the_watch(self) -> None:
        self.start()
        self.upload.pauseProducing()
        self.upload.resumeProducing()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertEqual(self.body.events, ["start", "pause", "resume"])

    def test_end_while_paused_ends_the_watch(self) -> None:
        self.start()
        self.upload.pauseProducing()
        self.body.done.callback(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.upload.pauseProducing()
        self.upload.resumeProducing()
        self.upload.stopProducing()
        self.assertEqual(self.body.events, ["start", "pause"])

    def test_stop(self) -> None:
        done = self.start()
        self.upload.pauseProducing()
        self.upload.stopProducing()
        self.upload.stopProducing()
        self.body.consumer.write(b"late")
        self.body.done.callback(None)
        self.assertNoResult(done)
        self.assertEqual(self.wire.value(), b"")
        self.assertEqual(self.body.events, ["start", "pause", "stop"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stopped_before_it_was_started(self) -> None:
        self.upload.stopProducing()
        self.assertNoResult(self.start())
        self.assertEqual((self.body.events, self.begun), ([], []))

    def test_paused_before_it_was_started(self) -> None:
        self.upload.pauseProducing()
        self.upload.resumeProducing()
        self.assertEqual((self.body.events, self.clock.getDelayedCalls()), ([], []))

    def test_cancel(self) -> None:
        done = self.start()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.body.events, ["start", "stop"])


class BodyWriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.wire = StringTransport()
        self.writes: list[bytes] = []
        self.wire.write = self.writes.append  # type: ignore[method-assign]
        self.ended: list[Failure | None] = []

    def writer(self, body: IBodyProducer) -> BodyWriter:
        writer = BodyWriter(self.wire, b"head ", body, self.ended.append)
        verifyObject(IConsumer, writer)
        writer.start()
        return writer

    def test_body_that_is_there_leaves_with_the_head(self) -> None:
        self.writer(BytesBody(b"abc"))
        self.assertEqual((self.writes, self.ended, self.wire.producer), ([b"head abc"], [None], None))

    def test_chunks_that_are_there_leave_with_the_head(self) -> None:
        body = BytesBody(b"abc")
        body.length = UNKNOWN_LENGTH  # type: ignore[assignment]
        self.writer(body)
        self.assertEqual((self.writes, self.ended), ([b"head 3\r\nabc\r\n0\r\n\r\n"], [None]))

    def test_no_body_is_a_body(self) -> None:
        self.writer(BytesBody(b""))
        self.assertEqual((self.writes, self.ended), ([b"head "], [None]))

    def test_body_that_comes(self) -> None:
        body = SpyBody(4)
        self.writer(body)
        self.assertIs(self.wire.producer, body)
        for piece in (b"ab", b"", b"cd"):
            body.consumer.write(piece)
        body.done.callback(None)
        self.assertEqual((self.writes, self.ended), ([b"head ", b"ab", b"cd"], [None]))

    def test_little_waits_for_the_head(self) -> None:
        class Eager(SpyBody):
            def startProducing(self, consumer: IConsumer) -> Deferred[None]:
                for _ in range(3):
                    consumer.write(b"x" * JOIN_BYTES)
                return self.done

        self.writer(Eager())
        self.assertEqual([len(data) > JOIN_BYTES for data in self.writes], [True] * 3)
        self.assertTrue(self.writes[0].startswith(b"head 10000\r\n"))

    def test_stop(self) -> None:
        body = SpyBody()
        writer = self.writer(body)
        writer.stop()
        writer.stop()
        writer.write(b"late")
        body.done.callback(None)
        self.assertEqual((body.events, self.writes, self.ended), (["start", "stop"], [b"head "], []))
        self.assertIsNone(self.wire.producer)

    def test_failure_after_the_end(self) -> None:
        body = SpyBody(1)
        self.writer(body)
        body.consumer.write(b"ab")
        body.done.errback(ZeroDivisionError())
        self.assertEqual(len(self.ended), 1)
        self.assertIsNotNone(self.ended[0].check(WrongLengthError))
        self.assertEqual((self.writes, body.events), ([b"head "], ["start", "stop"]))
