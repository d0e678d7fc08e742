"""The fuzz target finds nothing in the core, and finds what is broken on purpose."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.connection import NodeConnection
from micronode.oap.wire.decoder import Frame, FrameDecoder
from micronode.oap.wire.events import Event
from tests.fuzz import oap_target, run, shells
from tests.fuzz.held import bytes_held
from tests.fuzz.oracle import (
    ANSWERING,
    CALLER,
    DECODER,
    DENSE,
    GREETED,
    NODE,
    SIDE_MASK,
    SMALL,
    WINDOWED,
    Finding,
)
from tests.fuzz.seeds import DENSE_TALKS, seeds
from tests.fuzz.talk import dense, pieces_of, read_input, write_input
from tests.support.tools import REQUIRE_VARIABLE, missing

#: Where nothing may be missing nothing may be cut short either.
SECONDS = 60 if os.environ.get(REQUIRE_VARIABLE) == "1" else 3


def check_all() -> int:
    """Play every seed; return how many there were."""
    played = set(seeds())
    for seed in sorted(played):
        oap_target.check(seed)
    return len(played)


class InputTests(SynchronousTestCase):
    """What an input's bytes mean."""

    def test_round_trip(self) -> None:
        self.assertEqual(read_input(write_input(7, b"talk", (1, 2_000))), (7, [1, 2_000], b"talk"))
        self.assertEqual(read_input(b"\x07"), (0, [], b""))

    def test_pieces(self) -> None:
        """Cuts may come in any order and be beyond the end; no byte is lost."""
        self.assertEqual(pieces_of(b"abcdef", [3, 1]), [b"a", b"bc", b"def"])
        self.assertEqual(b"".join(pieces_of(b"abcdef", [40, 7, 9])), b"abcdef")

    def test_dense(self) -> None:
        """Three bytes and a payload are one frame, of either side."""
        for caller in (True, False):
            for talk in DENSE_TALKS:
                self.assertTrue(list(FrameDecoder().feed(dense(talk, caller=caller))))

    def test_held(self) -> None:
        """All bytes that an object of ours reaches count, each object once."""
        decoder = FrameDecoder()
        list(decoder.feed(b"\x00\x00\x00\x40\x00"))
        self.assertEqual(bytes_held(decoder), 5)
        self.assertEqual(bytes_held([decoder, {b"key": (b"ab", bytearray(3))}, decoder]), 13)


class TargetTests(SynchronousTestCase):
    """The oracle, without a fuzzer."""

    def test_seeds(self) -> None:
        """Each side and mode has seeds, and nothing is wrong with any."""
        modes = {read_input(seed)[0] for seed in seeds()}
        self.assertEqual({mode & SIDE_MASK for mode in modes}, {DECODER, CALLER, NODE})
        for bit in (GREETED, DENSE, SMALL, ANSWERING, WINDOWED):
            self.assertEqual({bool(mode & bit) for mode in modes}, {True, False})
        self.assertGreater(check_all(), 1_000)

    def finds(self, what: str) -> None:
        """Assert that a seed finds *what*."""
        with self.assertRaisesRegex(Finding, what):
            check_all()

    def test_split(self) -> None:
        """A decoder to which it matters how the bytes come."""

        class Forgetful(FrameDecoder):
            def feed(self, data: bytes) -> Iterator[Frame]:
                return super().feed(data[1:] if self.mid_frame else data)

        self.patch(oap_target, "FrameDecoder", Forgetful)
        self.finds("another split")

    def test_round_trip(self) -> None:
        """A decoder that loses a bit of what it reads."""

        class Lossy(FrameDecoder):
            def feed(self, data: bytes) -> Iterator[Frame]:
                for flags, *rest in super().feed(data):
                    yield (flags & ~32, *rest)  # type: ignore[misc]

        self.patch(oap_target, "FrameDecoder", Lossy)
        self.finds("encodes to other bytes")

    def test_memory(self) -> None:
        """A connection that keeps what it has read."""

        class Hoarder(NodeConnection):
            def receive(self, data: bytes) -> Iterator[Event]:
                self.hoard = [*getattr(self, "hoard", ()), data]
                return super().receive(data)

        self.patch(shells, "NodeConnection", Hoarder)
        self.finds("bytes are held")

    def test_terminal_frames(self) -> None:
        """A node that says everything twice."""

        class Stutterer(NodeConnection):
            def receive(self, data: bytes) -> Iterator[Event]:
                for event in super().receive(data):
                    yield event
                    if type(event).__name__ == "StreamOpened":
                        yield event

        self.patch(shells, "NodeConnection", Stutterer)
        self.finds("opened twice")

    def test_lost_credit(self) -> None:
        """A node that forgets the bytes it drops."""

        class Miser(NodeConnection):
            def __init__(self, **settings: Any) -> None:
                super().__init__(**settings)
                self._streams.windows.over = lambda *_, **__: None  # type: ignore[method-assign]

        self.patch(shells, "NodeConnection", Miser)
        self.finds("never credited")

    def test_exceptions(self) -> None:
        """Whatever else is raised comes out of the oracle as it is."""

        class Broken(NodeConnection):
            def receive(self, data: bytes) -> Iterator[Event]:
                raise KeyError(len(data))

        self.patch(shells, "NodeConnection", Broken)
        self.assertRaises(KeyError, check_all)


class FuzzTests(SynchronousTestCase):
    """The fuzzer itself, for a while."""

    def fuzz(self, *arguments: str) -> tuple[int, str]:
        """Run the runner in a process; return its exit status and what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "tests.fuzz.run", *arguments],
            cwd=run.ROOT,
            capture_output=True,
            text=True,
            timeout=SECONDS + 120,
            check=False,
        )
        return done.returncode, done.stdout + done.stderr

    def test_a_while(self) -> None:
        """It goes beyond the seeds, and finds nothing."""
        if not run.is_available():
            missing("atheris is not installed")
        status, printed = self.fuzz("--seconds", str(SECONDS))
        self.assertEqual(status, 0, printed)
        found = re.search(r"(\d+) seeds.*?(\d+) executions, \d+ a second, 0 findings", printed, re.S)
        assert found is not None, printed
        self.assertGreater(int(found[2]), int(found[1]))

    def test_replay(self) -> None:
        """An input by hand, without the fuzzer."""
        self.assertEqual(self.fuzz("--replay", "0600"), (0, "nothing was found\n"))
