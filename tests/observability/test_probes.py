"""The shapes of /healthz, /readyz and /version: golden, so they are compared whole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from micronode.interfaces import IReadinessCheck
from micronode.lifecycle import State
from micronode.observability.probes import DEPS, RETRY_AFTER_S, Check, Probes
from tests.contracts.readiness import ReadinessContract

NOW_S = 1_790_000_000.0


@implementer(IReadinessCheck)
class StubCheck:
    """A check that says what the test says."""

    def __init__(self, name: str, answer: str = "ok") -> None:
        self.name = name
        self.answer = answer

    def state(self) -> str:
        return self.answer


class ProbesTests(SynchronousTestCase):
    """Probes."""

    def setUp(self) -> None:
        self.state = State.RUNNING.value
        self.on_time = self.fit = True
        self.shedding = False
        self.now_s = NOW_S
        self.checks = {name: StubCheck(name) for name in ("config", "listeners", "index", "storage")}
        self.probes = Probes(
            state=lambda: self.state,
            checks=self.checks.values(),
            version=lambda: {"service": "micronode"},
            event_loop=lambda: self.on_time,
            wall_clock=lambda: self.now_s,
            fit=lambda: self.fit,
            shedding=lambda: self.shedding,
        )

    def readyz(self) -> dict[str, Any]:
        return self.probes.readyz()[1]

    def test_double(self) -> None:
        verifyObject(IReadinessCheck, StubCheck("config"))

    def test_what_is_no_dependency_shows_where_it_is_not_well(self) -> None:
        own = StubCheck("billing", "down")
        self.probes.watch([*self.checks.values(), own])
        self.assertEqual(self.readyz()["degraded"], ["billing"])
        self.assertEqual((self.readyz()["ready"], set(self.readyz()["deps"])), (True, set(DEPS)))
        own.answer = "ok"
        self.assertEqual(self.readyz()["degraded"], [])

    def test_shedding_shows_and_changes_nothing_else(self) -> None:
        self.shedding = True
        self.assertEqual((self.readyz()["shedding"], self.readyz()["ready"]), (True, True))

    def test_overload_that_lasted(self) -> None:
        self.fit = False
        status, body, retry_after_s = self.probes.readyz()
        self.assertEqual((status, body["ready"], body["state"]), (503, False, "running"))
        self.assertEqual(retry_after_s, RETRY_AFTER_S)
        self.assertEqual(self.probes.healthz()[0], 200)

    def test_check_that_asks_a_function(self) -> None:
        check = Check("listeners", lambda: "closed")
        verifyObject(IReadinessCheck, check)
        self.assertEqual((check.name, check.state()), ("listeners", "closed"))

    def test_documented(self) -> None:
        """The dependencies that ``docs/architecture.rst`` lists are those there are."""
        text = (Path(__file__).parents[2] / "docs" / "architecture.rst").read_text("utf-8")
        listed = ", ".join(f'"{name}"' for name in DEPS)
        self.assertIn(f'"deps": {{{listed}}}', text)

    def test_healthz(self) -> None:
        self.assertEqual(
            self.probes.healthz(), (200, {"ok": True, "checks": {"event_loop": "ok", "clock": "ok"}})
        )

    def test_healthz_shows_and_does_not_fail(self) -> None:
        """A process that is restarted because its loop lags would lose its calls and lag again."""
        self.on_time = False
        self.now_s = 0.0
        status, body = self.probes.healthz()
        self.assertEqual((status, body["ok"]), (200, True))
        self.assertEqual(body["checks"], {"event_loop": "lagging", "clock": "unset"})

    def test_healthz_is_no_readyz(self) -> None:
        """Draining or short of an owner, the process is alive."""
        self.state = State.DRAINING.value
        self.checks["index"].answer = "down"
        self.assertEqual(self.probes.healthz()[0], 200)

    def test_ready(self) -> None:
        self.assertEqual(
            self.probes.readyz(),
            (
                200,
                {
                    "ready": True,
                    "state": "running",
                    "deps": {
                        "config": "ok",
                        "listeners": "ok",
                        "index": "ok",
                        "mailbox": "disabled",
                        "storage": "ok",
                        "overlay": "disabled",
                        "policy": "disabled",
                    },
                    "shedding": False,
                    "degraded": [],
                    "mode": "truthful",
                },
                None,
            ),
        )
        self.assertTrue(self.probes.ready)

    def test_not_ready(self) -> None:
        for state in State:
            self.state = state.value
            status, body, retry_after_s = self.probes.readyz()
            ready = state is State.RUNNING
            self.assertEqual(
                (status, body["ready"], body["state"]), (200 if ready else 503, ready, state.value)
            )
            self.assertEqual(retry_after_s, None if ready else RETRY_AFTER_S)
            self.assertEqual(self.probes.ready, ready)

    def test_a_dead_owner_degrades(self) -> None:
        """Taking every node out because one owner is down would turn a part's failure into the whole's."""
        self.checks["storage"].answer = "down"
        self.checks["index"].answer = "starting"
        status, body, _ = self.probes.readyz()
        self.assertEqual(status, 200)
        self.assertEqual(body["degraded"], ["index", "storage"])
        self.assertEqual((body["deps"]["storage"], body["deps"]["index"]), ("down", "starting"))

    def test_order_of_deps(self) -> None:
        self.assertEqual(
            list(self.readyz()["deps"]),
            ["config", "listeners", "index", "mailbox", "storage", "overlay", "policy"],
        )

    def test_version(self) -> None:
        self.assertEqual(self.probes.version(), {"service": "micronode"})

    def test_wall_clock(self) -> None:
        """Unless told otherwise it is the machine's."""
        probes = Probes(state=lambda: "running", checks=(), version=dict, event_loop=lambda: True)
        self.assertEqual(probes.healthz()[1]["checks"]["clock"], "ok")


class CheckTests(ReadinessContract, SynchronousTestCase):
    found = "starting"

    def make_check(self, name: str) -> Check:
        return Check(name, lambda: self.found)

    def find(self, state: str) -> None:
        self.found = state


class StubCheckTests(ReadinessContract, SynchronousTestCase):
    def make_check(self, name: str) -> StubCheck:
        self.check = StubCheck(name)
        return self.check

    def find(self, state: str) -> None:
        self.check.answer = state
