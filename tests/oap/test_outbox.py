"""Output: batches, producers that take turns, control output that is bounded."""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet.interfaces import INegotiated, IPushProducer
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides
from zope.interface.verify import verifyObject

from micronode.concurrency.outgoing import Outgoing
from micronode.oap.fairness import QUANTUM_BYTES
from micronode.oap.outbox import MAX_CONTROL_BYTES, Outbox, keep_unsent_small
from tests.support.oap import MemoryTransport
from tests.support.tcp import TCPTransport


class _Talker:
    """Has *left* bytes to send, and says who it is with each of them."""

    def __init__(self, outbox: Outbox, corr_id: int, left: int) -> None:
        self.left = left
        self._letter = bytes([corr_id])
        self._outbox = outbox
        outbox.offer(corr_id, self)

    @property
    def ready(self) -> bool:
        return self.left > 0

    def take_turn(self, limit: int) -> int:
        size = min(limit, self.left)
        self.left -= size
        self._outbox.write(self._letter * size)
        return size


class OutboxTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = MemoryTransport(self.clock)
        self.broken: list[bool] = []
        self.crowds: list[bool] = []
        self.relieved: list[bool] = []
        self.outbox = Outbox(
            self.transport,
            self.clock,
            outgoing=Outgoing(self.clock),
            stall_s=30.0,
            broken=lambda: self.broken.append(True),
            crowded=lambda: self.crowds.append(True),
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

    def counts(self) -> list[int]:
        """Return how many bytes each of 1, 2 and 3 got so far."""
        data = self.transport.value()
        return [data.count(bytes([number])) for number in (1, 2, 3)]

    def test_who_talks_first_writes_until_the_transport_is_full(self) -> None:
        self.transport.full_at = 65_536
        talker = _Talker(self.outbox, 1, 1_000_000)
        self.assertTrue(self.outbox.full)
        self.assertEqual(self.counts()[0], 1_000_000 - talker.left)
        self.assertLessEqual(len(self.transport.value()), 2 * 65_536)

    def test_turns_are_of_a_quantum_each(self) -> None:
        self.transport.full_at = 65_536
        self.transport.fill()
        talkers = [_Talker(self.outbox, number, 1_000_000) for number in (1, 2, 3)]
        self.assertEqual(self.counts(), [0, 0, 0])
        total = [0, 0, 0]
        for _ in range(10):
            self.transport.clear()
            self.transport.drain()
            self.assertLessEqual(len(self.transport.value()), 65_536 + 32_768 + QUANTUM_BYTES)
            total = [before + now for before, now in zip(total, self.counts(), strict=True)]
            self.assertLessEqual(max(total) - min(total), QUANTUM_BYTES)
        self.assertEqual(total, [1_000_000 - talker.left for talker in talkers])

    def test_small_one_waits_for_one_turn_of_the_others(self) -> None:
        self.transport.full_at = 65_536
        self.transport.fill()
        for number in (1, 2):
            _Talker(self.outbox, number, 1_000_000)
        _Talker(self.outbox, 3, 100)
        self.transport.drain()
        self.assertEqual(self.transport.value().index(3), 2 * QUANTUM_BYTES)

    def test_control_is_first(self) -> None:
        self.transport.full_at = 65_536
        self.transport.fill()
        _Talker(self.outbox, 1, 1_000_000)
        self.outbox.write_control(b"\xff" * 10)
        self.outbox.on_room = lambda: self.outbox.write_control(b"\xfe")
        self.assertEqual(self.transport.value(), b"")
        self.transport.drain()
        self.assertEqual(self.transport.value()[:12], b"\xff" * 10 + b"\xfe\x01")

    def test_control_does_not_keep_everyone_else_from_talking(self) -> None:
        self.transport.full_at = 65_536
        self.transport.fill()
        talker = _Talker(self.outbox, 1, 1_000_000)
        for _ in range(5):
            self.outbox.write_control(bytes(MAX_CONTROL_BYTES + 1))
            before = talker.left
            self.transport.clear()
            self.transport.drain()
            self.assertTrue(self.outbox.full)
            self.assertLess(talker.left, before)

    def test_who_is_over_has_no_turn(self) -> None:
        self.transport.fill()
        _Talker(self.outbox, 1, 100)
        _Talker(self.outbox, 2, 100)
        self.outbox.withdraw(1)
        self.outbox.withdraw(7)
        self.transport.drain()
        self.assertEqual(self.counts(), [0, 100, 0])

    def test_crowded_by_control_output_while_full(self) -> None:
        self.outbox.write_control(bytes(MAX_CONTROL_BYTES * 2))
        self.assertFalse(self.outbox.crowded)
        self.transport.fill()
        self.outbox.write_control(bytes(MAX_CONTROL_BYTES))
        self.assertFalse(self.outbox.crowded)
        self.outbox.write_control(b"x")
        self.assertTrue(self.outbox.crowded)
        self.outbox.write_control(b"x")
        self.assertEqual(self.crowds, [True])
        self.assertEqual(self.relieved, [])
        self.transport.drain()
        self.assertEqual((self.outbox.crowded, self.relieved, self.broken), (False, [True], []))

    def test_crowded_anew_by_what_comes_of_the_turns(self) -> None:
        self.transport.fill()
        self.outbox.write_control(bytes(MAX_CONTROL_BYTES + 1))
        outbox, transport = self.outbox, self.transport

        class Refusing(_Talker):
            def take_turn(self, limit: int) -> int:
                self.left = 0
                transport.fill()
                outbox.write_control(bytes(MAX_CONTROL_BYTES + 1))
                return 1

        Refusing(outbox, 1, 1)
        self.transport.drain()
        self.assertEqual((self.outbox.crowded, self.relieved), (True, []))
        self.transport.drain()
        self.assertEqual((self.outbox.crowded, self.relieved), (False, [True]))

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
        _Talker(self.outbox, 1, 100)
        self.outbox.write_control(b"too late")
        self.outbox.uncork()
        self.outbox.close()
        self.assertEqual(self.transport.writes, [b"last"])
        self.assertIsNone(self.transport.producer)

    def test_closed_outbox_hands_on_what_waited_to_be_said(self) -> None:
        self.transport.fill()
        self.outbox.write_control(b"why")
        self.outbox.close()
        self.assertEqual(self.transport.writes, [b"why"])

    def test_discarded_outbox_writes_nothing(self) -> None:
        self.outbox.cork()
        self.outbox.write(b"lost")
        self.outbox.discard()
        self.outbox.uncork()
        self.outbox.pauseProducing()
        self.outbox.write_control(b"lost")
        self.outbox.stopProducing()
        self.assertEqual(self.transport.writes, [])
        self.assertEqual([call for call in self.clock.getDelayedCalls() if call.active()], [])


class UnsentTests(SynchronousTestCase):
    """What the kernel may keep unsent."""

    def test_the_end_of_a_chunk_does_not_wait(self) -> None:
        transport = TCPTransport()
        ignored: Any = lambda: None  # noqa: E731
        Outbox(
            transport,
            Clock(),
            outgoing=Outgoing(Clock()),
            stall_s=30.0,
            broken=ignored,
            crowded=ignored,
            relieved=ignored,
        )
        self.assertFalse(transport.delays)

    def test_tcp_is_told(self) -> None:
        with socket.socket() as peer:
            keep_unsent_small(_Handled(peer))
            self.assertEqual(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT), 131_072)

    def test_tls_is_told_below(self) -> None:
        with socket.socket() as peer:
            tls = _Handled(None)
            tls.transport = _Handled(peer)
            directlyProvides(tls, INegotiated)
            keep_unsent_small(tls)
            self.assertEqual(peer.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT), 131_072)

    def test_others_are_left_alone(self) -> None:
        with socket.socket(socket.AF_UNIX) as peer:
            keep_unsent_small(_Handled(peer))
        keep_unsent_small(object())


class _Handled:
    """A transport over a socket."""

    def __init__(self, handle: socket.socket | None) -> None:
        self.transport: _Handled | None = None
        self._handle = handle

    def getHandle(self) -> socket.socket | None:
        return self._handle
