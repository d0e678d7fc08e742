"""The stall watch: a peer that takes bytes is left alone, however slowly; one that takes none is told."""

from __future__ import annotations

import os
import socket

from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from micronode.concurrency.stall import WINDOW_S, StallWatch, unacknowledged, unsent

LIMIT_S = 8.0


class Pipe:
    """A stream of two sockets; the near one is what a transport has."""

    def __init__(self) -> None:
        self.near, self.far = socket.socketpair()
        self.near.setblocking(False)

    def fileno(self) -> int:
        return self.near.fileno()

    def close(self) -> None:
        self.near.close()
        self.far.close()


class UnacknowledgedTests(SynchronousTestCase):
    """What the kernel holds."""

    def test_follows_the_reader(self) -> None:
        pipe = Pipe()
        self.addCleanup(pipe.close)
        self.assertEqual(unacknowledged(pipe), 0)
        pipe.near.send(b"x" * 1000)
        held = unacknowledged(pipe)
        assert held is not None
        self.assertGreaterEqual(held, 1000)
        pipe.far.recv(1000)
        self.assertEqual(unacknowledged(pipe), 0)

    def test_no_descriptor(self) -> None:
        """A transport in memory has none, one that closed has -1, and a pipe's end is no socket."""
        self.assertIsNone(unacknowledged(StringTransport()))
        pipe = Pipe()
        pipe.close()
        self.assertIsNone(unacknowledged(pipe))
        ends = os.pipe()
        self.addCleanup(os.close, ends[0])
        self.addCleanup(os.close, ends[1])
        with os.fdopen(os.dup(ends[1]), "wb") as file:
            self.assertIsNone(unacknowledged(file))


