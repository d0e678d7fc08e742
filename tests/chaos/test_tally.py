"""What chaos counts: a bound that broke is seen."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.chaos.lines import Ended
from tests.chaos.tally import Tally, percentile_ms


class TallyTests(SynchronousTestCase):
    def test_shares(self) -> None:
        """They are of all calls, or of those of one kind."""
        tally = Tally()
        for ended in (Ended(200), Ended(201), Ended(429, "busy", 1), Ended(504, "owner_timeout")):
            tally.add("http", "search", ended, 0.5)
        tally.add("oap", "put", Ended(429, "busy", 1.5), 0.25)
        self.assertEqual(tally.count("2"), 2)
        self.assertEqual(tally.share("429 busy"), 2 / 5)
        self.assertEqual(tally.share("429", call="put"), 1.0)
        self.assertEqual(tally.count("2", "504", door="oap"), 0)
        self.assertEqual(tally.good(), [0.5, 0.5])
        self.assertEqual(sorted(tally.refused_s), [0.25, 0.5])
        self.assertEqual(tally.retry_after_s, {429: [1, 1.5]})

    def test_a_refusal_without_a_time(self) -> None:
        """None, or less than a second: it is told. For the next token to come it may be less."""
        tally = Tally()
        for ended in (Ended(429, "busy"), Ended(503, "draining", 0.5), Ended(503, "draining", 1), Ended(404)):
            tally.add("oap", "search", ended, 0.1)
        for wait_s in (None, 0.0, 0.02):
            tally.add("oap", "search", Ended(429, "rate_limited", wait_s), 0.1)
        expected = {
            "oap search 429 busy: None": 1,
            "oap search 503 draining: 0.5": 1,
            "oap search 429 rate_limited: None": 1,
            "oap search 429 rate_limited: 0.0": 1,
        }
        self.assertEqual(tally.silent, expected)

    def test_lost(self) -> None:
        """A listener that is gone loses calls, too, unless the node is to end."""
        tally = Tally()
        for why in ("no listener", "closed", "cut", "closed"):
            tally.add("http", "search", Ended(lost=why), 0.1)
        lost = {"http search lost: closed": 2, "http search lost: cut": 1}
        self.assertEqual(tally.lost_on_a_line, lost)
        self.assertEqual(tally.lost, lost | {"http search lost: no listener": 1})
        self.assertEqual(tally.count(), 4)

    def test_merged(self) -> None:
        """What two have counted apart is what one would have."""
        one, other, both = Tally(seconds=1.0), Tally(seconds=2.0, dropped=1), Tally(seconds=3.0, dropped=1)
        for tally, ended in (
            (one, Ended(200)),
            (one, Ended(429, "busy", 1)),
            (other, Ended(200)),
            (other, Ended(429, "busy", 2)),
            (other, Ended(503, "draining")),
            (other, Ended(lost="cut")),
        ):
            for each in (tally, both):
                each.add("http", "search", ended, 0.1)
        one.merge(other)
        self.assertEqual(one, both)

    def test_percentiles(self) -> None:
        """They are in milliseconds."""
        self.assertApproximates(percentile_ms([each / 1000 for each in range(101)], 99), 99, 1)
