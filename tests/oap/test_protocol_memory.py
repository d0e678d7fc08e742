"""What a connection over OAP/1 holds is charged to the node's account, and bounded by it."""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.concurrency.memory import UNDERWAY_BYTES, Buffers
from micronode.oap.waiting import ENOUGH_BYTES
from tests.support.oap import CallerEnd, StubNode, body, put, start, subscribe

LIMIT = 1_000_000
CHUNK = bytes(16_384)


class MemoryCase(SynchronousTestCase):
    """Has a node whose connections are charged to an account of :data:`LIMIT`."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.rejected: list[str] = []
        self.account = Buffers(LIMIT, self.clock, rejected=self.rejected.append)
        self.node = StubNode(account=self.account, clock=self.clock)

    def turn(self) -> None:
        self.clock.advance(0)

    def reading(self, end: CallerEnd) -> bool:
        return bool(end.transport.producerState == "producing")


class ChargeTests(MemoryCase):
    def test_an_idle_connection_is_free(self) -> None:
        end = self.node.connect()
        end.send(start(1))
        self.node.calls[0].answer(b"hello")
        self.assertEqual(self.account.held, 0)

    def test_a_frame_that_is_not_whole(self) -> None:
        end = self.node.connect()
        end.send(start(1)[:40])
        self.assertEqual(self.account.held, 40)
        end.send(start(1)[40:])
        self.assertEqual(self.account.held, 0)
        end.send(start(3)[:40])
        end.hang_up()
        self.assertEqual(self.account.held, 0)

    def test_an_upload_that_waits(self) -> None:
        end = self.node.connect()
        end.send(put(1), body(1, CHUNK), body(1, CHUNK))
        self.assertEqual(self.account.held, 2 * len(CHUNK))
        end.hang_up()
        self.assertEqual(self.account.held, 0)

    def test_an_upload_that_is_taken(self) -> None:
        class Consumer:
            def write(self, data: bytes) -> None: ...

        end = self.node.connect()
        end.send(put(1), body(1, CHUNK))
        self.node.calls[0].call.body.startProducing(Consumer())  # type: ignore[union-attr,arg-type]
        self.assertEqual(self.account.held, 0)
        end.send(body(1, CHUNK))
        self.assertEqual(self.account.held, 0, "it passes through")

    def test_an_answer_that_waits_for_its_caller(self) -> None:
        for ends in (self.drain, self.leave):
            end = self.node.connect()
            end.send(start(1))
            end.transport.fill()
            self.node.calls[-1].answer(CHUNK)
            self.assertEqual(self.account.held, len(CHUNK))
            ends(end)
            self.assertEqual(self.account.held, 0)

    def drain(self, end: CallerEnd) -> None:
        end.transport.drain()

    def leave(self, end: CallerEnd) -> None:
        end.hang_up()

    def test_a_full_transport_and_errors_that_wait_for_it(self) -> None:
        for ends in (self.drain, self.leave):
            end = self.node.connect()
            end.transport.dataBuffer = bytes(70_000)  # type: ignore[attr-defined]
            end.transport.fill()
            self.assertEqual(self.account.held, 70_000)
            end.send(start(1, op="nothing"))
            self.assertGreater(self.account.held, 70_000)
            ends(end)
            self.assertEqual(self.account.held, 0)

    def test_a_connection_that_ends_and_is_not_read(self) -> None:
        """Whoever breaks the rules may hold as much as others, and for as long as it takes to notice."""
        end = self.node.connect()
        end.transport.dataBuffer = bytes(70_000)  # type: ignore[attr-defined]
        end.transport.fill()
        end.send(b"garbage, and no frame at all")
        self.assertGreaterEqual(self.account.held, 70_000)
        end.hang_up()
        self.assertEqual(self.account.held, 0)

    def test_an_answer_that_is_passed_on(self) -> None:
        class Producer:
            def pauseProducing(self) -> None: ...
            def resumeProducing(self) -> None: ...
            def stopProducing(self) -> None: ...

        for ends in (lambda sink, end: sink.unregisterProducer(), lambda sink, end: end.hang_up()):
            end = self.node.connect()
            end.send(start(1))
            sink: Any = self.node.calls[-1].sink
            sink.start(ResponseHead())
            sink.registerProducer(Producer(), True)
            self.assertEqual(self.account.held, ENOUGH_BYTES + UNDERWAY_BYTES)
            ends(sink, end)
            self.assertEqual(self.account.held, 0)

    def test_a_subscription(self) -> None:
        end = self.node.connect()
        end.send(subscribe(1))
        self.assertEqual(self.account.held, UNDERWAY_BYTES)
        end.hang_up()
        self.assertEqual(self.account.held, 0)


class BoundTests(MemoryCase):
    def test_never_more_than_the_limit_and_one_read(self) -> None:
        """Callers send bodies that no owner takes, within their windows and without any."""
        ends = [self.node.connect() for _ in range(20)]
        for end in ends:
            end.send(*(put(number, flags=flags) for number, flags in ((1, 0), (2, 32), (3, 32))))
        most = 0
        for _ in range(8):
            for end in ends:
                for number in (1, 2, 3):
                    if self.reading(end) and not end.transport.closing:
                        end.send(body(number, CHUNK))
                    most = max(most, self.account.held)
        self.assertLess(most, LIMIT + len(CHUNK))
        self.assertGreater(most, LIMIT * 9 // 10)
        codes = {frame.code for end in ends for frame in end.heard() if frame.ends}
        self.assertEqual(codes, {503})
        self.assertEqual(set(self.rejected), {"busy_buffers"})
        for end in ends:
            end.hang_up()
        self.assertEqual(self.account.held, 0)


class TightTests(MemoryCase):
    def tighten(self, size: int = LIMIT * 8 // 10) -> None:
        self.account.add(size)
        self.turn()

    def ease(self, size: int = LIMIT * 8 // 10) -> None:
        self.account.add(-size)
        self.turn()

    def test_those_without_streams_are_not_read(self) -> None:
        idle = self.node.connect()
        self.tighten()
        self.assertFalse(self.reading(idle))
        self.ease()
        self.assertTrue(self.reading(idle))
        idle.send(start(1))
        self.assertEqual(len(self.node.calls), 1)

    def test_those_with_streams_are(self) -> None:
        """CREDIT and cancels must get through, or nothing would ever end."""
        busy = self.node.connect()
        busy.send(start(1))
        self.tighten()
        self.assertTrue(self.reading(busy))
        self.node.calls[0].answer(b"hello")
        self.turn()
        self.assertFalse(self.reading(busy), "its last stream is over")
        self.ease()
        self.assertTrue(self.reading(busy))

    def test_a_new_stream_is_refused(self) -> None:
        end = self.node.connect()
        end.send(start(1))
        self.tighten()
        end.send(start(2))
        (refusal,) = end.heard()
        self.assertEqual((refusal.code, refusal.json["code"]), (429, "busy"))
        self.assertGreaterEqual(refusal.json["retry_after_ms"], 1000)
        self.assertEqual((len(self.node.calls), self.rejected), (1, ["busy_buffers"]))

    def test_hello_is_heard(self) -> None:
        self.tighten()
        end = self.node.connect()
        self.assertTrue(self.reading(end))
        end.send(start(1))
        self.assertEqual([frame.code for frame in end.heard()], [429])

    def test_nobody_is_late_who_is_not_read(self) -> None:
        idle = self.node.connect()
        self.clock.advance(9.5)
        self.tighten()
        self.clock.pump([0.05] * 15)
        self.assertFalse(idle.transport.closing)
        self.assertEqual(idle.heard(), [], "nor asked, ten times a second")
        self.ease()
        self.clock.pump([10.0] * 6)
        self.assertTrue(idle.transport.closing)

    def test_who_waits_is_read_and_refused_after_a_second(self) -> None:
        idle = self.node.connect()
        self.tighten()
        self.clock.pump([0.05] * 21)
        self.assertTrue(self.reading(idle))
        idle.send(start(1))
        self.assertEqual([frame.code for frame in idle.heard()], [429])
        self.turn()
        self.assertTrue(self.reading(idle))

    def test_one_that_is_closed_meanwhile(self) -> None:
        idle = self.node.connect()
        self.tighten()
        idle.hang_up()
        self.ease()
        self.assertEqual(self.clock.getDelayedCalls(), [])
