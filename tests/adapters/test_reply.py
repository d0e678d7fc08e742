"""micronode.adapters.reply: bodies that are read, refused or thrown away."""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.errors import ErrorCode, NodeError
from micronode.interfaces import IOwnerReply
from tests.support.clients import make_client
from tests.support.network import MemoryNetwork, OwnerEnd, response
from tests.support.sinks import MemorySink


class OwnerReplyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.network = MemoryNetwork()
        self.client = make_client(self.network)

    def reply(self, data: bytes, method: bytes = b"GET") -> tuple[OwnerEnd, IOwnerReply]:
        called = self.client.call(method, b"/x")
        end = self.network.serve()
        end.send(data)
        return end, self.successResultOf(called)

    def test_read_in_pieces(self) -> None:
        end, reply = self.reply(response(b"ab", length=4))
        reading = reply.read(4)
        end.send(b"cd")
        self.assertEqual(self.successResultOf(reading), b"abcd")

    def test_read_of_too_much(self) -> None:
        end, reply = self.reply(response(b"abcd", length=1000))
        error = self.failureResultOf(reply.read(3), NodeError).value
        self.assertIs(error.code, ErrorCode.BAD_GATEWAY)
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)

    def test_read_that_stalls(self) -> None:
        end, reply = self.reply(response(b"abcd", length=1000))
        reading = reply.read(1000)
        self.network.reactor.advance(60.0)
        self.assertIs(self.failureResultOf(reading, NodeError).value.code, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(end.aborted)

    def test_read_within_a_time(self) -> None:
        """Of the whole: pieces that come in time do not make it longer."""
        end, reply = self.reply(response(b"", length=1000))
        reading = reply.read(1000, within_s=1.0)
        for _ in range(7):
            self.network.reactor.advance(0.125)
            end.send(b"x")
        self.assertNoResult(reading)
        self.network.reactor.advance(0.125)
        self.assertIs(self.failureResultOf(reading, NodeError).value.code, ErrorCode.OWNER_TIMEOUT)
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)

    def test_read_in_time(self) -> None:
        end, reply = self.reply(response(b"", length=3))
        reading = reply.read(3, within_s=1.0)
        end.send(b"abc")
        self.assertEqual(self.successResultOf(reading), b"abc")
        self.network.reactor.advance(2.0)
        self.assertFalse(end.closed, "the connection is kept")

    def test_read_with_a_check(self) -> None:
        seen: list[bytes] = []
        _, reply = self.reply(response(b"abc"))
        self.assertEqual(self.successResultOf(reply.read(3, check=seen.append)), b"abc")
        self.assertEqual(seen, [b"abc"])

    def test_read_that_its_check_refuses(self) -> None:
        def refuse(data: bytes) -> None:
            raise NodeError(ErrorCode.BAD_GATEWAY, f"{data!r} is of no use")

        for data, method in ((response(b"abc"), b"GET"), (response(b"", status="204 None"), b"GET")):
            end, reply = self.reply(data, method)
            error = self.failureResultOf(reply.read(3, check=refuse), NodeError).value
            self.assertIs(error.code, ErrorCode.BAD_GATEWAY)
            self.assertFalse(end.closed, "nothing is wrong with the connection")
            self.assertEqual(self.client.inflight, 0)

    def test_read_whose_check_is_broken(self) -> None:
        def break_down(data: bytes) -> None:
            raise ZeroDivisionError

        _, reply = self.reply(response(b"abc"))
        error = self.failureResultOf(reply.read(3, check=break_down), NodeError).value
        self.assertIs(error.code, ErrorCode.INTERNAL)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.client.inflight, 0)

    def test_cancelled_read_aborts(self) -> None:
        end, reply = self.reply(response(b"abcd", length=1000))
        reading = reply.read(1000)
        reading.cancel()
        self.failureResultOf(reading, CancelledError)
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)

    def test_body_is_read_once(self) -> None:
        _, reply = self.reply(response(b"abc"))
        self.successResultOf(reply.read(10))
        self.assertRaises(RuntimeError, reply.read, 10)

    def test_small_body_thrown_away_keeps_the_connection(self) -> None:
        end, reply = self.reply(response(b"not found", status="404 Not Found"))
        reply.discard()
        self.assertEqual(self.client.inflight, 0)
        self.assertFalse(end.closed)
        self.client.call(b"GET", b"/")
        self.assertEqual(self.network.connects, 1)

    def test_small_body_still_to_come_is_given_a_second(self) -> None:
        end, reply = self.reply(response(b"not", length=9))
        reply.discard()
        self.assertEqual(self.client.inflight, 1)
        self.network.reactor.advance(1.0)
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_small_body_that_drips_is_given_no_more(self) -> None:
        """A caller has its answer; what is left of this one must not hold a slot for hours."""
        end, reply = self.reply(response(b"", length=1000, status="404 Not Found"))
        reply.discard()
        for _ in range(7):
            self.network.reactor.advance(0.125)
            end.send(b"x")
        self.assertEqual(self.client.inflight, 1)
        self.network.reactor.advance(0.125)
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)

    def test_large_body_thrown_away_is_aborted(self) -> None:
        end, reply = self.reply(response(b"", length=100_000))
        reply.discard()
        self.assertTrue(end.aborted)
        end, reply = self.reply(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n")
        reply.discard()
        end.send(b"4000\r\n" + b"a" * 0x4000 + b"\r\n")
        self.assertTrue(end.aborted)
        self.assertEqual(self.client.inflight, 0)

    def test_abort_after_the_end_leaves_the_connection(self) -> None:
        end, reply = self.reply(response(b"abc"))
        self.successResultOf(reply.read(10))
        reply.abort()
        self.assertFalse(end.closed)

    def test_relay_of_no_body(self) -> None:
        for method, data in (
            (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"),
            (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 12\r\n\r\n"),  # of no body
            (b"POST", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ):
            _, reply = self.reply(data, method)
            sink = MemorySink(bodiless=True)
            self.successResultOf(reply.relay(ResponseHead(length=reply.length), sink))
            self.assertEqual((sink.body, sink.outcome), (b"", "finished"))
            self.assertEqual(sink.head.length, 12 if method == b"HEAD" else None)
        self.assertEqual(self.network.connects, 1)

    def test_length_that_is_none(self) -> None:
        """Not even where there is no body that it would be the length of."""
        called = self.client.call(b"HEAD", b"/x")
        self.network.serve().send(b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\n")
        self.assertIs(self.failureResultOf(called, NodeError).value.code, ErrorCode.BAD_GATEWAY)
