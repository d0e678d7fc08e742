"""micronode.facets.hashing: a body that is hashed on its way."""

from __future__ import annotations

from blake3 import blake3
from twisted.internet.interfaces import IConsumer
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IBodyProducer
from zope.interface.verify import verifyObject

from micronode.facets.hashing import HashedBody
from tests.adapters.test_owner import SpyBody


class HashedBodyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.inner = SpyBody(7)
        self.body = HashedBody(self.inner)
        self.wire = StringTransport()

    def test_interfaces(self) -> None:
        verifyObject(IBodyProducer, self.body)
        verifyObject(IConsumer, self.body)
        self.assertEqual(self.body.length, 7)

    def test_passes_on_and_hashes(self) -> None:
        sending = self.body.startProducing(self.wire)
        for piece in (b"abc", b"", b"defg"):
            self.inner.consumer.write(piece)
        self.assertNoResult(sending)
        self.inner.done.callback(None)
        self.successResultOf(sending)
        self.assertEqual(self.wire.value(), b"abcdefg")
        self.assertEqual(self.body.digest(), blake3(b"abcdefg").digest())

    def test_started_again(self) -> None:
        for _ in range(2):
            self.body.startProducing(self.wire)
            self.inner.consumer.write(b"abc")
        self.assertEqual(self.body.digest(), blake3(b"abc").digest())

    def test_what_it_is_told_reaches_the_body(self) -> None:
        self.body.startProducing(self.wire)
        self.body.pauseProducing()
        self.body.resumeProducing()
        self.body.stopProducing()
        self.assertEqual(self.inner.events, ["start", "pause", "resume", "stop"])

    def test_failure_of_the_body(self) -> None:
        sending = self.body.startProducing(self.wire)
        self.inner.done.errback(ZeroDivisionError())
        self.failureResultOf(sending, ZeroDivisionError)

    def test_no_body(self) -> None:
        body = HashedBody(None)
        self.assertEqual(body.length, 0)
        self.successResultOf(body.startProducing(self.wire))
        body.pauseProducing()
        body.resumeProducing()
        body.stopProducing()
        self.assertEqual((self.wire.value(), body.digest()), (b"", blake3(b"").digest()))
