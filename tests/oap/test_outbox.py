"""Output: batches, producers that take turns, control output that is bounded."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from micronode.oap.outbox import MAX_CONTROL_BYTES, Outbox
from tests.contracts.sink import SpyProducer
from tests.support.oap import MemoryTransport


class _Greedy(SpyProducer):
    """Fills the transport as soon as it may."""

    def __init__(self, outbox: Outbox) -> None:
        super().__init__()
        self._outbox = outbox

    def resumeProducing(self) -> None:
        super().resumeProducing()
        self._outbox.pauseProducing()


class OutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = MemoryTransport(self.clock)
        self.broken: list[bool] = []
        self.relieved: list[bool] = []
        self.outbox = Outbox(
            self.transport,
            self.clock,
            stall_s=30.0,
            broken=lambda: self.broken.append(True),
            relieved=lambda: self.relieved.append(True),
        )

    def test_is_the_transports_producer(self) -> None:
        verifyObject(IPushProducer, self.outbox)
        self.assertIs(self.transport.producer, self.outbox)

    def test_corked_writes_are_one(self) -> None:
        self.outbox.cork()
        self.outbox.write(b"a")
        self.outbox.write_control(b"b")
        self.assertEqual(self.transport.writes, [])
        self.outbox.uncork()
        self.outbox.write(b"c")
        self.assertEqual(self.transport.writes, [b"ab", b"c"])

    def test_long_batch_does_not_wait(self) -> None:
        self.outbox.cork()
        self.outbox.write(bytes(70_000))
        self.assertEqual(len(self.transport.writes), 1)

    def test_producers_take_turns(self) -> None:
        producers = {number: _Greedy(self.outbox) for number in range(1, 4)}
        for number, producer in producers.items():
            self.outbox.attach(number, producer)
        self.transport.fill()
        for _ in range(6):
            self.transport.drain()
        self.assertEqual([producer.told.count("resume") for producer in producers.values()], [2, 2, 2])

    def test_detached_producer_is_left_alone(self) -> None:
        running, waiting = SpyProducer(), SpyProducer()
        self.outbox.attach(1, running)
        self.outbox.detach(1)
        self.transport.fill()
        self.outbox.attach(2, waiting)
        self.outbox.detach(2)
        self.outbox.detach(3)
        self.transport.drain()
        self.assertEqual((running.told, waiting.told), ([], ["pause"]))

    def test_second_pause_pauses_nobody_twice(self) -> None:
        producer = SpyProducer()
        self.outbox.attach(1, producer)
        self.transport.fill()
        self.transport.fill()
        self.assertEqual(producer.told, ["pause"])

    def test_crowded_by_control_output_while_full(self) -> None:
        self.outbox.write_control(bytes(MAX_CONTROL_BYTES * 2))
        self.assertFalse(self.outbox.crowded)
        self.transport.fill()
        self.outbox.write(bytes(MAX_CONTROL_BYTES * 2))
        self.outbox.write_control(bytes(MAX_CONTROL_BYTES))
        self.assertFalse(self.outbox.crowded)
        self.outbox.write_control(b"x")
        self.assertTrue(self.outbox.crowded)
        self.assertEqual(self.relieved, [])
        self.transport.drain()
        self.assertEqual((self.outbox.crowded, self.relieved, self.broken), (False, [True], []))

    def test_not_relieved_of_what_was_no_crowd(self) -> None:
        self.transport.fill()
        self.outbox.write_control(bytes(MAX_CONTROL_BYTES))
        self.transport.drain()
        self.assertEqual(self.relieved, [])

    def test_full_for_long_is_broken(self) -> None:
        self.transport.fill()
        self.clock.pump([7.5] * 3)
        self.transport.drain()
        self.transport.fill()
        self.clock.pump([7.5] * 3)
        self.assertEqual(self.broken, [])
        self.clock.pump([7.5] * 2)
        self.assertEqual(self.broken, [True])

    def test_closed_outbox_hands_on_what_it_has(self) -> None:
        self.outbox.cork()
        self.outbox.write(b"last")
        self.outbox.close()
        self.outbox.write(b"too late")
        self.outbox.write_control(b"too late")
        self.outbox.uncork()
        self.outbox.close()
        self.assertEqual(self.transport.writes, [b"last"])
        self.assertIsNone(self.transport.producer)

    def test_discarded_outbox_writes_nothing(self) -> None:
        self.outbox.cork()
        self.outbox.write(b"lost")
        self.outbox.discard()
        self.outbox.uncork()
        self.outbox.pauseProducing()
        self.outbox.stopProducing()
        self.assertEqual(self.transport.writes, [])
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])
