"""The document of a node with a custom facet, held against the node: it says what may be asked."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import FREE, NO_OWNERS, Program, ask_json
from tests.support.tools import missing

try:
    import schemathesis
except ImportError:
    schemathesis = None

ROUTES = "GET /v1/{id} read, PUT /v1/{key} write, GET /{rest} read, HEAD /{rest} read, DELETE /{rest} write"


class CustomDocumentTests(SynchronousTestCase):
    def test_what_is_allowed_is_answered(self) -> None:
        if schemathesis is None:
            missing("schemathesis is not installed")
        own = ("--set", "facets.own.kind=echo", "--set", f"facets.own.routes={ROUTES}")
        node = Program(self, "run", *FREE, *NO_OWNERS, "--facets", "own", *own)
        address = node.until_complaint(r'"listener":"http","address":"([^"]+)"')[1]
        node.until_complaint('"running"')
        url = f"http://{address}"
        schema = schemathesis.openapi.from_dict(ask_json(f"{url}/openapi.json"))
        schema.config.update(base_url=url)
        operations = [each.ok() for each in schema.get_all_operations()]
        told = {each.definition.raw["operationId"]: each for each in operations}
        own_ids = {name for name in told if name.startswith("own.call.")}
        self.assertEqual(len(own_ids), 5)
        for name in own_ids:
            with self.subTest(operation=name):
                answered = self.fuzz(told[name])
                self.assertLessEqual(answered, {200, 400, 404, 413})
                self.assertIn(200, answered)
        self.assertNotIn("Traceback", node.complained)

    def fuzz(self, operation: Any) -> set[int]:
        """Call *operation* with what the document allows; return the statuses it answered with."""
        answered: set[int] = set()

        @settings(
            max_examples=25,
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy())
        def call(case: Any) -> None:
            response = case.call(timeout=10)
            answered.add(response.status_code)
            if response.status_code == 200 and operation.method.upper() != "HEAD":
                self.assertEqual(response.json()["facet"], "own")

        call()
        return answered
