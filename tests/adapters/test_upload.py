"""micronode.adapters.upload: a request body under watch."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IBodyProducer
from zope.interface.verify import verifyObject

from micronode.adapters.upload import UploadBody
from tests.adapters.test_owner import SpyBody


class UploadBodyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.body = SpyBody(7)
        self.stalls: list[float] = []
        self.upload = UploadBody(self.body, self.clock, 5.0, lambda: self.stalls.append(self.clock.seconds()))
        self.wire = StringTransport()

    def start(self) -> Deferred[None]:
        return self.upload.startProducing(self.wire)

    def test_interface(self) -> None:
        verifyObject(IBodyProducer, self.upload)
        self.assertEqual(self.upload.length, 7)

    def test_passes_on(self) -> None:
        done = self.start()
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
        self.assertEqual(self.body.events, [])

    def test_paused_before_it_was_started(self) -> None:
        self.upload.pauseProducing()
        self.upload.resumeProducing()
        self.assertEqual((self.body.events, self.clock.getDelayedCalls()), ([], []))

    def test_cancel(self) -> None:
        done = self.start()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.body.events, ["start", "stop"])
