"""The log's writer: in order, never blocking, bounded, and whoever reads late learns what was lost."""

from __future__ import annotations

import contextlib
import gc
import os
import pty
import select
import socket
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.observability import writer
from micronode.observability.writer import LOOK_S, MAX_BYTES, MAX_LINES, Descriptor, LineWriter


class Reader:
    """An output whose reader has a mood.

    :ivar room: bytes that it takes without blocking.
    :ivar piece: bytes that it takes at a time.
    :ivar writes: how many took something.
    :ivar error: raised by the next write.
    """

    def __init__(self) -> None:
        self.room = 0
        self.writes = 0
        self.piece = 1 << 20
        self.error: Exception | None = None
        self.data = b""
        self.waited: list[float] = []

    def ready(self, within_s: float = 0.0) -> bool:
        self.waited.append(within_s)
        return self.room > 0

    def write(self, data: bytes) -> int:
        if self.error is not None:
            error, self.error = self.error, None
            raise error
        taken = data[: min(self.piece, self.room)]
        assert taken, "this write would block"
        self.room -= len(taken)
        self.data += taken
        self.writes += 1
        return len(taken)


class LineWriterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.reader = Reader()
        self.dropped: list[int] = []
        self.lines = LineWriter(self.reader, self.clock, self.dropped.append)

    def test_writes_at_once_where_it_can(self) -> None:
        self.reader.room = 100
        self.lines.write("caf\u00e9\n")
        self.assertEqual(self.reader.data, b"caf\xc3\xa9\n")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_and_goes_on_in_order(self) -> None:
        self.lines.write("one\n")
        self.lines.write("two\n")
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.reader.room = 6
        self.clock.advance(LOOK_S)
        self.assertEqual(self.reader.data, b"one\ntw")
        self.reader.room = 100
        self.lines.write("three\n")
        self.clock.advance(LOOK_S)
        self.assertEqual(self.reader.data, b"one\ntwo\nthree\n")
        self.assertEqual((self.clock.getDelayedCalls(), self.dropped), ([], []))

    def test_asks_before_every_piece(self) -> None:
        """Room for one piece is not room for a line."""
        self.reader.room = self.reader.piece = 4
        self.lines.write("0123456789\n")
        self.assertEqual(self.reader.data, b"0123")
        self.assertEqual(len(self.reader.waited), 2)
        self.assertEqual(set(self.reader.waited), {0.0})

    def test_keeps_so_many_lines(self) -> None:
        for _ in range(MAX_LINES + 7):
            self.lines.write("x\n")
        self.assertEqual(self.dropped, [])
        self.reader.room = 1 << 20
        self.clock.advance(LOOK_S)
        self.assertEqual(self.reader.data, b"x\n" * MAX_LINES)
        self.assertEqual(self.dropped, [7])
        self.clock.advance(LOOK_S)
        self.assertEqual(self.dropped, [7])

    def test_keeps_so_many_bytes(self) -> None:
        for _ in range(3):
            self.lines.write("x" * (MAX_BYTES // 2))
        # Smaller ones still find room, or do not.
        self.lines.write("y")
        self.reader.room = 1 << 20
        self.clock.advance(LOOK_S)
        self.assertEqual(self.reader.data, b"x" * MAX_BYTES)
        self.assertEqual(self.dropped, [2])
        self.lines.write("z")
        self.assertTrue(self.reader.data.endswith(b"xz"))

    def test_reader_that_has_gone(self) -> None:
        self.reader.room = 100
        for error in (BrokenPipeError(), OSError(28, "No space left on device"), ValueError("closed file")):
            self.reader.error = error
            self.lines.write("lost\n")
        self.lines.write("kept\n")
        self.assertEqual(self.reader.data, b"kept\n")
        self.assertEqual((self.clock.getDelayedCalls(), self.dropped), ([], []))

    def test_file_that_another_process_made_non_blocking(self) -> None:
        self.reader.room = 100
        self.reader.error = BlockingIOError()
        self.lines.write("kept\n")
        self.assertEqual(self.reader.data, b"")
        self.clock.advance(LOOK_S)
        self.assertEqual(self.reader.data, b"kept\n")

    def test_the_end_waits_a_moment(self) -> None:
        for _ in range(MAX_LINES + 1):
            self.lines.write("x\n")
        self.reader.room = 1 << 20
        self.lines.close()
        self.assertEqual(len(self.reader.data), 2 * MAX_LINES)
        self.assertEqual(self.dropped, [1])
        self.assertEqual(self.reader.waited[0], 0.0)
        self.assertTrue(all(0 < within_s <= writer.LAST_S for within_s in self.reader.waited[1:]))

    def test_the_end_does_not_wait_for_ever(self) -> None:
        self.lines.write("x\n")
        self.lines.close()
        self.assertEqual(self.reader.data, b"")
        self.assertEqual(len(self.reader.waited), 2)

    def test_collects_what_is_in_no_hurry(self) -> None:
        """Until the reactor's turn ends; then it is one write, in order."""
        self.reader.room = 100
        for line in ("one\n", "two\n", "three\n"):
            self.lines.write(line, hurry=False)
        self.assertEqual(self.reader.data, b"")
        self.clock.advance(0)
        self.assertEqual((self.reader.data, self.reader.writes), (b"one\ntwo\nthree\n", 1))
        self.lines.write("four\n", hurry=False)
        self.clock.advance(0)
        self.assertEqual((self.reader.data, self.reader.writes), (b"one\ntwo\nthree\nfour\n", 2))
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_in_a_hurry_takes_those_before_it_along(self) -> None:
        self.reader.room = 100
        self.lines.write("one\n", hurry=False)
        self.lines.write("two\n")
        self.assertEqual((self.reader.data, self.reader.writes), (b"one\ntwo\n", 1))
        self.clock.advance(0)
        self.assertEqual(self.reader.data, b"one\ntwo\n")

    def test_collects_no_more_than_is_written_at_once(self) -> None:
        self.reader.room = 1 << 20
        line = "x" * 1_000 + "\n"
        for count in range(1, 6):
            self.lines.write(line, hurry=False)
            # As one write of a pipe may take all of it or, beyond that, a part.
            self.assertEqual(len(self.reader.data), 0 if count < 5 else 5 * len(line))
        self.assertEqual(self.reader.writes, 2)

    def test_collected_while_the_reader_is_behind(self) -> None:
        self.lines.write("one\n", hurry=False)
        self.lines.write("two\n")
        self.clock.advance(0)
        self.lines.write("three\n", hurry=False)
        self.clock.advance(0)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.reader.room = 100
        self.clock.advance(LOOK_S)
        self.assertEqual(self.reader.data, b"one\ntwo\nthree\n")

    def test_the_end_takes_what_was_collected(self) -> None:
        """There is no further turn then, nor for what still comes."""
        self.reader.room = 100
        self.lines.write("one\n", hurry=False)
        self.lines.close()
        self.assertEqual(self.reader.data, b"one\n")
        self.lines.write("two\n", hurry=False)
        self.assertEqual(self.reader.data, b"one\ntwo\n")


class DescriptorTests(SynchronousTestCase):
    """Real files of the system."""

    def pipe(self) -> tuple[Any, Any]:
        near, far = os.pipe()
        files = open(near, "rb", buffering=0), open(far, "wb", buffering=0)  # noqa: SIM115
        for file in files:
            self.addCleanup(file.close)
        return files

    def fill(self, file: Any, data: bytes = b"x" * 100_000) -> int:
        """Write until it is not ready; return how much that was. It blocks where this is wrong."""
        output, written = Descriptor(file), 0
        while output.ready():
            with contextlib.suppress(BlockingIOError):
                written += output.write(data)
            self.assertLess(written, 1 << 24)
        return written

    def test_pipe(self) -> None:
        near, far = self.pipe()
        self.assertGreaterEqual(self.fill(far), select.PIPE_BUF)
        self.assertTrue(os.get_blocking(far.fileno()))
        self.assertFalse(Descriptor(far).ready(0.01))
        near.read(select.PIPE_BUF)
        self.assertTrue(Descriptor(far).ready())

    def terminal(self) -> tuple[Any, Any]:
        near, far = pty.openpty()
        files = open(near, "rb", buffering=0), open(far, "wb", buffering=0)  # noqa: SIM115
        for file in files:
            self.addCleanup(file.close)
        return files

    def test_terminal(self) -> None:
        near, far = self.terminal()
        # Pieces that do not just fit; a line feed is two bytes on a terminal.
        self.assertGreater(self.fill(far, b"x" * 998 + b"\n"), 0)
        # Another process that writes to it goes on as it was.
        self.assertTrue(os.get_blocking(far.fileno()))
        near.read(1 << 20)
        self.assertTrue(Descriptor(far).ready(10))

    def test_terminal_of_somebody_else(self) -> None:
        """Then there is only the file that was handed to us."""
        near, far = self.terminal()

        def refuse(*_: Any, **__: Any) -> int:
            raise PermissionError

        self.patch(os, "open", refuse)
        self.assertEqual(Descriptor(far).write(b"x"), 1)
        self.assertEqual(near.read(1), b"x")

    def test_socket(self) -> None:
        ends = socket.socketpair()
        for end in ends:
            self.addCleanup(end.close)
        self.assertGreater(self.fill(ends[1]), 0)

    def test_file_is_always_ready(self) -> None:
        with open(self.mktemp(), "wb") as file:
            self.assertTrue(Descriptor(file).ready())

    def test_one_whose_reader_has_gone_is_ready_to_say_so(self) -> None:
        near, far = self.pipe()
        self.fill(far)
        near.close()
        output = Descriptor(far)
        self.assertTrue(output.ready())
        self.assertRaises(BrokenPipeError, output.write, b"x")

    def test_stream_is_kept_open(self) -> None:
        near, far = self.pipe()
        output = Descriptor(open(os.dup(far.fileno()), "w"))  # noqa: SIM115
        gc.collect()
        output.write(b"x")
        self.assertEqual(near.read(1), b"x")
