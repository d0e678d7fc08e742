"""Tests for :mod:`micronode.http.admin`."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.config.hot_reload import Outcome
from micronode.http.admin import ADMIN_ROUTES, admin_routes, make_admin_site
from micronode.http.control import Control
from tests.http.support import Answer, Plane, Timeouts, get, make_metrics, read_answers


class StubProbes:
    """Says what it was told to."""

    ready = True

    def healthz(self) -> tuple[int, dict[str, Any]]:
        return 200, {"ok": True, "checks": {}}

    def readyz(self) -> tuple[int, dict[str, Any], int | None]:
        return (200, {"ready": True}, None) if self.ready else (503, {"ready": False}, 5)

    def version(self) -> dict[str, Any]:
        return {"service": "micronode"}


UNCHANGED = Outcome(outcome="unchanged", config_sha="abc")
CONTROL = Control(
    status=dict, preview=lambda: succeed(UNCHANGED), reload=lambda: succeed(UNCHANGED), drain=lambda: None
)


class AdminTests(SynchronousTestCase):
    """The four routes; those of ``/api/v1`` are in ``test_control``."""

    def setUp(self) -> None:
        self.probes = StubProbes()
        self.metrics = make_metrics()
        self.log: list[dict[str, object]] = []
        site = make_admin_site(
            probes=self.probes,
            metrics=self.metrics,
            control=CONTROL,
            timeouts=Timeouts(),
            idle_s=75.0,
            clock=Clock(),
            access=self.log.append,
        )
        self.connection = Plane(site=site).connect()

    def ask(self, path: str, method: str = "GET") -> Answer:
        (answer,) = read_answers(
            self.connection.send(get(path, method=method)).raw(), heads=[0] if method == "HEAD" else []
        )
        return answer

    def test_probes(self) -> None:
        for path, body in (
            ("/healthz", {"ok": True, "checks": {}}),
            ("/readyz", {"ready": True}),
            ("/version", {"service": "micronode"}),
        ):
            answer = self.ask(path)
            self.assertEqual((answer.status, answer.json), (200, body))
            self.assertEqual(answer.fields["content-type"], "application/json")
            self.assertEqual(answer.fields["cache-control"], "no-store")
            self.assertNotIn("retry-after", answer.fields)

    def test_not_ready_says_when_to_come_back(self) -> None:
        self.probes.ready = False
        answer = self.ask("/readyz")
        self.assertEqual((answer.status, answer.json), (503, {"ready": False}))
        self.assertEqual(answer.fields["retry-after"], "5")

    def test_metrics(self) -> None:
        self.ask("/healthz")
        answer = self.ask("/metrics")
        self.assertTrue(answer.fields["content-type"].startswith("text/plain; version=0.0.4"))
        self.assertIn(b'http_requests_total{method="GET",route="healthz",status="200"} 1.0', answer.body)

    def test_head(self) -> None:
        for name in ("healthz", "readyz", "version", "metrics"):
            answer = self.ask(f"/{name}", method="HEAD")
            self.assertEqual((answer.status, answer.body), (200, b""))
            self.assertGreater(int(answer.fields["content-length"]), 0)

    def test_labels(self) -> None:
        routes = admin_routes(self.probes, self.metrics, CONTROL)
        self.assertEqual(set(ADMIN_ROUTES), {rule.endpoint for rule in routes.app.url_map.iter_rules()})

    def test_anything_else_is_refused_in_json(self) -> None:
        for path, method, status, code in (
            ("/", "GET", 404, "not_found"),
            ("/app/search", "GET", 404, "not_found"),
            ("/healthz/", "GET", 404, "not_found"),
            ("/healthz", "DELETE", 405, "method_not_allowed"),
            ("/metrics?token=x", "GET", 400, "bad_request"),
        ):
            answer = self.ask(path, method)
            self.assertEqual((answer.status, answer.json["code"]), (status, code))
        self.assertEqual({line["route"] for line in self.log}, {"other", "metrics"})
