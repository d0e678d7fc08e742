"""Waits between attempts."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode
from micronode.oap.client.backoff import Backoff, is_undone
from micronode.oap.client.errors import OAPError


class BackoffTests(SynchronousTestCase):
    def test_waits_double_up_to_the_cap(self) -> None:
        backoff = Backoff(attempts=2000, first_s=0.5, cap_s=3.0, random=lambda: 1.0)
        waits = [backoff.wait_s(failures, None) for failures in (1, 2, 3, 4, 1500)]
        self.assertEqual(waits, [0.5, 1.0, 2.0, 3.0, 3.0])

    def test_jitter_is_full(self) -> None:
        for part, waited in ((0.0, 0.0), (0.25, 0.5)):
            backoff = Backoff(first_s=1.0, random=lambda part=part: part)  # type: ignore[misc]
            self.assertEqual(backoff.wait_s(2, None), waited)

    def test_never_sooner_than_the_node_says(self) -> None:
        backoff = Backoff(first_s=1.0, random=lambda: 0.5)
        self.assertEqual(backoff.wait_s(1, 2_000), 2.5)

    def test_when_to_fail(self) -> None:
        backoff = Backoff(attempts=3, patience_s=5.0)
        self.assertIsNone(backoff.wait_s(3, None))
        self.assertIsNone(backoff.wait_s(1, 5_001))
        self.assertIsNone(backoff.wait_s(1, 2**53))
        self.assertIsNotNone(backoff.wait_s(1, 5_000))

    def test_nonsense_is_refused(self) -> None:
        for wrong in ({"attempts": 0}, {"first_s": 0}, {"cap_s": -1.0}, {"patience_s": -1.0}):
            self.assertRaises(ValueError, Backoff, **wrong)

    def test_what_guarantees_that_nothing_was_done(self) -> None:
        undone = {code.value for code in ErrorCode if is_undone(OAPError.from_code(code, ""))}
        self.assertEqual(undone, {"busy", "rate_limited", "draining", "not_ready"})
        self.assertFalse(is_undone(ValueError("busy")))
