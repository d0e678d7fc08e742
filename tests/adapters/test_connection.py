"""micronode.adapters.connection: one exchange at a time, and what ends it."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import ISSLTransport, ITransport
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import (
    RequestGenerationFailed,
    RequestTransmissionFailed,
    ResponseDone,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.iweb import UNKNOWN_LENGTH, IBodyProducer
from zope.interface import directlyProvides

from micronode.adapters.answer import MAX_OWNER_HEAD_BYTES
from micronode.adapters.answerhead import MalformedAnswerError
from micronode.adapters.connection import OwnerConnection
from micronode.adapters.exchange import Exchange, root_cause
from micronode.adapters.upload import WrongLengthError
from micronode.concurrency.outgoing import Outgoing
from tests.adapters.test_owner import SpyBody
from tests.support.network import MemoryNetwork, OwnerEnd, response


class SpyKeeper:
    """Keeps what a connection tells of itself."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.outgoing = Outgoing(Clock())

    def idle(self, connection: Any) -> None:
        self.told.append("idle")

    def dropped(self, connection: Any) -> None:
        self.told.append("dropped")

    def retired(self, connection: Any) -> None:
        """That it is dropped is told already."""

    def lost(self, connection: Any) -> None:
        self.told.append("lost")


class SpyReader(Protocol):
    """Reads a body."""

    def __init__(self) -> None:
        self.body = b""
        self.ends = 0
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.body += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ends += 1
        self.reason = reason


class OwnerConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.keeper = SpyKeeper()
        self.clock = MemoryNetwork().reactor
        self.end = OwnerEnd(self.clock)
        self.connection = OwnerConnection(self.keeper)
        self.end.protocol = self.connection
        self.connection.makeConnection(self.end)
        self.written = 0

    def request(
        self, *, keep: bool = True, to_head: bool = False, body: IBodyProducer | bytes | None = None
    ) -> Exchange:
        def count() -> None:
            self.written += 1

        exchange = Exchange(b"GET /x?y HTTP/1.1\r\n\r\n", body, count, to_head=to_head, keep=keep)
        exchange.begin(self.connection)
        return exchange

    def answer(self, exchange: Exchange, data: bytes) -> SpyReader:
        """Send *data*, which has the head, and return who reads the body."""
        self.end.send(data)
        reader = SpyReader()
        self.successResultOf(exchange.head).deliverBody(reader)
        return reader

    # Exchanges, one after the other

    def test_whole_answer_makes_it_idle(self) -> None:
        for count in (1, 2):
            exchange = self.request()
            self.assertEqual((self.written, exchange.reused), (count, count > 1))
            self.end.send(response(b"abc"))
            self.assertEqual(self.successResultOf(exchange.head).code, 200)
            self.assertEqual((self.connection.requests, self.keeper.told), (count, ["idle"] * count))
        self.assertFalse(self.connection.dead)

    def test_idle_when_its_answer_is_told(self) -> None:
        """Whoever hears of the answer's end may ask again at once."""
        exchange = self.request()
        seen: list[list[str]] = []

        class Reader(SpyReader):
            def connectionLost(reader, reason: Failure = connectionDone) -> None:
                seen.append(list(self.keeper.told))

        self.end.send(response(b"ab", length=4))
        self.successResultOf(exchange.head).deliverBody(Reader())
        self.end.send(b"cd")
        exchange = self.request()
        exchange.head.addCallback(lambda _: seen.append(list(self.keeper.told)))
        self.end.send(response(b""))
        self.assertEqual(seen, [["idle"], ["idle", "idle"]])

    def test_one_write(self) -> None:
        writes: list[bytes] = []
        self.end.write = writes.append  # type: ignore[method-assign]
        self.request(body=b"abc")
        self.assertEqual(writes, [b"GET /x?y HTTP/1.1\r\n\r\nabc"])

    def test_not_kept(self) -> None:
        exchange = self.request(keep=False)
        self.end.send(response(b""))
        self.successResultOf(exchange.head)
        self.assertEqual(self.keeper.told, ["dropped"])
        self.assertTrue(self.end.disconnecting)
        self.assertFalse(self.end.aborted)

    def test_tls_is_not_waited_for(self) -> None:
        directlyProvides(self.end, ISSLTransport)
        self.request(keep=False)
        self.end.send(response(b""))
        self.assertTrue(self.end.aborted)

    def test_bytes_nobody_asked_for(self) -> None:
        self.end.send(b"H")
        self.assertTrue(self.end.aborted)
        self.assertEqual(self.keeper.told, ["dropped"])
        self.connection.dataReceived(b"TTP/1.1")
        self.clock.advance(0)
        self.assertEqual(self.keeper.told, ["dropped", "lost"])

    def test_request_of_a_dead_one(self) -> None:
        self.end.hang_up()
        self.failureResultOf(self.request().head, ResponseNeverReceived)
        self.assertEqual(self.end.heard(), b"")

    # Heads

    def test_head_of_just_the_bound(self) -> None:
        for extra in (0, 1):
            self.setUp()
            exchange = self.request()
            start, end = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: ", b"\r\n\r\n"
            filler = b"y" * (MAX_OWNER_HEAD_BYTES - len(start) - len(end) + extra)
            for piece in (start, filler, end):
                if not self.end.aborted:
                    self.end.send(piece)
            if extra:
                self.failureResultOf(exchange.head, ResponseFailed)
            else:
                self.successResultOf(exchange.head)

    def test_malformed(self) -> None:
        exchange = self.request()
        self.end.send(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc")
        failure = self.failureResultOf(exchange.head, ResponseFailed)
        self.assertIsInstance(root_cause(failure), MalformedAnswerError)
        self.assertTrue(self.end.aborted)
        self.assertEqual(self.keeper.told, ["dropped"])

    def test_change_of_protocol(self) -> None:
        exchange = self.request()
        self.end.send(b"HTTP/1.1 101 Switching\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n")
        self.failureResultOf(exchange.head, ResponseFailed)
        self.assertTrue(self.end.aborted)

    def test_interim_answers_are_skipped(self) -> None:
        exchange = self.request()
        self.end.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + response(b"a"))
        self.assertEqual(self.successResultOf(exchange.head).code, 200)
        self.assertEqual(self.keeper.told, ["idle"])

    # Bodies

    def test_surplus_is_told(self) -> None:
        exchange = self.request()
        self.end.send(response(b"abc"))
        self.assertFalse(exchange.has_surplus)
        exchange = self.request()
        self.end.send(response(b"abc") + b"d")
        self.successResultOf(exchange.head)
        self.assertTrue(exchange.has_surplus)
        self.assertEqual(self.keeper.told, ["idle", "dropped"])
        self.assertTrue(self.end.aborted)

    def test_nothing_more_is_read_until_somebody_wants_it(self) -> None:
        exchange = self.request()
        self.end.send(response(b"ab", length=4))
        self.assertEqual(self.end.producerState, "paused")
        reader = SpyReader()
        answer = self.successResultOf(exchange.head)
        answer.deliverBody(reader)
        self.assertEqual((reader.body, self.end.producerState), (b"ab", "producing"))
        self.assertRaises(RuntimeError, answer.deliverBody, SpyReader())
        transport: Any = reader.transport
        transport.pauseProducing()
        self.assertEqual(self.end.producerState, "paused")
        transport.resumeProducing()
        self.end.send(b"cd")
        self.assertEqual(reader.body, b"abcd")
        self.assertIsNotNone(reader.reason.check(ResponseDone))
        # It is the next exchange's now.
        transport.pauseProducing()
        transport.abortConnection()
        self.assertEqual((self.end.producerState, self.end.aborted), ("producing", False))

    def test_paused_with_the_last_byte(self) -> None:
        """A connection that is idle is read, whatever the last one did who read its body."""
        exchange = self.request()
        self.end.send(response(b"ab", length=4))

        class Pausing(SpyReader):
            def dataReceived(self, data: bytes) -> None:
                self.transport.pauseProducing()

        reader = Pausing()
        self.successResultOf(exchange.head).deliverBody(reader)
        self.assertEqual(self.end.producerState, "paused")
        transport: Any = reader.transport
        transport.resumeProducing()
        self.end.send(b"cd")
        self.assertEqual((self.end.producerState, self.keeper.told), ("producing", ["idle"]))

    def test_body_that_ends_with_the_connection(self) -> None:
        for cleanly, error in ((True, PotentialDataLoss), (False, ResponseFailed)):
            self.setUp()
            exchange = self.request()
            reader = self.answer(exchange, b"HTTP/1.1 200 OK\r\n\r\nab")
            self.end.hang_up(cleanly=cleanly)
            self.assertEqual(reader.body, b"ab")
            self.assertIsNotNone(reader.reason.check(error))
            self.assertIs(exchange.ended_well, cleanly)

    def test_broken_chunks(self) -> None:
        exchange = self.request()
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        reader = self.answer(exchange, head + b"2\r\nab\r\n")
        self.end.send(b"zz\r\n")
        self.assertIsNotNone(reader.reason.check(ResponseFailed))
        self.assertTrue(self.end.aborted)

    def test_broken_chunks_with_the_head(self) -> None:
        """The head is told all the same, as if they had come later."""
        reader = self.answer(
            self.request(), b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\nzz\r\n"
        )
        self.assertIsNotNone(reader.reason.check(ResponseFailed))
        self.assertTrue(self.end.aborted)

    def test_defect_of_who_reads(self) -> None:
        class Broken(SpyReader):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        for length in (2, 4):
            self.setUp()
            exchange = self.request()
            self.end.send(response(b"ab", length=length))
            reader = Broken()
            self.successResultOf(exchange.head).deliverBody(reader)
            self.clock.advance(0)
            self.assertIsNotNone(reader.reason.check(ResponseFailed))
            self.assertEqual((self.end.aborted, reader.ends), (length == 4, 1))
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_defect_of_who_hears_of_the_end(self) -> None:
        class Broken(SpyReader):
            def connectionLost(self, reason: Failure = connectionDone) -> None:
                raise ZeroDivisionError

        exchange = self.request()
        self.end.send(response(b"ab"))
        self.successResultOf(exchange.head).deliverBody(Broken())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(self.end.aborted)

    # Aborts and losses

    def test_abort_within_the_turn(self) -> None:
        exchange = self.request()
        exchange.abort()
        self.assertTrue(self.end.aborted)
        self.connection.dataReceived(response(b""))
        self.assertNoResult(exchange.head)
        self.clock.advance(0)
        self.failureResultOf(exchange.head, ResponseNeverReceived)
        self.assertEqual(self.keeper.told, ["dropped", "lost"])

    def test_abort_by_whoever_hears_of_the_head(self) -> None:
        exchange = self.request()
        exchange.head.addCallback(lambda _: exchange.abort())
        self.end.send(response(b"ab", length=4))
        self.assertTrue(self.end.aborted)
        self.connection.dataReceived(b"cd")
        self.assertEqual(self.keeper.told, ["dropped"])

    def test_abort_of_an_exchange_that_is_over(self) -> None:
        first = self.request()
        self.end.send(response(b""))
        first.abort()
        self.request()
        first.abort()
        self.assertFalse(self.end.closed)

    def test_abort_before_it_is_connected(self) -> None:
        exchange = Exchange(b"", None, lambda: None, to_head=False, keep=True)
        connecting: Deferred[OwnerConnection] = Deferred()
        exchange.begin_with(connecting)
        exchange.abort()
        self.failureResultOf(exchange.head, CancelledError)
        self.assertFalse(exchange.connected)

    def test_connection_that_comes_after_the_abort(self) -> None:
        exchange = Exchange(b"", None, lambda: None, to_head=False, keep=True)
        connecting: Deferred[OwnerConnection] = Deferred(lambda _: None)
        connecting.cancel = lambda: None  # type: ignore[method-assign]
        exchange.begin_with(connecting)
        exchange.abort()
        connecting.callback(self.connection)
        self.failureResultOf(exchange.head, CancelledError)
        self.assertTrue(self.end.aborted)
        self.assertEqual(self.end.heard(), b"")

    def test_lost(self) -> None:
        for sent, cleanly, error in (
            (b"", True, ResponseNeverReceived),
            (b"", False, ResponseNeverReceived),
            (b"H", True, ResponseFailed),
            (b"HTTP/1.1 200 OK\r\n", False, ResponseFailed),
        ):
            self.setUp()
            exchange = self.request()
            if sent:
                self.end.send(sent)
            self.end.hang_up(cleanly=cleanly)
            failure = self.failureResultOf(exchange.head, error)
            self.assertEqual(failure.type, error)
            self.assertEqual((exchange.ended_well, self.keeper.told), (cleanly, ["lost"]))

    # Uploads

    def test_answer_that_waits_for_the_upload(self) -> None:
        body = SpyBody(3)
        exchange = self.request(body=body)
        self.end.send(response(b"ab"))
        self.assertEqual(self.end.producerState, "paused")
        self.assertNoResult(exchange.head)
        body.consumer.write(b"abc")
        body.done.callback(None)
        self.successResultOf(exchange.head)
        self.assertEqual((self.written, self.end.producerState, self.keeper.told), (1, "producing", ["idle"]))

    def test_what_comes_behind_an_answer_that_waits(self) -> None:
        """A transport that was stopped may still have something: TLS tells record by record of one read."""
        for length, pieces, surplus in (
            (4, (b"ab", b"cd"), False),
            (4, (b"abc", b"de"), True),
            (0, (b"HTTP/1.1 200 OK\r\n\r\n",), True),
            (38, (b"HTTP/1.1 500 No\r\n", b"Content-Length: 0\r\n\r\n"), False),
        ):
            self.setUp()
            body = SpyBody(3)
            exchange = self.request(body=body)
            self.end.send(response(b"", length=length))
            for piece in pieces:
                self.connection.dataReceived(piece)
            self.assertNoResult(exchange.head)
            self.assertEqual(body.events, ["start"])
            body.consumer.write(b"abc")
            body.done.callback(None)
            answer = self.successResultOf(exchange.head)
            reader = SpyReader()
            answer.deliverBody(reader)
            self.assertEqual((answer.code, reader.body), (200, b"".join(pieces)[:length]))
            self.assertIsNotNone(reader.reason.check(ResponseDone))
            self.assertEqual((exchange.has_surplus, self.end.aborted), (surplus, surplus))

    def test_refusal_cuts_the_upload(self) -> None:
        body = SpyBody(3)
        exchange = self.request(body=body)
        self.end.send(b"HTTP/1.1 413 ")
        self.assertEqual((body.events, self.written), (["start", "stop"], 1))
        self.end.send(b"Too Large\r\nContent-Length: 0\r\n\r\n")
        self.assertEqual(self.successResultOf(exchange.head).code, 413)
        self.assertEqual(self.keeper.told, ["dropped"])
        self.assertTrue(self.end.aborted)

    def test_body_of_another_length(self) -> None:
        for pieces in ((b"ab",), (b"ab", b"cd")):
            self.setUp()
            body = SpyBody(3)
            exchange = self.request(body=body)
            for piece in pieces:
                body.consumer.write(piece)
            body.done.callback(None)
            failure = self.failureResultOf(exchange.head, RequestGenerationFailed)
            self.assertIsInstance(root_cause(failure), WrongLengthError)
            self.assertTrue(self.end.aborted)
            self.assertNotIn(b"cd", self.end.heard())

    def test_body_that_fails(self) -> None:
        for raises in (False, True):
            self.setUp()
            body = SpyBody(3)
            if raises:
                body.startProducing = lambda consumer: 1 // 0  # type: ignore[assignment,method-assign,return-value]
            exchange = self.request(body=body)
            if not raises:
                body.done.errback(ZeroDivisionError())
            failure = self.failureResultOf(exchange.head, RequestGenerationFailed)
            self.assertIsInstance(root_cause(failure), ZeroDivisionError)
            self.assertTrue(self.end.aborted)

    def test_lost_while_uploading(self) -> None:
        body = SpyBody(UNKNOWN_LENGTH)
        exchange = self.request(body=body)
        self.end.hang_up()
        self.failureResultOf(exchange.head, RequestTransmissionFailed)
        self.assertEqual(body.events, ["start", "stop"])

    def test_answered_and_hung_up_while_uploading(self) -> None:
        """Who does not want the body may say so by going, and has answered all the same."""
        for cleanly in (True, False):
            for pieces in ((b"", b"ab"), (b"a", b"b"), (b"ab",)):
                self.setUp()
                body = SpyBody(UNKNOWN_LENGTH)
                exchange = self.request(body=body)
                self.end.send(response(pieces[0], length=2))
                for piece in pieces[1:]:
                    self.assertEqual(self.end.producerState, "producing")
                    self.end.send(piece)
                self.assertEqual(self.end.producerState, "paused")
                self.assertNoResult(exchange.head)
                self.end.hang_up(cleanly=cleanly)
                answer = self.successResultOf(exchange.head)
                reader = SpyReader()
                answer.deliverBody(reader)
                self.assertEqual((answer.code, reader.body, self.written), (200, b"ab", 1))
                self.assertIsNotNone(reader.reason.check(ResponseDone))
                self.assertEqual((body.events, self.keeper.told), (["start", "stop"], ["lost"]))

    def test_hung_up_while_uploading_before_the_answer_was_whole(self) -> None:
        body = SpyBody(UNKNOWN_LENGTH)
        exchange = self.request(body=body)
        self.end.send(response(b"ab", length=3))
        self.end.hang_up()
        self.failureResultOf(exchange.head, RequestTransmissionFailed)
        self.assertEqual(body.events, ["start", "stop"])

    def test_a_long_answer_that_waits_is_not_read(self) -> None:
        body = SpyBody(UNKNOWN_LENGTH)
        self.request(body=body)
        self.end.send(response(b"ab", length=8_193))
        self.assertEqual(self.end.producerState, "paused")

    def test_an_answer_that_waits_is_nobodys_once_its_exchange_is_aborted(self) -> None:
        body = SpyBody(UNKNOWN_LENGTH)
        exchange = self.request(body=body)
        self.end.send(response(b"ab"))
        exchange.abort()
        self.end.hang_up()
        self.failureResultOf(exchange.head, RequestTransmissionFailed)
        self.assertEqual((body.events, self.keeper.told), (["start", "stop"], ["dropped", "lost"]))

    def test_malformed_answer_while_uploading(self) -> None:
        body = SpyBody(UNKNOWN_LENGTH)
        exchange = self.request(body=body)
        self.end.send(b"SSH-2.0\r\n")
        self.failureResultOf(exchange.head, ResponseFailed)
        self.assertEqual(body.events, ["start", "stop"])
        self.assertTrue(self.end.aborted)

    def test_transport(self) -> None:
        """treq closes it; that means the body is not wanted."""
        reader = self.answer(self.request(), response(b"ab", length=4))
        transport: ITransport = reader.transport
        transport.loseConnection()
        self.assertTrue(self.end.aborted)
