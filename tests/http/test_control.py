"""Looking at a node and steering it: shapes, statuses, and who may."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.hot_reload import Change, Outcome
from micronode.config.problems import Problem
from micronode.errors import ErrorCode, NodeError
from micronode.http.admin import make_admin_site
from micronode.http.control import MAX_PROBLEMS, Control, refuse_everybody
from micronode.http.head import RequestHead
from tests.http.support import Answer, Connection, Plane, Timeouts, get, make_metrics, post, read_answers
from tests.http.test_admin import StubProbes

APPLIED = Outcome(
    outcome="applied",
    config_sha="abc",
    changes=(
        Change(path="drain.grace", source="node.toml:2", live=True),
        Change(path="http.listen", source="env MICRONODE_HTTP_LISTEN", live=False),
    ),
)
REFUSED = Outcome(
    outcome="refused", config_sha="abc", problems=(Problem("node.toml:1", "x is unknown", "remove it"),)
)


def anybody(head: RequestHead) -> None:
    """Let in whoever asks."""


class SpyNode:
    """Answers as it is told, when it is told; counts."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers: list[Deferred[Outcome]] = []
        self.outcome: Outcome | None = APPLIED

    def _asked(self, what: str) -> Deferred[Outcome]:
        self.asked.append(what)
        if self.outcome is not None:
            return succeed(self.outcome)
        self.answers.append(Deferred())
        return self.answers[-1]

    def preview(self) -> Deferred[Outcome]:
        return self._asked("preview")

    def reload(self) -> Deferred[Outcome]:
        return self._asked("reload")

    def drain(self) -> None:
        self.asked.append("drain")


class ControlTestCase(SynchronousTestCase):
    authenticate: Any = staticmethod(anybody)

    def setUp(self) -> None:
        self.node = SpyNode()
        self.log: list[dict[str, object]] = []
        control = Control(
            status=lambda: {"service": "micronode"},
            preview=self.node.preview,
            reload=self.node.reload,
            drain=self.node.drain,
            authenticate=self.authenticate,
        )
        site = make_admin_site(
            probes=StubProbes(),
            metrics=make_metrics(),
            control=control,
            timeouts=Timeouts(),
            idle_s=75.0,
            clock=Clock(),
            access=self.log.append,
        )
        self.plane = Plane(site=site)
        self.connection = self.plane.connect()

    def ask(self, path: str, method: str = "GET", *fields: str) -> Answer:
        request = get(path, *fields, method=method)
        (answer,) = read_answers(self.connection.send(request).raw(), heads=[0] if method == "HEAD" else [])
        return answer

    def begin(self, path: str, method: str = "GET") -> Connection:
        return self.plane.connect().send(get(path, method=method))


class LookingTests(ControlTestCase):
    def test_status(self) -> None:
        answer = self.ask("/api/v1/status")
        self.assertEqual((answer.status, answer.json), (200, {"service": "micronode"}))
        self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertEqual(answer.fields["content-type"], "application/json")
        self.assertEqual(self.ask("/api/v1/status", "HEAD").status, 200)

    def test_a_preview_is_the_outcome(self) -> None:
        for outcome in (APPLIED, REFUSED, Outcome(outcome="draining", config_sha="abc")):
            self.node.outcome = outcome
            answer = self.ask("/api/v1/reload")
            self.assertEqual((answer.status, answer.json), (200, outcome.as_dict()))
            self.assertEqual(answer.fields["cache-control"], "no-store")
        self.assertEqual(set(self.node.asked), {"preview"})

    def test_a_preview_takes_its_time(self) -> None:
        self.node.outcome = None
        connection, gone = self.begin("/api/v1/reload"), self.begin("/api/v1/reload")
        self.assertEqual(connection.raw(), b"")
        gone.lose()
        for answer in self.node.answers:
            answer.callback(APPLIED)
        self.assertEqual(connection.answer().json, APPLIED.as_dict())
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_other_methods(self) -> None:
        for path, method, allow in (
            ("/api/v1/status", "POST", "GET, HEAD"),
            ("/api/v1/reload", "PUT", "GET, HEAD, POST"),
            ("/api/v1/drain", "GET", "POST"),
        ):
            answer = self.ask(path, method)
            self.assertEqual((answer.status, answer.fields["allow"]), (405, allow))
        self.assertEqual(self.node.asked, [])


