"""Tests for :mod:`micronode.http.body`."""

from __future__ import annotations

from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IBodyProducer
from zope.interface.verify import verifyObject

from micronode.http.body import BytesBody


class BytesBodyTests(SynchronousTestCase):
    """A body that is whole already."""

    def test_provides_the_interface(self) -> None:
        verifyObject(IBodyProducer, BytesBody(b""))

    def test_hands_over_everything_at_once_and_again(self) -> None:
        body, consumer = BytesBody(b"hello"), StringTransport()
        self.assertEqual(body.length, 5)
        for _ in range(2):
            self.assertIsNone(self.successResultOf(body.startProducing(consumer)))
            self.assertEqual(consumer.value(), b"hello")
            consumer.clear()
        body.pauseProducing()
        body.resumeProducing()
        body.stopProducing()
        self.assertEqual(consumer.value(), b"")

    def test_empty_body_writes_nothing(self) -> None:
        consumer = StringTransport()
        consumer.write = self.fail  # type: ignore[assignment]
        self.successResultOf(BytesBody(b"").startProducing(consumer))
