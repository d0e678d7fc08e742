"""What a connection over HTTP holds is charged to the node's account, and bounded by it."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.calls.operations import Access
from micronode.calls.table import OperationTable
from micronode.concurrency.memory import ANSWER_BYTES, Buffers
from tests.http.support import Connection, Plane, StubDispatcher, Wire, get, operation, post, say

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
            self.assertEqual(self.account.held, ANSWER_BYTES)
            if leaves:
                connection.lose()
            else:
                sink.write(b"0123456789")
                sink.unregisterProducer()
                sink.finish()
            self.assertEqual(self.account.held, 0)


class BoundTests(MemoryCase):
    def test_a_long_answer_is_not_begun_at_the_limit(self) -> None:
        """Its call was let in before."""
        long, small = self.plane.connect().send(get()), self.plane.connect().send(get())
        self.account.add(LIMIT)
        for sink, length in zip(self.dispatcher.sinks, (100_000, 5), strict=True):
            sink.start(ResponseHead(length=length))
            sink.write(bytes(length))
            sink.finish()
        self.assertEqual((long.answer().status, small.answer().status), (429, 200))
        self.assertEqual((self.rejected, self.account.held), (["busy_buffers"], LIMIT))

    def test_what_is_no_question_is_answered_at_the_limit(self) -> None:
        """Its owner has done it."""
        asked = self.plane.connect().send(post("/app/media", b"x"))
        self.account.add(LIMIT)
        self.dispatcher.sinks[0].start(ResponseHead(length=100_000))
        self.assertTrue(asked.raw().startswith(b"HTTP/1.1 200 "))

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
        self.plane.clock.advance(4.5)
        self.tighten()
        self.plane.clock.pump([0.05] * 15)
        self.assertEqual((new.closing, idle.closing), (False, False))
        self.ease()
        self.plane.clock.advance(11)
        self.assertTrue(new.closing)

    def test_who_waits_is_read_and_refused_after_a_second(self) -> None:
        idle = self.plane.connect()
        self.tighten()
        self.plane.clock.pump([0.05] * 19)
        self.assertFalse(self.reading(idle))
        self.plane.clock.pump([0.05] * 2)
        self.assertTrue(self.reading(idle))
        for _ in range(2):
            answer = idle.send(get()).answers()[-1]
            self.assertEqual((answer.status, answer.json["code"]), (429, "busy"))
            self.assertIn(answer.fields["retry-after"], {"1", "2", "3"})
        self.assertEqual((idle.closing, self.dispatcher.calls), (False, []))
        self.ease()
        idle.send(get())
        self.assertEqual(len(self.dispatcher.calls), 1)

    def test_a_call_is_refused_at_the_limit(self) -> None:
        """One of which the head was begun before."""
        begun = self.plane.connect().send(get()[:-2])
        self.tighten(LIMIT)
        self.assertEqual(begun.send(b"\r\n").answer().status, 429)

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
        self.plane.clock.pump([0.05] * 10)
        refused = [each for each in begun if each.closing]
        self.assertEqual({each.answer().status for each in refused}, {429})
        self.assertEqual((self.account.tight, 10 < len(refused) < 20), (False, True), "no more than have to")
        self.plane.clock.advance(11)
        late = [each.answer().status for each in begun if each not in refused]
        self.assertEqual(late, [408] * (101 - len(refused)))
        self.assertEqual((self.account.held, self.account.tight), (0, False))

    def test_those_that_idle_are_not_looked_at(self) -> None:
        """They may be thousands."""
        for _ in range(10):
            self.plane.connect()
        before = len(self.plane.clock.getDelayedCalls())
        self.tighten()
        self.assertEqual(len(self.plane.clock.getDelayedCalls()), before + 1, "the account's own")

    def test_who_goes_while_a_call_runs_is_found_out(self) -> None:
        self.plane.connect().send(get())
        before = len(self.plane.clock.getDelayedCalls())
        self.tighten()
        self.assertEqual(len(self.plane.clock.getDelayedCalls()), before + 2, "one is the account's own")


class AnswerTests(MemoryCase):
    """Answers for which there is no room."""

    def test_only_what_changed_nothing_is_told_that_nothing_was_done(self) -> None:
        """A custom facet's GET may be a write: what it did is told, whatever that takes."""
        for access, status in ((Access.READ, 429), (Access.WRITE, 200)):
            self.setUp()
            self.dispatcher.table = OperationTable(
                [operation("own.get", "GET", "/app/own", "get", access=access)]
            )
            self.plane = Plane(self.dispatcher, clock=self.plane.clock, buffers=self.account)
            connection = self.plane.connect().send(get("/app/own"))
            self.account.add(LIMIT)
            self.dispatcher.sinks[0].start(ResponseHead(length=100_000))
            self.assertTrue(connection.transport.value().startswith(b"HTTP/1.1 %d " % status), access)


