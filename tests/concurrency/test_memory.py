"""The account of what a node holds for its callers."""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogLevel, capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.memory import DEAF_S, LOOK_S, REASON, SOURCE, Buffers, buffered_bytes
from micronode.concurrency.tally import PERIOD_S
from micronode.concurrency.unfinished import GRACE_S
from micronode.errors import ErrorCode


class BuffersTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.rejected: list[str] = []
        self.told: list[bool] = []
        self.buffers = Buffers(1000, self.clock, rejected=self.rejected.append)
        self.buffers.watchers.append(self.told.append)

    def turn(self) -> list[bool]:
        """Let a turn of the reactor pass; return what the watcher was told."""
        self.clock.advance(0)
        told = self.told[:]
        self.told.clear()
        return told

    def test_tight_at_eighty_percent(self) -> None:
        self.buffers.add(799)
        self.assertEqual((self.buffers.tight, self.turn()), (False, []))
        self.buffers.add(1)
        self.assertEqual((self.buffers.tight, self.told), (True, []), "told in a turn of its own")
        self.assertEqual(self.turn(), [True])

    def test_easy_again_below_seventy(self) -> None:
        self.buffers.add(900)
        self.turn()
        self.buffers.add(-200)
        self.assertEqual((self.buffers.tight, self.turn()), (True, []))
        self.buffers.add(-1)
        self.assertEqual((self.buffers.tight, self.turn()), (False, [False]))

    def test_a_moment_s_tightness_is_not_told(self) -> None:
        self.buffers.add(900)
        self.buffers.add(-900)
        self.assertEqual(self.turn(), [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_full_at_the_limit(self) -> None:
        self.buffers.add(999)
        self.assertFalse(self.buffers.full)
        self.buffers.add(1)
        self.assertTrue(self.buffers.full)

    def test_another_limit(self) -> None:
        self.buffers.add(900)
        self.turn()
        self.buffers.bound(2000)
        self.assertEqual((self.buffers.tight, self.turn()), (False, [False]))
        self.buffers.bound(900)
        self.assertEqual((self.buffers.tight, self.buffers.full, self.turn()), (True, True, [True]))

    def test_no_limit(self) -> None:
        buffers = Buffers()
        buffers.add(1 << 60)
        self.assertEqual((buffers.tight, buffers.full), (False, False))

    def test_turns_are_logged(self) -> None:
        with capturedLogs() as logs:
            self.buffers.add(800)
            self.turn()
            self.buffers.add(-800)
            self.turn()
        self.assertEqual(
            [(event["log_level"], event["log_format"], event["held"]) for event in logs],
            [(LogLevel.warn, "buffers_tight", 800), (LogLevel.info, "buffers_easy", 0)],
        )

    def test_refusals_are_counted_and_told_now_and_then(self) -> None:
        with capturedLogs() as logs:
            refusals = [self.buffers.refusal() for _ in range(10)]
        self.assertEqual((self.rejected, len(logs)), ([REASON] * 10, 1))
        self.assertEqual((refusals[0].code, refusals[0].source), (ErrorCode.BUSY, SOURCE))

    def test_the_last_refusals_are_told_too(self) -> None:
        with capturedLogs() as logs:
            for _ in range(10):
                self.buffers.refusal()
            self.clock.pump([PERIOD_S] * 2)
        self.assertEqual(
            [(each["log_format"], each["count"]) for each in logs],
            [("buffers_refused", 1), ("buffers_refused", 9), ("buffers_refused_ended", 10)],
        )
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_stop_tells_what_is_left_and_nothing_after(self) -> None:
        with capturedLogs() as logs:
            self.buffers.refusal()
            self.buffers.stopService()
            self.buffers.refusal()
        self.assertEqual([each["log_format"] for each in logs], ["buffers_refused", "buffers_refused_ended"])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_refused_come_back_at_different_times(self) -> None:
        times = [Buffers(chance=lambda c=c: c).refusal().retry_after_ms for c in (0.0, 0.5, 1.0)]  # type: ignore[misc]
        self.assertEqual(times, [1000, 2000, 3000])


class Silent:
    """Holds some of the memory, and gives it back when it is to make room."""

    def __init__(
        self, buffers: Buffers, size: int, now_s: float = 0.0, before: Callable[[], object] = lambda: None
    ) -> None:
        """:param before: called before it does."""
        self.gone = False
        self._buffers, self._size, self._before = buffers, size, before
        buffers.unfinished.came(self, size, now_s)
        buffers.add(size)

    def make_room(self) -> None:
        self.gone = True
        self._before()
        self._buffers.add(-self._size)


class TightTests(SynchronousTestCase):
    """What comes of it while it lasts, also where it is over for a moment that nobody was told of."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.told: list[bool] = []
        self.buffers = Buffers(1000, self.clock)
        self.buffers.watchers.append(self.told.append)

    def pass_time(self, seconds: float) -> None:
        self.clock.pump([LOOK_S] * round(seconds / LOOK_S + 1))

    def test_those_who_wait_are_read_in_the_end(self) -> None:
        self.buffers.add(900)
        self.pass_time(DEAF_S / 2)
        self.assertEqual((self.buffers.deaf, self.told), (True, [True]))
        self.pass_time(DEAF_S)
        self.assertEqual((self.buffers.tight, self.buffers.deaf, self.told), (True, False, [True, False]))

    def test_over_for_a_moment(self) -> None:
        """Those who are not read stay so, and are read when the time is over."""
        self.buffers.add(900)
        self.clock.advance(0)
        self.buffers.add(-900)
        self.buffers.add(900)
        self.assertTrue(self.buffers.deaf)
        self.pass_time(DEAF_S / 2)
        self.assertEqual((self.buffers.deaf, self.told), (True, [True]))
        self.pass_time(DEAF_S)
        self.assertEqual((self.buffers.deaf, self.told), (False, [True, False]))

    def test_over_for_a_moment_when_they_are_read_again(self) -> None:
        """Nobody is left alone for it who was told otherwise."""
        self.buffers.add(900)
        self.pass_time(DEAF_S)
        self.buffers.add(-900)
        self.buffers.add(900)
        self.pass_time(DEAF_S)
        self.assertEqual((self.buffers.deaf, self.told), (False, [True, False]))

    def test_room_that_is_taken_before_anybody_hears_of_it(self) -> None:
        """Then the next one makes way."""
        seconds: list[Silent] = []

        def come() -> None:
            seconds.append(Silent(self.buffers, 900, self.clock.seconds()))

        # In the same turn of the reactor as it is told, and before.
        first = Silent(self.buffers, 900, before=lambda: self.clock.callLater(0, come))
        self.pass_time(2 * GRACE_S)
        self.assertTrue(first.gone)
        self.pass_time(2 * GRACE_S)
        self.assertTrue(seconds[0].gone)
        self.assertEqual((self.buffers.tight, self.told), (False, [True, False]))

    def test_nothing_is_left_in_the_reactor(self) -> None:
        self.buffers.add(900)
        self.pass_time(DEAF_S)
        self.buffers.add(-900)
        self.pass_time(LOOK_S)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class UnsentTests(SynchronousTestCase):
    def test_one_in_memory_does_not_tell(self) -> None:
        self.assertEqual(buffered_bytes(StringTransport()), 0)

    def test_what_the_kernel_has_not(self) -> None:
        transport = StringTransport()
        transport.dataBuffer = b"abc"  # type: ignore[attr-defined]
        transport._tempDataLen = 4  # type: ignore[attr-defined]
        self.assertEqual(buffered_bytes(transport), 7)
