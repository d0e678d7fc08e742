"""micronode.adapters.jsonbody."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IBodyProducer
from zope.interface.verify import verifyObject

from micronode.adapters.jsonbody import JsonBody
from tests.support.oap import SpyConsumer


class JsonBodyTests(SynchronousTestCase):
    def test_all_at_once(self) -> None:
        body, consumer = JsonBody(b"{}"), SpyConsumer()
        verifyObject(IBodyProducer, body)
        self.assertIsNone(self.successResultOf(body.startProducing(consumer)))
        for told in (body.pauseProducing, body.resumeProducing, body.stopProducing):
            told()
        self.assertEqual((consumer.data, body.length), (b"{}", 2))
