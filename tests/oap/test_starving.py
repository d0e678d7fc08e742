"""How long an answer waits for CREDIT: at a time, and in all."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.concurrency.stall import WINDOW_S
from micronode.oap.starving import Starving

LIMIT_S = 20.0
RATE = 1_000


class StarvingTests(SynchronousTestCase):
    """Starving on a clock."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.starving = self.make(RATE)

    def make(self, min_rate: int) -> Starving:
        return Starving(
            self.clock, LIMIT_S, lambda: self.expired.append(self.clock.seconds()), min_rate=min_rate
        )

    def wait(self, seconds: float, up_to: int) -> None:
        """Let the window be empty for *seconds*, until there is CREDIT for *up_to* bytes."""
        self.starving.start()
        self.clock.advance(seconds)
        self.starving.stop(up_to)

    def assert_over(self, *at: float) -> None:
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), (list(at), []))

    def test_too_long_at_a_time(self) -> None:
        self.starving.start()
        self.clock.advance(LIMIT_S)
        self.assert_over(LIMIT_S)

    def test_a_byte_now_and_then(self) -> None:
        for up_to in (1, 2):
            self.wait(LIMIT_S / 2, up_to)
        self.assertEqual(self.expired, [])
        self.wait(LIMIT_S / 2, 3)
        self.assert_over(1.5 * LIMIT_S)

    def test_enough(self) -> None:
        for number in range(1, 50):
            self.wait(10.0, number * 10 * RATE)
        self.assertEqual(self.expired, [])
        self.starving.close()
        self.assert_over()

    def test_no_more_than_the_owner_sends(self) -> None:
        """Between its pieces the window is not empty: that is no time of the caller's."""
        for number in range(1, 100):
            self.wait(0.1, number)
            self.clock.advance(60.0)
        self.assertEqual(self.expired, [])
        self.starving.close()

    def test_each_window_by_itself(self) -> None:
        """What was taken long ago is no excuse."""
        self.wait(WINDOW_S / 2, 50 * RATE)
        self.wait(WINDOW_S / 2, 100 * RATE)
        self.assertEqual(self.expired, [])
        for number in range(3):
            self.wait(10.0, 100 * RATE + number)
        self.assertEqual(len(self.expired), 1)

    def test_any_number_will_do(self) -> None:
        self.starving = self.make(0)
        for number in range(20):
            self.wait(10.0, number)
        self.assertEqual(self.expired, [])
        self.starving.close()

    def test_while_nothing_of_the_caller_is_read(self) -> None:
        """Its CREDIT may be there."""
        self.starving.start()
        for _ in range(20):
            self.clock.advance(1.0)
            self.starving.hold()
            self.clock.advance(100.0)
            self.starving.release()
            self.starving.release()
            self.starving.stop(1)
            self.starving.start()
        self.assertEqual(self.expired, [])
        self.clock.advance(LIMIT_S)
        self.assertEqual(len(self.expired), 1)

    def test_held_again_and_again(self) -> None:
        """Holding it wins nothing."""
        self.starving.start()
        for _ in range(5):
            self.clock.advance(4.0)
            self.starving.hold()
            self.starving.release()
        self.assertEqual(len(self.expired), 1)

    def test_held_when_nothing_is_waited_for(self) -> None:
        self.starving.hold()
        self.starving.release()
        self.clock.advance(10 * LIMIT_S)
        self.wait(1.0, 1)
        self.assertEqual(self.expired, [])
        self.starving.close()