class MakeWayTests(MemoryCase):
    """Bodies that are not whole, while memory is tight."""

    def begin(self, count: int, size: int) -> list[Connection]:
        begun = []
        for _ in range(count):
            begun.append(self.plane.connect().send(BEGUN).send(bytes(size)))
            self.plane.clock.advance(0.001)
        return begun

    def statuses(self, connections: list[Connection]) -> list[int]:
        return [each.answer().status if each.closing else 0 for each in connections]

    def test_those_that_bring_nothing(self) -> None:
        """The longest silent first, and no more than have to."""
        begun = self.begin(8, 100_000)
        self.assertTrue(self.account.tight)
        self.plane.clock.pump([0.05] * 4)
        self.assertEqual(self.statuses(begun), [0] * 8, "each has its time")
        self.plane.clock.pump([0.05] * 3)
        self.assertEqual(self.statuses(begun), [429, 429, 0, 0, 0, 0, 0, 0])
        self.assertEqual((self.account.tight, self.account.held), (False, 600_000))
        self.assertEqual(self.rejected, ["busy_buffers"] * 2)
        self.assertEqual(self.plane.sample("rejected_total", reason="busy"), 0, "counted once")
        self.plane.clock.advance(0)
        self.plane.connect().send(get())
        self.assertEqual(len(self.dispatcher.calls), 1, "others are served")

    def test_one_that_comes_at_speed_is_not_among_them(self) -> None:
        brisk, *silent = self.begin(8, 100_000)
        for _ in range(10):
            brisk.send(bytes(5_000))
            self.plane.clock.advance(0.05)
        self.assertEqual(self.statuses([brisk, *silent]), [0, 429, 429, 0, 0, 0, 0, 0])

    def test_a_byte_now_and_then_is_not_speed(self) -> None:
        trickling, *silent = self.begin(8, 100_000)
        for _ in range(7):
            trickling.send(b"x")
            self.plane.clock.advance(0.05)
        self.assertEqual(self.statuses([trickling, *silent])[:3], [429, 429, 0])

    def test_the_largest_where_all_come_at_speed(self) -> None:
        begun = [*self.begin(1, 50_000), *self.begin(6, 125_000)]
        for _ in range(14):
            for each in begun:
                if not each.closing:
                    each.send(bytes(1_700))
            self.plane.clock.advance(0.05)
        self.assertEqual(self.statuses(begun), [0] * 7)
        self.plane.clock.pump([0.05] * 2)
        gone = self.statuses(begun)
        self.assertEqual((gone[0], gone.count(429)), (0, 2))
        self.assertFalse(self.account.tight)

    def test_those_at_speed_stay_where_that_would_not_help(self) -> None:
        """Slow readers hold the memory."""
        self.account.add(LIMIT * 8 // 10)
        self.account.add(-LIMIT // 10 - 1)
        brisk = self.plane.connect().send(BEGUN)
        self.account.add(LIMIT // 10 + 1)
        for _ in range(60):
            brisk.send(bytes(1_500))
            self.plane.clock.advance(0.05)
        self.assertEqual((brisk.closing, self.account.tight), (False, True))

    def test_nobody_is_given_up_after_a_pause_of_the_node(self) -> None:
        """What came meanwhile was not read yet."""
        begun = self.begin(8, 100_000)
        self.plane.clock.advance(0.5)
        self.assertEqual(self.statuses(begun), [0] * 8)

    def test_one_that_became_whole_stays(self) -> None:
        begun = self.begin(7, 100_000)
        whole = self.plane.connect().send(get("/app/media", "Content-Length: 100000", method="POST"))
        whole.send(bytes(50_000)).send(bytes(50_000))
        self.assertEqual(len(self.dispatcher.calls), 1)
        self.plane.clock.pump([0.05] * 30)
        self.assertEqual((whole.closing, self.statuses(begun).count(429)), (False, 2))

    def test_nothing_is_remembered_of_those_that_are_over(self) -> None:
        begun = self.begin(3, 1_000)
        self.assertEqual(len(self.account.unfinished), 3)
        begun[0].lose()
        begun[1].send(bytes(1_048_576 - 1_000))
        self.plane.clock.advance(60)
        self.assertEqual(len(self.account.unfinished), 0)
