"""What a connection over HTTP holds is charged to the node's account, and bounded by it."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.concurrency.memory import UNDERWAY_BYTES, Buffers
from tests.http.support import Connection, Plane, StubDispatcher, Wire, get, post, say

LIMIT = 1_000_000
#: The beginning of a body of 1 MiB.
BEGUN = get("/app/media", "Content-Length: 1048576", method="POST")


class FullWire(Wire):
    """A transport that tells how much it has."""

    dataBuffer = b""

    def fill(self) -> None:
        self.dataBuffer = bytes(100_000)
        super().fill()

    def drain(self) -> None:
        self.dataBuffer = b""
        super().drain()


class MemoryCase(SynchronousTestCase):
    """Has a plane whose connections are charged to an account of :data:`LIMIT`; calls wait."""

    def setUp(self) -> None:
        clock = Clock()
        self.rejected: list[str] = []
        self.account = Buffers(LIMIT, clock, rejected=self.rejected.append)
        self.dispatcher = StubDispatcher()
        self.plane = Plane(self.dispatcher, clock=clock, buffers=self.account)

    def turn(self) -> None:
        self.plane.clock.advance(0)

    def end(self, index: int = -1) -> None:
        """Answer a call."""
        say(b"hello")(self.dispatcher.calls[index], self.dispatcher.sinks[index])
        self.dispatcher.results[index].callback(None)

    def reading(self, connection: Connection) -> bool:
        return bool(connection.transport.producerState == "producing")


class ChargeTests(MemoryCase):
    def test_an_idle_connection_is_free(self) -> None:
        connection = self.plane.connect()
        self.assertEqual(self.account.held, 0)
        connection.send(get())
        self.end()
        self.assertEqual(self.account.held, 0)

    def test_a_head_that_is_not_whole(self) -> None:
        connection = self.plane.connect().send(b"GET /" + b"x" * 995)
        held = self.account.held
        self.assertIn(held, (0, 1000), "unless its reader has taken it")
        connection.lose()
        self.assertEqual(self.account.held, 0)

    def test_a_body_as_it_comes_and_as_long_as_its_call_lasts(self) -> None:
        connection = self.plane.connect().send(get("/app/media", "Content-Length: 3000", method="POST"))
        for _ in range(3):
            before = self.account.held
            connection.send(bytes(1000))
            self.assertEqual(self.account.held, before + 1000)
        self.assertEqual(len(self.dispatcher.calls), 1)
        self.end()
        self.assertEqual(self.account.held, 0)

    def test_a_caller_that_goes_in_the_middle(self) -> None:
        for last in (b"", bytes(2000)):
            connection = self.plane.connect().send(post("/app/media", bytes(3000))[:-2000] + last)
            self.assertGreaterEqual(self.account.held, 1000)
            connection.lose()
            self.assertEqual(self.account.held, 0)

    def test_a_body_that_came_compressed_is_charged_as_it_is_held(self) -> None:
        small, large = gzip.compress(bytes(4_000)), 4_000
        fields = ("Content-Encoding: gzip", f"Content-Length: {len(small)}")
        self.plane.connect().send(get("/app/media", *fields, method="POST") + small)
        self.assertEqual(self.account.held, large)
        self.end()
        self.assertEqual(self.account.held, 0)

    def test_a_body_that_is_late(self) -> None:
        self.plane.connect().send(BEGUN + bytes(1000))
        self.plane.clock.advance(11)
        self.assertEqual(self.account.held, 0)

    def test_pipelined_requests(self) -> None:
        connection = self.plane.connect().send(get() + get())
        self.assertEqual(self.account.held, len(get()))
        self.end()
        self.assertEqual(self.account.held, 0)
        connection.lose()

    def test_a_full_transport(self) -> None:
        connection = self.plane.connect(FullWire())
        connection.transport.fill()
        self.assertEqual(self.account.held, 100_000)
        connection.transport.drain()
        self.assertEqual(self.account.held, 0)
        connection.transport.fill()
        connection.lose()
        self.assertEqual(self.account.held, 0)

    def test_an_answer_that_is_passed_on(self) -> None:
        class Producer:
            def pauseProducing(self) -> None: ...
            def resumeProducing(self) -> None: ...
            def stopProducing(self) -> None: ...

        for leaves in (False, True):
            connection = self.plane.connect().send(get())
            sink: Any = self.dispatcher.sinks[-1]
            sink.start(ResponseHead(length=10))
            sink.registerProducer(Producer(), True)
            self.assertEqual(self.account.held, UNDERWAY_BYTES)
            if leaves:
                connection.lose()
            else:
                sink.write(b"0123456789")
                sink.unregisterProducer()
                sink.finish()
            self.assertEqual(self.account.held, 0)


class BoundTests(MemoryCase):
    def test_never_more_than_the_limit_and_one_read(self) -> None:
        """A hundred callers send a mebibyte each, and none ends."""
        connections = [self.plane.connect().send(BEGUN) for _ in range(100)]
        most, answers = 0, []
        for _ in range(16):
            for connection in connections:
                if not connection.closing and self.reading(connection):
                    connection.send(bytes(65_536))
                most = max(most, self.account.held)
                if raw := connection.raw():
                    answers.append(raw)
        self.assertLess(most, LIMIT + 65_536)
        self.assertGreater(len(answers), 50)
        self.assertTrue(all(raw.startswith(b"HTTP/1.1 429 ") for raw in answers))
        self.assertTrue(all(b"\r\nRetry-After: " in raw for raw in answers))
        self.assertEqual(self.rejected, ["busy_buffers"] * len(answers))
        self.assertEqual(self.plane.sample("rejected_total", reason="busy"), 0, "counted once")
        for connection in connections:
            connection.lose()
        self.assertEqual(self.account.held, 0)

    def test_one_that_has_begun_comes_to_its_end(self) -> None:
        self.account.add(LIMIT * 8 // 10)
        begun = self.plane.connect()
        self.assertFalse(self.reading(begun))
        self.account.add(-LIMIT * 8 // 10)
        self.turn()
        begun.send(get("/app/media", "Content-Length: 2000", method="POST") + bytes(1000))
        self.account.add(LIMIT * 8 // 10)
        self.turn()
        self.assertTrue(self.reading(begun))
        begun.send(bytes(1000))
        self.assertEqual(len(self.dispatcher.calls), 1)


class TightTests(MemoryCase):
    def tighten(self, size: int = LIMIT * 8 // 10) -> None:
        self.account.add(size)
        self.turn()

    def ease(self, size: int = LIMIT * 8 // 10) -> None:
        self.account.add(-size)
        self.turn()

    def test_nothing_new_is_read(self) -> None:
        idle, busy = self.plane.connect(), self.plane.connect().send(get())
        self.tighten()
        new = self.plane.connect()
        self.assertEqual([self.reading(each) for each in (idle, busy, new)], [False] * 3)
        self.ease()
        self.assertEqual([self.reading(each) for each in (idle, busy, new)], [True] * 3)

    def test_an_answer_goes_on(self) -> None:
        busy = self.plane.connect().send(get())
        self.tighten()
        self.end()
        self.assertEqual(busy.answer().status, 200)
        self.assertFalse(self.reading(busy))

    def test_a_body_is_refused_from_its_head(self) -> None:
        """One of which the head was read before."""
        connection = self.plane.connect().send(get() + BEGUN)
        self.tighten()
        self.end()
        first, second = connection.answers()
        self.assertEqual((first.status, second.status, second.json["code"]), (200, 429, "busy"))
        self.assertTrue(connection.closing)

    def test_nobody_is_late_who_is_not_read(self) -> None:
        new, idle = self.plane.connect(), self.plane.connect().send(get())
        self.end()
        self.tighten()
        for _ in range(20):
            self.plane.clock.advance(10)
        self.assertEqual((new.closing, idle.closing), (False, False))
        self.ease()
        self.plane.clock.advance(11)
        self.assertTrue(new.closing)

    def test_what_is_begun_is_read_on(self) -> None:
        connection = self.plane.connect().send(get()[:-2])
        self.tighten()
        self.assertTrue(self.reading(connection))
        connection.send(b"\r\n")
        self.end()
        self.assertEqual(connection.answer().status, 200)
        self.assertFalse(self.reading(connection))

    def test_heads_that_are_never_whole_hold_memory_no_longer_than_ever(self) -> None:
        """They alone may be what makes it tight; who is never read, nor late, would hold it for good."""
        begun = [self.plane.connect().send(b"GET /" + b"x" * 8_000) for _ in range(101)]
        self.turn()
        self.assertTrue(self.account.tight)
        self.plane.clock.advance(11)
        self.assertEqual([each.answer().status for each in begun], [408] * 101)
        self.assertEqual((self.account.held, self.account.tight), (0, False))

    def test_those_that_idle_are_not_looked_at(self) -> None:
        """They may be thousands."""
        for _ in range(10):
            self.plane.connect()
        before = len(self.plane.clock.getDelayedCalls())
        self.tighten()
        self.assertEqual(len(self.plane.clock.getDelayedCalls()), before)

    def test_who_goes_while_a_call_runs_is_found_out(self) -> None:
        self.plane.connect().send(get())
        before = len(self.plane.clock.getDelayedCalls())
        self.tighten()
        self.assertEqual(len(self.plane.clock.getDelayedCalls()), before + 1)
