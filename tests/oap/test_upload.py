"""A request body on its way to the owner."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface.verify import verifyObject

from micronode.oap.upload import Upload
from tests.support.oap import SpyConsumer


class UploadTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.total = 0
        self.upload = Upload(self.changed, whole=False)
        self.consumer = SpyConsumer()

    def changed(self, difference: int) -> None:
        self.total += difference
        self.assertEqual(self.total, self.upload.held)

    def test_interface(self) -> None:
        verifyObject(IBodyProducer, self.upload)
        self.assertIs(self.upload.length, UNKNOWN_LENGTH)

    def test_has_a_length_where_it_is_settled_when_it_is_whole(self) -> None:
        self.upload.receive(b"on")
        self.upload.settle()
        self.assertIs(self.upload.length, UNKNOWN_LENGTH)
        self.upload.receive(b"e")
        self.upload.end()
        self.assertIs(self.upload.length, UNKNOWN_LENGTH)
        self.upload.settle()
        self.assertEqual(self.upload.length, 3)
        self.successResultOf(self.upload.startProducing(self.consumer))
        self.assertEqual((self.consumer.data, self.upload.length), (b"one", 3))

    def test_passes_chunks_on_as_they_come(self) -> None:
        done = self.upload.startProducing(self.consumer)
        self.upload.receive(b"one")
        self.upload.receive(b"")
        self.upload.receive(b"two")
        self.assertEqual(self.consumer.pieces, [b"one", b"two"])
        self.assertNoResult(done)
        self.assertNoResult(self.upload.passed_on)
        self.upload.end()
        self.assertIsNone(self.successResultOf(done))
        self.assertIsNone(self.successResultOf(self.upload.passed_on))

    def test_holds_what_came_before(self) -> None:
        self.upload.receive(b"one")
        self.upload.receive(b"two")
        self.upload.end()
        self.assertEqual((self.upload.held, self.total), (6, 6))
        self.assertNoResult(self.upload.passed_on)
        self.successResultOf(self.upload.startProducing(self.consumer))
        self.assertEqual((self.consumer.pieces, self.total), ([b"onetwo"], 0))

    def test_holds_while_paused(self) -> None:
        done = self.upload.startProducing(self.consumer)
        self.upload.pauseProducing()
        self.upload.receive(b"held")
        self.upload.end()
        self.assertNoResult(done)
        self.assertEqual(self.consumer.data, b"")
        self.upload.resumeProducing()
        self.successResultOf(done)
        self.assertEqual((self.consumer.data, self.total), (b"held", 0))

    def test_whole_while_paused_with_nothing_left(self) -> None:
        done = self.upload.startProducing(self.consumer)
        self.upload.receive(b"all")
        self.upload.pauseProducing()
        self.upload.end()
        self.successResultOf(done)

    def test_consumer_that_has_gone_gets_no_more(self) -> None:
        done = self.upload.startProducing(self.consumer)
        self.upload.pauseProducing()
        self.upload.receive(b"held")
        self.upload.stopProducing()
        self.upload.receive(b"late")
        self.upload.resumeProducing()
        self.upload.end()
        self.assertNoResult(done)
        self.assertEqual((self.consumer.data, self.total), (b"", 0))

    def test_abandoned_body_is_dropped_and_never_called_whole(self) -> None:
        done = self.upload.startProducing(self.consumer)
        self.upload.pauseProducing()
        self.upload.receive(b"held")
        self.upload.abandon()
        self.upload.resumeProducing()
        self.upload.end()
        self.assertEqual((self.consumer.data, self.total), (b"", 0))
        self.assertNoResult(done)
        self.assertNoResult(self.upload.passed_on)
        # Who comes too late waits for ever, until he cancels.
        late = self.upload.startProducing(self.consumer)
        self.assertNoResult(late)

    def test_cancelling_stops_it(self) -> None:
        done = self.upload.startProducing(self.consumer)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.upload.receive(b"late")
        self.assertEqual((self.consumer.data, self.total), (b"", 0))

    def test_starts_once(self) -> None:
        self.upload.startProducing(self.consumer)
        self.assertRaises(RuntimeError, self.upload.startProducing, SpyConsumer())

    def test_none_at_all(self) -> None:
        upload = Upload(self.fail, whole=True)
        self.assertEqual(upload.length, 0)
        self.successResultOf(upload.startProducing(self.consumer))
        self.assertEqual(self.consumer.pieces, [])

    def test_consumer_may_pause_in_the_middle_of_a_write(self) -> None:
        upload = self.upload

        class Small(SpyConsumer):
            def write(self, data: bytes) -> None:
                super().write(data)
                upload.pauseProducing()

        consumer = Small()
        upload.startProducing(consumer)
        upload.receive(b"one")
        upload.receive(b"two")
        self.assertEqual((consumer.pieces, upload.held), ([b"one"], 3))
        upload.resumeProducing()
        self.assertEqual((consumer.pieces, upload.held), ([b"one", b"two"], 0))
