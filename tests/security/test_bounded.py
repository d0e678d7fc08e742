"""micronode.security.bounded: a body that may have so many bytes and no more."""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface.verify import verifyObject

from micronode.errors import ErrorCode, NodeError
from micronode.oap.upload import Upload
from micronode.security.bounded import BoundedBody
from tests.adapters.test_owner import SpyBody


class Taker:
    """A consumer that keeps what it gets."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []

    def write(self, data: bytes) -> None:
        self.pieces.append(data)


class BoundedBodyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.taken = 0
        self.upload = Upload(lambda _: None, whole=False, taken=self._take)
        self.body = BoundedBody(self.upload, 5, "small")
        self.taker = Taker()

    def _take(self, size: int) -> None:
        self.taken += size

    def start(self) -> Deferred[None]:
        return self.body.startProducing(self.taker)  # type: ignore[arg-type]

    def test_interface(self) -> None:
        verifyObject(IBodyProducer, self.body)
        self.assertIs(self.body.length, UNKNOWN_LENGTH)

    def test_as_much_as_there_may_be(self) -> None:
        self.upload.receive(b"ab")
        done = self.start()
        self.upload.receive(b"cde")
        self.assertNoResult(done)
        self.upload.end()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(b"".join(self.taker.pieces), b"abcde")
        self.successResultOf(self.upload.passed_on)

    def test_one_byte_more(self) -> None:
        done = self.start()
        self.upload.receive(b"abcde")
        self.upload.receive(b"f")
        error = self.failureResultOf(done, NodeError).value
        self.assertIs(error.code, ErrorCode.BODY_TOO_LARGE)
        self.assertIn("'small'", error.message)
        self.assertEqual(self.taker.pieces, [b"abcde"])
        self.assertTrue(self.upload.over)

    def test_what_still_comes_is_dropped(self) -> None:
        done = self.start()
        self.upload.receive(b"abcdef")
        self.upload.receive(b"ghi")
        self.upload.end()
        self.failureResultOf(done, NodeError)
        self.assertEqual((self.taker.pieces, self.upload.held, self.taken), ([], 0, 9))
        self.assertNoResult(self.upload.passed_on)

    def test_too_much_at_once(self) -> None:
        self.upload.receive(b"abcdef")
        self.upload.end()
        self.failureResultOf(self.start(), NodeError)
        self.assertEqual((self.taker.pieces, self.upload.held), ([], 0))

    def test_pauses_reach_the_body(self) -> None:
        done = self.start()
        self.body.pauseProducing()
        self.upload.receive(b"abc")
        self.assertEqual((self.taker.pieces, self.upload.held), ([], 3))
        self.body.resumeProducing()
        self.assertEqual(self.taker.pieces, [b"abc"])
        self.assertNoResult(done)

    def test_a_consumer_that_leaves(self) -> None:
        done = self.start()
        self.body.stopProducing()
        self.upload.receive(b"abcdefgh")
        self.assertEqual((self.taker.pieces, self.upload.held), ([], 0))
        self.assertNoResult(done)

    def test_cancel(self) -> None:
        done = self.start()
        done.cancel()
        self.failureResultOf(done)
        self.assertTrue(self.upload.over)

    def test_a_body_that_breaks_off(self) -> None:
        inner = SpyBody()
        done = BoundedBody(inner, 5, "x").startProducing(self.taker)  # type: ignore[arg-type]
        inner.done.errback(NodeError(ErrorCode.TIMEOUT, "it stopped coming"))
        self.assertIs(self.failureResultOf(done, NodeError).value.code, ErrorCode.TIMEOUT)
