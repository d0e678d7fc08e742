"""micronode.adapters.response: an answer as Twisted's users know it."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import ResponseFailed
from twisted.web.iweb import UNKNOWN_LENGTH, IResponse
from zope.interface.verify import verifyObject

from micronode.adapters.answerhead import read_answer_head
from micronode.adapters.response import DONE, OwnerResponse
from tests.adapters.test_connection import SpyReader

HEAD = b"HTTP/1.1 201 Made\r\nX-Thing: one\r\nX-Thing: two\r\nContent-Length: 4\r\n\r\n"


class SpySource:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[object] = []

    def read_more(self, response: OwnerResponse, reading: bool) -> None:
        self.told.append(reading)

    def abort(self, response: OwnerResponse) -> None:
        self.told.append("abort")


class OwnerResponseTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = SpySource()
        self.response = OwnerResponse(read_answer_head(HEAD, to_head=False), self.source)

    def test_interfaces(self) -> None:
        verifyObject(IResponse, self.response)
        verifyObject(IPushProducer, self.response)

    def test_head(self) -> None:
        answer = self.response
        self.assertEqual((answer.code, answer.phrase, answer.version), (201, b"Made", (b"HTTP", 1, 1)))
        self.assertEqual(list(answer.headers.getAllRawHeaders()), [(b"X-Thing", [b"one", b"two"])])
        self.assertIs(answer.headers, answer.headers)
        self.assertEqual(answer.head.fields, [(b"x-thing", b"one"), (b"x-thing", b"two")])
        self.assertEqual(answer.length, 4)
        raw = b"HTTP/1.1 200 OK\r\n\r\n"
        self.assertIs(OwnerResponse(read_answer_head(raw, to_head=False), self.source).length, UNKNOWN_LENGTH)
        answer.setPreviousResponse(answer)
        self.assertIs(answer.previousResponse, answer)

    def test_held_until_somebody_takes_it(self) -> None:
        self.response.take(b"ab")
        self.response.take(b"cd")
        self.assertFalse(self.response.wanted)
        self.response.end(DONE)
        reader = SpyReader()
        self.response.deliverBody(reader)
        self.assertEqual((reader.body, reader.reason), (b"abcd", DONE))
        # It is over, so nothing is to be read for it.
        self.assertEqual(self.source.told, [])

    def test_whole(self) -> None:
        """It is given out once, when all of it is here, and not where it is longer than somebody wants."""
        self.response.take(b"abcd")
        self.assertIsNone(self.response.whole(4), "more may come")
        self.response.end(DONE)
        self.assertIsNone(self.response.whole(3))
        self.assertEqual(self.response.whole(4), b"abcd")
        self.assertIsNone(self.response.whole(4))
        with self.assertRaises(RuntimeError):
            self.response.deliverBody(SpyReader())

    def test_cut_is_not_whole(self) -> None:
        self.response.take(b"ab")
        self.response.end(Failure(ResponseFailed([])))
        self.assertIsNone(self.response.whole(4))

    def test_pace(self) -> None:
        reader = SpyReader()
        self.response.deliverBody(reader)
        self.assertTrue(self.response.wanted)
        for _ in range(2):
            self.response.pauseProducing()
        self.assertFalse(self.response.wanted)
        for _ in range(2):
            self.response.resumeProducing()
        self.response.stopProducing()
        self.response.loseConnection()
        self.response.abortConnection()
        self.assertEqual(self.source.told, [True, False, True, "abort", "abort", "abort"])

    def test_paused_while_it_is_delivered(self) -> None:
        class Pausing(SpyReader):
            def dataReceived(self, data: bytes) -> None:
                self.transport.pauseProducing()

        self.response.take(b"ab")
        self.response.deliverBody(Pausing())
        self.assertEqual(self.source.told, [False, False])
