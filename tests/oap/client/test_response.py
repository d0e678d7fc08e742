"""A response and its body, as a caller takes it."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.oap.client.response import OAPError, OAPResponse
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from tests.support.oap import SpyConsumer


class SpySource:
    """Records what a response wants of its connection."""

    def __init__(self) -> None:
        self.held = False
        self.given_up = 0
        self.took = 0

    def taken(self, size: int) -> None:
        self.took += size

    def hold(self) -> None:
        self.held = True

    def let_go(self) -> None:
        self.held = False

    def give_up(self) -> None:
        self.given_up += 1


class ResponseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = SpySource()
        self.response = OAPResponse(self.source, {"status": 200})
        self.consumer = SpyConsumer()

    def test_is_a_producer(self) -> None:
        verifyObject(IPushProducer, self.response)

    def test_body_is_delivered_as_it_comes(self) -> None:
        self.response.receive(b"before ")
        delivered = self.response.deliver(self.consumer)
        self.assertIs(self.consumer.producer, self.response)
        self.response.receive(b"after")
        self.assertNoResult(delivered)
        self.response.end(None)
        self.assertIsNone(self.successResultOf(delivered))
        self.assertEqual(self.consumer.pieces, [b"before ", b"after"])
        self.assertIsNone(self.consumer.producer)

    def test_body_that_is_whole_already(self) -> None:
        self.response.receive(b"all")
        self.response.end(None)
        self.assertEqual(self.successResultOf(self.response.read(10)), b"all")

    def test_unread_body_holds_the_connection(self) -> None:
        self.response.receive(bytes(STREAM_WINDOW_BYTES - 1))
        self.assertFalse(self.source.held)
        self.response.receive(b"x")
        self.assertTrue(self.source.held)
        self.response.deliver(self.consumer)
        self.assertFalse(self.source.held)

    def test_consumer_that_pauses_holds_it_too(self) -> None:
        delivered = self.response.deliver(self.consumer)
        self.response.pauseProducing()
        self.response.pauseProducing()
        self.assertTrue(self.source.held)
        self.response.receive(b"in flight")
        self.response.end(None)
        self.assertEqual(self.consumer.pieces, [])
        self.assertNoResult(delivered)
        self.response.resumeProducing()
        self.assertFalse(self.source.held)
        self.assertEqual(self.consumer.data, b"in flight")
        self.successResultOf(delivered)

    def test_end_of_a_paused_body_lets_go(self) -> None:
        delivered = self.response.deliver(self.consumer)
        self.response.pauseProducing()
        self.response.end(None)
        self.successResultOf(delivered)
        self.assertFalse(self.source.held)

    def test_error_voids_the_body(self) -> None:
        delivered = self.response.deliver(self.consumer)
        self.response.receive(b"part")
        self.response.pauseProducing()
        self.response.receive(b"more")
        self.response.end(OAPError(502, "bad_gateway", "cut short"))
        self.assertEqual(self.failureResultOf(delivered, OAPError).value.code, 502)
        self.assertEqual(self.consumer.data, b"part")
        self.assertFalse(self.source.held)
        self.assertEqual(self.source.given_up, 0)

    def test_error_waits_for_who_asks(self) -> None:
        self.response.end(OAPError(502, "bad_gateway", "cut short"))
        self.failureResultOf(self.response.read(10), OAPError)

    def test_more_than_asked_for_is_given_up(self) -> None:
        read = self.response.read(5)
        self.response.receive(b"123456")
        self.assertEqual(self.failureResultOf(read, OAPError).value.name, "body_too_large")
        self.assertEqual(self.source.given_up, 1)
        self.response.receive(b"late")
        self.response.end(None)

    def test_more_than_asked_for_all_at_once(self) -> None:
        self.response.receive(b"123456")
        self.response.end(None)
        self.failureResultOf(self.response.read(5), OAPError)

    def test_cancelled_delivery_cancels_the_call(self) -> None:
        delivered = self.response.deliver(self.consumer)
        self.response.pauseProducing()
        delivered.cancel()
        self.failureResultOf(delivered, CancelledError)
        self.assertEqual((self.source.given_up, self.source.held), (1, False))
        self.assertIsNone(self.consumer.producer)

    def test_consumer_that_has_gone(self) -> None:
        delivered = self.response.deliver(self.consumer)
        self.response.stopProducing()
        self.assertEqual(self.failureResultOf(delivered, OAPError).value.name, "cancelled")
        self.assertEqual(self.source.given_up, 1)

    def test_abort_without_delivery(self) -> None:
        self.response.receive(bytes(STREAM_WINDOW_BYTES))
        self.response.abort()
        self.assertEqual((self.source.given_up, self.source.held), (1, False))
        self.response.receive(b"late")
        self.response.abort()
        self.assertEqual(self.source.given_up, 1)

    def test_what_is_held_is_reported_when_it_goes(self) -> None:
        self.response.receive(b"12345")
        self.assertEqual((self.source.took, self.response.held), (0, 5))
        self.response.deliver(self.consumer)
        self.assertEqual((self.source.took, self.response.held), (5, 0))
        self.response.receive(b"678")
        self.assertEqual(self.source.took, 8)
        self.response.pauseProducing()
        self.response.receive(b"9")
        self.assertEqual((self.source.took, self.response.held), (8, 1))

    def test_taken_piece_by_piece(self) -> None:
        self.response.receive(b"12345")
        self.assertEqual(self.successResultOf(self.response.take(3)), b"123")
        self.assertEqual(self.successResultOf(self.response.take(3)), b"45")
        self.assertEqual(self.source.took, 5)
        waiting = self.response.take(3)
        self.assertRaises(RuntimeError, self.response.take, 1)
        self.response.receive(b"")
        self.assertNoResult(waiting)
        self.response.receive(b"6789")
        self.assertEqual(self.successResultOf(waiting), b"678")
        self.response.end(None)
        self.assertEqual(self.successResultOf(self.response.take(3)), b"9")
        self.assertEqual(self.successResultOf(self.response.take(3)), b"")
        self.assertRaises(RuntimeError, self.response.deliver, self.consumer)

    def test_end_while_a_piece_is_waited_for(self) -> None:
        waiting = self.response.take(1)
        self.response.end(None)
        self.assertEqual(self.successResultOf(waiting), b"")

    def test_error_while_a_piece_is_waited_for(self) -> None:
        waiting = self.response.take(1)
        self.response.end(OAPError(502, "bad_gateway", "cut short"))
        self.failureResultOf(waiting, OAPError)
        self.failureResultOf(self.response.take(1), OAPError)

    def test_cancelled_piece_cancels_the_call(self) -> None:
        waiting = self.response.take(1)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.source.given_up, 1)
        self.assertEqual(self.failureResultOf(self.response.take(1), OAPError).value.name, "cancelled")

    def test_abort_while_a_piece_is_waited_for(self) -> None:
        waiting = self.response.take(1)
        self.response.abort()
        self.failureResultOf(waiting, OAPError)

    def test_abort_of_a_body_that_was_whole_voids_what_was_not_taken(self) -> None:
        self.response.receive(b"rest")
        self.response.end(None)
        self.response.abort()
        self.failureResultOf(self.response.take(1), OAPError)
        self.assertEqual(self.source.given_up, 0)

    def test_taking_lets_the_connection_go_on(self) -> None:
        self.response.receive(bytes(STREAM_WINDOW_BYTES))
        self.assertTrue(self.source.held)
        self.successResultOf(self.response.take(1))
        self.assertFalse(self.source.held)

    def test_delivered_once(self) -> None:
        self.response.deliver(self.consumer)
        self.assertRaises(RuntimeError, self.response.read, 1)
