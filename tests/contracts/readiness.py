"""What every IReadinessCheck promises; mixed into a SynchronousTestCase for each implementation."""

from __future__ import annotations

from typing import Any

from zope.interface.verify import verifyObject

from micronode.interfaces import IReadinessCheck

STATES = ("starting", "ok", "degraded", "down")


class ReadinessContract:
    """Subclasses have ``make_check(name)``, and ``find(state)``, which makes *state* what it finds."""

    @property
    def case(self) -> Any:
        return self

    def test_is_a_check(self) -> None:
        check = self.case.make_check("index")
        verifyObject(IReadinessCheck, check)
        self.case.assertEqual(check.name, "index")
        self.case.assertIn(check.state(), STATES)

    def test_says_what_it_found_last(self) -> None:
        check = self.case.make_check("index")
        for state in ("ok", "degraded", "down", "ok"):
            self.case.find(state)
            self.case.assertEqual([check.state(), check.state()], [state, state])
