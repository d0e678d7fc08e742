"""The intake: whoever goes while nothing is read is noticed, and whoever stays is left alone."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.hangup import ASK_LOOKS, LOOK_S, SOON_S, Intake, was_reset


class Socket(StringTransport):
    """A transport whose descriptor is a real socket's."""

    def __init__(self, near: socket.socket) -> None:
        super().__init__()
        self.near = near

    def fileno(self) -> int:
        return self.near.fileno()


class IntakeTests(SynchronousTestCase):
    def make(
        self, *, over_tcp: bool = True, ends: bool = False, ask: Callable[[], None] | None = None
    ) -> None:
        """:param ends: whether it is told when the other end shuts down its writing side."""
        if over_tcp:
            with socket.create_server(("127.0.0.1", 0)) as listener:
                self.far = socket.create_connection(listener.getsockname())
                near, _ = listener.accept()
        else:
            near, self.far = socket.socketpair()
        self.addCleanup(near.close)
        self.addCleanup(self.far.close)
        self.clock = Clock()
        self.heard: list[str] = []
        self.transport = Socket(near)
        self.intake = Intake(
            self.clock,
            self.transport,
            lost=lambda: self.heard.append("lost"),
            ended=(lambda: self.heard.append("ended")) if ends else None,
            ask=ask,
        )

    def reset(self) -> None:
        """End the far side with a reset."""
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far.close()

    def test_stops_and_starts_only_when_it_must(self) -> None:
        self.make()
        self.intake.pause()
        self.assertEqual(self.transport.producerState, "paused")
        self.transport.producerState = "as it was"
        self.intake.pause()
        self.assertEqual(self.transport.producerState, "as it was")
        self.intake.resume()
        self.assertEqual(self.transport.producerState, "producing")
        self.transport.producerState = "as it was"
        self.intake.resume()
        self.assertEqual(self.transport.producerState, "as it was")

    def test_reset(self) -> None:
        self.make()
        self.intake.pause()
        self.far.send(b"unread")
        self.reset()
        self.clock.advance(LOOK_S / 2)
        self.assertEqual(self.heard, [])
        self.clock.advance(LOOK_S / 2)
        self.assertEqual(self.heard, ["lost"])

    def test_was_reset(self) -> None:
        """That both sides have closed is no reset; one is seen also behind the end of input."""
        self.make()
        near = self.transport.near
        near.setblocking(False)
        with self.assertRaises(BlockingIOError):
            while True:  # until both kernels are full: else the close would be whole
                near.send(bytes(65_536))
        self.far.shutdown(socket.SHUT_WR)
        near.setblocking(True)
        self.assertEqual(near.recv(1), b"")
        near.shutdown(socket.SHUT_WR)
        self.assertFalse(was_reset(self.transport))
        self.reset()
        self.assertTrue(was_reset(self.transport))
        self.assertFalse(was_reset(StringTransport()))

    def test_looks_soon_where_something_was_asked(self) -> None:
        self.make()
        self.intake.look_soon()
        self.assertEqual(self.clock.getDelayedCalls(), [], "it reads, and is told of everything")
        self.intake.pause()
        self.clock.advance(LOOK_S / 2)
        self.intake.look_soon()
        self.clock.advance(SOON_S)
        self.assertEqual(self.heard, [])
        self.reset()
        self.clock.advance(LOOK_S - SOON_S)
        self.assertEqual(self.heard, [], "then it looks as ever")
        self.intake.look_soon()
        self.clock.advance(SOON_S)
        self.assertEqual(self.heard, ["lost"])

    def test_unix_socket_closed(self) -> None:
        self.make(over_tcp=False)
        self.intake.pause()
        self.far.send(b"unread")
        self.far.close()
        self.clock.advance(LOOK_S)
        self.assertEqual(self.heard, ["lost"])

    def test_half_close_is_no_end(self) -> None:
        for over_tcp in (True, False):
            for unread in (b"", b"unread"):
                self.make(over_tcp=over_tcp)
                self.intake.pause()
                self.far.send(unread)
                self.far.shutdown(socket.SHUT_WR)
                self.clock.pump([LOOK_S] * 3)
                self.assertEqual(self.heard, [])
                # ... and whoever did that may go altogether.
                self.reset()
                self.clock.advance(LOOK_S)
                self.assertEqual(self.heard, ["lost"])

    def test_half_close_is_told_who_wants_to_hear_of_it(self) -> None:
        for over_tcp in (True, False):
            for unread in (b"", b"unread"):
                self.make(over_tcp=over_tcp, ends=True)
                self.intake.pause()
                self.far.send(unread)
                self.clock.advance(LOOK_S)
                self.assertEqual(self.heard, [])
                self.far.shutdown(socket.SHUT_WR)
                self.clock.advance(LOOK_S)
                self.assertEqual(self.heard, ["ended"])
                self.reset()
                self.clock.advance(LOOK_S)
                self.assertEqual(self.heard[1:], ["lost"], "that is more than an end")

    def test_silent_while_reading(self) -> None:
        """The transport itself sees it then."""
        self.make()
        self.intake.pause()
        self.intake.resume()
        self.reset()
        self.clock.pump([LOOK_S] * 3)
        self.assertEqual(self.heard, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_timer_however_often_it_stops(self) -> None:
        self.make()
        for _ in range(100):
            self.intake.pause()
            self.intake.resume()
        self.intake.pause()
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([LOOK_S] * 3)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)

    def test_closed_it_leaves_nothing(self) -> None:
        self.make()
        self.intake.pause()
        self.intake.close()
        self.intake.close()
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_may_be_closed_by_what_it_calls(self) -> None:
        self.make()
        self.intake = Intake(self.clock, self.transport, lost=lambda: self.intake.close())
        self.intake.pause()
        self.reset()
        self.clock.advance(LOOK_S)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_no_descriptor(self) -> None:
        """A transport in memory has none; a closed socket's is -1."""
        self.make()
        self.transport.near.close()
        for transport in (StringTransport(), self.transport):
            intake = Intake(self.clock, transport, lost=lambda: self.heard.append("lost"))
            intake.pause()
            self.clock.advance(LOOK_S)
            self.assertEqual(self.heard, [])
            intake.close()

    def test_asks_while_it_is_stopped(self) -> None:
        self.make(ask=lambda: self.heard.append("asked"))
        self.intake.pause()
        self.clock.advance(LOOK_S)
        self.assertEqual(self.heard, [])
        self.clock.pump([LOOK_S] * 3)
        self.assertEqual(self.heard, ["asked"] * 2)

    def test_short_stops_ask_nothing(self) -> None:
        self.make(ask=lambda: self.heard.append("asked"))
        for _ in range(50):
            self.intake.pause()
            self.clock.advance(LOOK_S)
            self.intake.resume()
        self.assertEqual(self.heard, [])

    def test_whoever_closed_is_found_out_by_asking(self) -> None:
        self.make(ask=lambda: self.transport.near.sendall(b"anybody there?"))
        self.intake.pause()
        self.far.send(b"unread")
        self.far.close()
        self.clock.pump([LOOK_S] * ASK_LOOKS)
        self.assertEqual(self.heard, [])
        self.clock.advance(LOOK_S)
        self.assertEqual(self.heard, ["lost"])
