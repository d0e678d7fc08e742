"""Series: plain numbers that a registry shows."""

from __future__ import annotations

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest
from twisted.trial.unittest import SynchronousTestCase

from micronode.observability.series import BUCKETS, Budget, Counter, Family, Gauge, Histogram


def text(*families: Family[Counter] | Family[Gauge] | Family[Histogram]) -> list[str]:
    """Return what a registry with *families* shows, without its comments."""
    registry = CollectorRegistry()
    for family in families:
        registry.register(family)
    lines = generate_latest(registry).decode("utf-8").splitlines()
    return [line for line in lines if not line.startswith("#")]


class FamilyTests(SynchronousTestCase):
    """Family, with each kind of child."""

    def setUp(self) -> None:
        self.budget = Budget(20)

    def test_counter(self) -> None:
        family = Family(Counter, "met_total", "Met.", ["who", "code"], self.budget, ("other", "other"))
        family("ann", 200).inc()
        family("ann", 200).inc(2)
        self.assertEqual(text(family), ['met_total{code="200",who="ann"} 3.0'])

    def test_gauge(self) -> None:
        family = Family(Gauge, "here", "Here.", [], self.budget, ())
        family().set(2.5)
        family().inc()
        family().dec()
        family().dec()
        self.assertEqual(text(family), ["here 1.5"])

    def test_histogram(self) -> None:
        """A bound is of its bucket, and each bucket has all below it."""
        family = Family(Histogram, "took", "Took.", [], self.budget, ())
        for seconds in (0.0, BUCKETS[0], BUCKETS[1] * 1.01, 1e9):
            family().observe(seconds)
        counts = (2, 2, 3, 3, 3, 4)
        expected = [
            f'took_bucket{{le="{bound}"}} {float(count)}'
            for bound, count in zip((*BUCKETS, "+Inf"), counts, strict=True)
        ]
        self.assertEqual(text(family)[:-1], [*expected, "took_count 4.0"])
        self.assertEqual(len(text(family)), Histogram.series)

    def test_the_rest(self) -> None:
        """What there is no room for is counted together; room for that is set aside."""
        family = Family(Counter, "met_total", "Met.", ["who"], self.budget, ("other",))
        self.budget.left = 1
        for who in ("ann", "bob", "eve", "ann"):
            family(who).inc()
        self.assertEqual(text(family), ['met_total{who="ann"} 2.0', 'met_total{who="other"} 2.0'])

    def test_a_name_is_taken_once(self) -> None:
        family = Family(Counter, "met_total", "Met.", [], self.budget, ())
        self.assertRaises(ValueError, text, family, Family(Gauge, "met_total", "Met.", [], self.budget, ()))

    def test_room_that_is_kept(self) -> None:
        """What another family is to have is not taken, though it is there."""
        family = Family(Counter, "met_total", "Met.", ["who"], self.budget, ("other",), kept=lambda: 18)
        for who in ("ann", "bob"):
            family(who).inc()
        self.assertEqual(text(family), ['met_total{who="ann"} 1.0', 'met_total{who="other"} 1.0'])
        self.assertEqual(self.budget.left, 18)

    def test_coarser_labels_come_first(self) -> None:
        """Some labels are told while others have no room any more; nothing is kept from them."""
        kept = 18
        family = Family(
            Counter,
            "met_total",
            "Met.",
            ["who", "code"],
            self.budget,
            ("other", "other"),
            coarser=("other", None),
            kept=lambda: kept,
        )
        for who, code in (("ann", 200), ("bob", 200), ("eve", 200), ("bob", 404)):
            family(who, code).inc()
        self.assertEqual(family.shared, 2)
        self.budget.left = 0
        family("bob", 500).inc()
        family("bob", 200).inc()
        self.assertEqual(
            text(family),
            [
                'met_total{code="200",who="ann"} 1.0',
                'met_total{code="200",who="other"} 3.0',
                'met_total{code="404",who="other"} 1.0',
                'met_total{code="other",who="other"} 1.0',
            ],
        )
        self.assertEqual(len(family), 4)

    def test_more_labels_than_are_remembered(self) -> None:
        """None of them gets a second child, and the rest goes on counting."""
        family = Family(Counter, "met_total", "Met.", ["who"], self.budget, ("other",))
        family("ann").inc()
        self.budget.left = 0
        for number in range(5000):
            family(str(number)).inc()
        self.budget.left = 5
        for who in ("4999", "ann", "other"):
            family(who).inc()
        self.assertLessEqual(len(family._found), 4096)
        self.assertEqual(text(family)[:2], ['met_total{who="ann"} 2.0', 'met_total{who="other"} 5001.0'])