class StallWatchTests(SynchronousTestCase):
    """StallWatch on a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.pipe = Pipe()
        self.addCleanup(self.pipe.close)
        self.stalls: list[float] = []
        self.watch = StallWatch(self.clock, self.pipe, lambda: self.stalls.append(self.clock.seconds()))
        # In pieces: what is read of a piece shows only when the whole of it was read.
        for _ in range(5):
            self.pipe.near.send(b"x" * 2000)

    def wait(self, seconds: float) -> None:
        """Pass time in steps that a quarter of the limit is a multiple of."""
        for _ in range(int(seconds * 2)):
            self.clock.advance(0.5)

    def test_nothing_taken(self) -> None:
        self.watch.start(LIMIT_S)
        self.wait(LIMIT_S - 0.5)
        self.assertEqual(self.stalls, [])
        self.wait(0.5)
        self.assertEqual(self.stalls, [LIMIT_S])

    def test_told_once(self) -> None:
        self.watch.start(LIMIT_S)
        self.wait(5 * LIMIT_S)
        self.assertEqual(len(self.stalls), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_nothing_taken_since_it_was_full_again(self) -> None:
        self.watch.start(LIMIT_S)
        self.wait(1.0)
        self.watch.stop()
        self.watch.start(LIMIT_S)
        self.wait(3 * LIMIT_S)
        self.assertEqual(self.stalls, [1.25 * LIMIT_S])

    def test_a_slow_reader(self) -> None:
        """One byte in most of the limit is progress."""
        self.watch.start(LIMIT_S)
        for _ in range(5):
            self.wait(LIMIT_S - 2)
            self.pipe.far.recv(2000)
        self.assertEqual(self.stalls, [])
        self.wait(2 * LIMIT_S)
        self.assertEqual(len(self.stalls), 1)

    def test_stopped(self) -> None:
        self.watch.start(LIMIT_S)
        self.wait(LIMIT_S / 2)
        self.watch.stop()
        self.wait(3 * LIMIT_S)
        self.assertEqual(self.stalls, [])

    def test_started_again(self) -> None:
        """The time counts from the last start, and there is one timer however often it starts."""
        self.watch.start(LIMIT_S)
        for _ in range(10):
            self.wait(LIMIT_S / 2)
            self.watch.stop()
            self.watch.start(LIMIT_S)
            self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(self.stalls, [])
        self.wait(LIMIT_S + 2)
        self.assertEqual(len(self.stalls), 1)

    def test_closed(self) -> None:
        self.watch.start(LIMIT_S)
        self.watch.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.watch.close()

    def test_without_a_descriptor(self) -> None:
        """Where the kernel cannot be asked, a full buffer alone counts."""
        self.watch = StallWatch(self.clock, StringTransport(), lambda: self.stalls.append(0.0))
        self.watch.start(LIMIT_S)
        self.wait(LIMIT_S)
        self.assertEqual(self.stalls, [0.0])

    def test_what_was_sent_and_is_not_taken(self) -> None:
        """No buffer is full: the peer has not taken what there is, however little."""
        self.watch.sent(10_000, LIMIT_S)
        self.wait(LIMIT_S - 0.5)
        self.assertEqual(self.stalls, [])
        self.wait(0.5)
        self.assertEqual(self.stalls, [LIMIT_S])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_writing_is_no_taking(self) -> None:
        for _ in range(20):
            self.pipe.near.send(b"x" * 100)
            self.watch.sent(100, LIMIT_S)
            self.wait(1)
        self.assertEqual(len(self.stalls), 2, "it begins again with what is sent after it has told")

    def test_a_unix_socket_hides_who_reads_less_than_is_written(self) -> None:
        directlyProvides(self.pipe, IUNIXTransport)
        self.pipe.far.recv(10_000)
        self.watch = StallWatch(self.clock, self.pipe, lambda: self.stalls.append(self.clock.seconds()))
        for second in range(30):
            self.pipe.near.send(b"x" * 10)
            self.watch.sent(10, LIMIT_S)
            if second % 2:
                self.pipe.far.recv(10)
            self.wait(1)
        self.assertEqual(self.stalls, [])
        self.wait(LIMIT_S + 2)
        self.assertEqual(len(self.stalls), 1, "nothing more is written, and nothing read")

    def test_taking_some_of_it(self) -> None:
        self.watch.sent(10_000, LIMIT_S)
        for _ in range(4):
            self.wait(LIMIT_S - 2)
            self.pipe.far.recv(2000)
        self.assertEqual(self.stalls, [])

    def test_what_was_taken_is_watched_no_more(self) -> None:
        self.watch.sent(10_000, LIMIT_S)
        self.pipe.far.recv(10_000)
        self.wait(LIMIT_S / 4)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.pipe.near.send(b"x")
        self.watch.sent(1, LIMIT_S)
        self.wait(LIMIT_S + 2)
        self.assertEqual(len(self.stalls), 1)

    def test_an_empty_buffer_is_not_all_that_was_sent(self) -> None:
        self.watch.sent(10_000, LIMIT_S)
        self.watch.start(LIMIT_S)
        self.watch.stop()
        self.wait(LIMIT_S + 2)
        self.assertEqual(len(self.stalls), 1)

    def test_a_transport_that_cannot_tell(self) -> None:
        self.watch = StallWatch(self.clock, StringTransport(), lambda: self.stalls.append(0.0))
        self.watch.sent(10_000, LIMIT_S)
        self.wait(2 * LIMIT_S)
        self.assertEqual((self.stalls, self.clock.getDelayedCalls()), ([], []))


class Buffered:
    """A transport whose books are kept here, and so is what the kernel has of it.

    :ivar queued: bytes that the kernel has, and the peer has not taken.
    """

    def __init__(self) -> None:
        self.dataBuffer = b""
        self.offset = 0
        self._tempDataLen = 0
        self.queued = 0


class UnsentTests(SynchronousTestCase):
    """What a transport has itself."""

    def test_what_it_has_not_passed_on(self) -> None:
        self.assertEqual(unsent(StringTransport()), 0, "one that keeps no such books")
        buffered = Buffered()
        buffered.dataBuffer, buffered.offset, buffered._tempDataLen = b"x" * 100, 30, 7
        self.assertEqual(unsent(buffered), 77)


class RateTests(SynchronousTestCase):
    """A peer that takes bytes, but too few."""

    LIMIT_S = 86_400.0
    RATE = 1_000
    PIECE = 2_000

    def setUp(self) -> None:
        self.clock = Clock()
        self.transport = Buffered()
        self.stalls: list[float] = []
        self.watch = self.make()

    def make(self) -> StallWatch:
        return StallWatch(
            self.clock,
            self.transport,
            lambda: self.stalls.append(self.clock.seconds()),
            queued=lambda transport: transport.queued,
        )

    def send(self, pieces: int) -> None:
        self.transport.queued += pieces * self.PIECE
        self.watch.written += pieces * self.PIECE

    def take(self, pieces: int) -> None:
        self.transport.queued -= min(self.transport.queued, pieces * self.PIECE)

    def hold(self, size: int) -> None:
        """Let the transport have *size* bytes that the kernel takes not."""
        self.watch.written += size - self.transport._tempDataLen
        self.transport._tempDataLen = size

    def taking(self, seconds: float, pieces: int, every_s: float = 1.0, sending: int = 0) -> None:
        """Let the peer take *pieces* every so often, and be sent as many as *sending*."""
        for _ in range(int(seconds / every_s)):
            self.send(sending)
            self.take(pieces)
            self.clock.advance(every_s)

    def test_too_slow(self) -> None:
        """It takes 200 bytes a second."""
        self.send(30)
        self.watch.start(self.LIMIT_S, self.RATE)
        self.taking(WINDOW_S - 10, 1, 10.0)
        self.assertEqual(self.stalls, [])
        self.taking(10, 1, 10.0)
        self.assertEqual(self.stalls, [WINDOW_S])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_fast_enough(self) -> None:
        self.send(60)
        self.watch.start(self.LIMIT_S, self.RATE)
        self.taking(5 * WINDOW_S, 1, sending=1)
        self.assertEqual(self.stalls, [])
        self.watch.close()

    def test_no_faster_than_the_owner_sends(self) -> None:
        """It takes what there is, a tenth of the rate; something is always on its way to it."""
        self.watch.sent(0, self.LIMIT_S, self.RATE)
        for _ in range(40):
            self.send(1)
            self.watch.sent(self.PIECE, self.LIMIT_S, self.RATE)
            self.clock.pump([1.0] * 20)
            self.take(1)
        self.assertEqual(self.stalls, [])
        self.watch.close()

    def test_slow_behind_an_owner_that_was_slow(self) -> None:
        """When there is more than it takes, the next window tells."""
        self.send(1)
        self.watch.sent(self.PIECE, self.LIMIT_S, self.RATE)
        self.clock.advance(10.0)
        self.take(1)
        self.send(30)
        self.taking(WINDOW_S - 10, 0)
        self.assertEqual(self.stalls, [])
        self.taking(2 * WINDOW_S, 0)
        self.assertEqual(len(self.stalls), 1)
        self.assertLessEqual(self.stalls[0], 2 * WINDOW_S + 10)

    def test_little_that_is_not_taken(self) -> None:
        self.send(1)
        self.watch.sent(self.PIECE, self.LIMIT_S, self.RATE)
        self.taking(WINDOW_S, 0, 0.5)
        self.assertEqual(len(self.stalls), 1)

    def test_what_the_transport_has_counts(self) -> None:
        """What it hands to the kernel has not been taken by anybody yet."""
        self.send(1)
        self.hold(50_000)
        self.watch.start(self.LIMIT_S, self.RATE)
        for left in range(40_000, 10_000, -10_000):
            self.transport.queued += 10_000
            self.transport._tempDataLen = left
            self.clock.advance(10.0)
        self.assertEqual(self.stalls, [WINDOW_S])

    def test_emptied_and_filled_again_meanwhile(self) -> None:
        self.send(60)
        self.watch.start(self.LIMIT_S, self.RATE)
        for _ in range(60):
            self.watch.stop()
            self.watch.start(self.LIMIT_S, self.RATE)
            self.taking(1.0, 1, sending=1)
        self.assertEqual(self.stalls, [])
        self.taking(2 * WINDOW_S, 0)
        self.assertEqual(len(self.stalls), 1)

    def test_any_number_will_do(self) -> None:
        self.send(30)
        self.watch.start(self.LIMIT_S)
        self.taking(20 * WINDOW_S, 1, 100.0)
        self.assertEqual(self.stalls, [])
        self.watch.close()

    def test_idle(self) -> None:
        """Nothing waits: the window ends, and another begins with what is sent then."""
        self.send(1)
        self.watch.sent(self.PIECE, self.LIMIT_S, self.RATE)
        self.take(1)
        self.taking(10 * WINDOW_S, 0)
        self.assertEqual((self.stalls, self.clock.getDelayedCalls()), ([], []))
        self.send(30)
        self.watch.sent(30 * self.PIECE, self.LIMIT_S, self.RATE)
        self.taking(WINDOW_S - 1, 0, 0.5)
        self.assertEqual(self.stalls, [])
        self.taking(1, 0, 0.5)
        self.assertEqual(len(self.stalls), 1)

    def test_a_unix_socket(self) -> None:
        """Its queue is longer than its bytes: it is asked for what the transport has alone."""
        directlyProvides(self.transport, IUNIXTransport)
        self.watch = self.make()
        self.watch.start(self.LIMIT_S, self.RATE)
        self.send(1)
        self.transport.queued = 3 * self.PIECE
        self.taking(3 * WINDOW_S, 0)
        self.assertEqual(self.stalls, [], "the kernel took all of it")
        self.hold(50_000)
        self.watch.start(self.LIMIT_S, self.RATE)
        self.taking(2 * WINDOW_S, 0)
        self.assertEqual(len(self.stalls), 1)

    def test_without_a_descriptor(self) -> None:
        self.watch = StallWatch(self.clock, StringTransport(), lambda: self.stalls.append(0.0))
        self.watch.start(self.LIMIT_S, self.RATE)
        self.taking(5 * WINDOW_S, 0)
        self.assertEqual(self.stalls, [])
        self.watch.close()