class SteeringTests(ControlTestCase):
    def test_drain(self) -> None:
        for _ in range(2):
            answer = self.ask("/api/v1/drain", "POST")
            self.assertEqual((answer.status, answer.json), (200, {"state": "draining"}))
        self.assertEqual(self.node.asked, ["drain", "drain"])

    def test_reload(self) -> None:
        for outcome in ("applied", "unchanged"):
            self.node.outcome = attrs.evolve(APPLIED, outcome=outcome)
            answer = self.ask("/api/v1/reload", "POST")
            self.assertEqual((answer.status, answer.json), (200, self.node.outcome.as_dict()))
            self.assertEqual(answer.json["restart_required"], ["http.listen"])

    def test_what_does_not_end_well_is_an_error_with_the_same_members(self) -> None:
        for outcome, status, code in (
            (Outcome(outcome="draining", config_sha="abc"), 409, "conflict"),
            (REFUSED, 422, "config_refused"),
            (Outcome(outcome="failed", config_sha="abc"), 500, "internal"),
        ):
            self.node.outcome = outcome
            answer = self.ask("/api/v1/reload", "POST")
            self.assertEqual((answer.status, answer.json["code"]), (status, code))
            self.assertEqual(answer.json, answer.json | outcome.as_dict())
            self.assertEqual((answer.json["retryable"], self.log[-1]["reason"]), (False, code))
        self.node.outcome = REFUSED
        self.assertIn(
            "node.toml:1: x is unknown; remove it", self.ask("/api/v1/reload", "POST").json["message"]
        )

    def test_problems_are_bounded(self) -> None:
        problems = tuple(Problem(f"f:{line}", "x", "y") for line in range(MAX_PROBLEMS + 7))
        self.node.outcome = attrs.evolve(REFUSED, problems=problems)
        for method in ("GET", "POST"):
            told = self.ask("/api/v1/reload", method).json["problems"]
            self.assertEqual((len(told), told[0]["where"]), (MAX_PROBLEMS + 1, "f:0"))
            self.assertEqual(told[-1]["what"], "there are 7 more problems")

    def test_who_leaves_lets_the_reload_be(self) -> None:
        self.node.outcome = None
        self.begin("/api/v1/reload", "POST").lose()
        self.node.answers[0].callback(APPLIED)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_a_body_is_refused_from_the_head(self) -> None:
        for path in ("/api/v1/drain", "/api/v1/reload"):
            answer = self.plane.connect().send(post(path, b"{}")).answers()[0]
            self.assertEqual((answer.status, answer.json["code"]), (413, "body_too_large"))
        self.assertEqual(self.ask("/api/v1/drain", "POST", "Content-Length: 0").status, 200)
        self.assertEqual(self.node.asked, ["drain"])


class NobodyTests(ControlTestCase):
    """This release: looking is free, nobody may steer."""

    authenticate = staticmethod(refuse_everybody)

    def test_nobody_may_steer(self) -> None:
        for path in ("/api/v1/drain", "/api/v1/reload"):
            for fields in ((), ("Authorization: Bearer abc",)):
                answer = self.ask(path, "POST", *fields)
                self.assertEqual((answer.status, answer.json["code"]), (401, "unauthorized"))
                self.assertEqual(answer.fields["www-authenticate"], "Bearer")
                self.assertRegex(answer.json["message"], "SIGHUP to reload, SIGTERM to drain")
        self.assertEqual(self.node.asked, [])

    def test_everybody_may_look(self) -> None:
        self.assertEqual(self.ask("/api/v1/status").status, 200)
        self.assertEqual(self.ask("/api/v1/reload").status, 200)

    def test_is_what_a_node_has_unless_told(self) -> None:
        control = Control(status=dict, preview=self.node.preview, reload=self.node.reload, drain=int)
        self.assertIs(control.authenticate, refuse_everybody)


class SomebodyTests(ControlTestCase):
    """Authentication sees the head, before anything else happens."""

    @staticmethod
    def authenticate(head: RequestHead) -> None:
        if head.fields.get("authorization") != "Bearer good":
            raise NodeError(ErrorCode.FORBIDDEN, "no")

    def test_is_asked_first(self) -> None:
        self.assertEqual(self.ask("/api/v1/drain", "POST").status, 403)
        self.assertEqual(self.ask("/api/v1/drain", "POST", "Authorization: Bearer good").status, 200)
        self.assertEqual(self.node.asked, ["drain"])
