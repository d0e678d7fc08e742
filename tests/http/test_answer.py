"""Answers that are whole at once."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from micronode.http.answer import answer, answer_json
from micronode.http.request import Request
from tests.http.support import Plane, get, make_metrics, make_open_site


class AnswerTests(SynchronousTestCase):
    def test_json(self) -> None:
        def serve(request: Request) -> None:
            answer_json(request, {"a": [1]}, status=503, headers=(("Retry-After", "5"),))

        site = make_open_site(serve, clock=Clock(), metrics=make_metrics())
        found = Plane(site=site).connect().send(get("/")).answer()
        self.assertEqual((found.status, found.json, found.body[-1:]), (503, {"a": [1]}, b"\n"))
        self.assertEqual(found.fields["content-type"], "application/json")
        self.assertEqual((found.fields["cache-control"], found.fields["retry-after"]), ("no-store", "5"))

    def test_bytes(self) -> None:
        def serve(request: Request) -> None:
            answer(request, b"abc", content_type="text/plain")

        site = make_open_site(serve, clock=Clock(), metrics=make_metrics())
        found = Plane(site=site).connect().send(get("/")).answer()
        self.assertEqual((found.status, found.body), (200, b"abc"))
        self.assertEqual((found.fields["content-type"], found.fields["content-length"]), ("text/plain", "3"))
