"""The stall watch: a peer that takes bytes is left alone, however slowly; one that takes none is told."""

from __future__ import annotations

import os
import socket

from twisted.internet.interfaces import IUNIXTransport
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import directlyProvides

from micronode.concurrency.stall import StallWatch, unacknowledged

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
