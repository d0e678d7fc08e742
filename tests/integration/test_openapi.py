"""The OpenAPI document against a node and reference owners that are processes: what it says is what they do.

Requests are schemathesis's, made from the document alone, the same ones in each run. What the document allows
must be taken and what it forbids refused; and each answer must be one that it has for the operation: status,
header fields, media type, JSON.
"""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.cli.processes import ask, ask_json
from tests.support.live import LiveNode
from tests.support.tools import missing

try:
    import schemathesis
    from hypothesis import HealthCheck, Phase, given, settings
    from schemathesis.core.failures import FailureGroup
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks
except ImportError:
    schemathesis = None

#: Requests of each operation in each mode: as many as are some seconds in all.
EXAMPLES = 25
#: A node whose owners are there has no other faults than what these say no with.
_FAULTS = frozenset({502, 503})
#: What may be refused with what: a head over 16 KiB is 431, whatever is wrong in it.
_CONFIG = {
    "checks": {
        "negative_data_rejection": {"expected-statuses": [400, 404, 413, 415, 431]},
        # A key that is well formed need not be there; nor does any media range.
        "positive_data_acceptance": {"expected-statuses": ["2xx", 304, 404, 416]},
    }
}
_BYTES = b"some object"


def _streams(operation: Any) -> bool:
    return "text/event-stream" in operation["responses"].get("200", {}).get("content", {})


def _known_status(context: Any, response: Any, case: Any) -> None:
    """The status is one that the operation names: ``default`` is for what nobody has thought of."""
    known = case.operation.definition.raw["responses"]
    assert str(response.status_code) in known, f"status {response.status_code}: {response.text}"
    assert response.status_code < 500 or response.status_code in _FAULTS, response.text


def _accepted(context: Any, response: Any, case: Any) -> None:
    """It is taken, but for rules that no schema has: of owners on names, of strict JSON on numbers."""
    rules = ("the mailbox does not take", "the JSON is not taken", "must be an integer", "another message")
    if not (response.status_code in (400, 409) and any(rule in response.text for rule in rules)):
        checks.positive_data_acceptance(context, response, case)


def _checks(*more: Any) -> list[Any]:
    return [
        _known_status,
        checks.content_type_conformance,
        checks.response_headers_conformance,
        checks.response_schema_conformance,
        *more,
    ]


class OpenAPITests(SynchronousTestCase):
    """A node with every built-in facet."""

    def setUp(self) -> None:
        if schemathesis is None:
            missing("schemathesis is not installed")
        self.node = LiveNode(self, "tcp")
        self.url = f"http://{self.node.http}"
        _, _, stored = ask(f"{self.url}/app/media", "POST", _BYTES)
        self.cid = json.loads(stored)["cid"]
        self.document = ask_json(f"{self.url}/openapi.json")

    def operations(self) -> dict[str, Any]:
        """Return the operations of the document by their ids, but those whose answers do not end."""
        config = schemathesis.Config.from_dict(_CONFIG)
        schema = schemathesis.openapi.from_dict(self.document, config=config)
        schema.config.update(base_url=self.url)
        found = [each.ok() for each in schema.get_all_operations()]
        told = {each.definition.raw["operationId"]: each for each in found}
        return {name: each for name, each in told.items() if not _streams(each.definition.raw)}

    def fuzz(self, operation: Any, mode: Any, check: Any, **given_arguments: Any) -> set[int]:
        """Call *operation* with what *mode* says; return the statuses it answered with."""
        answered: set[int] = set()

        @settings(
            max_examples=EXAMPLES,
            derandomize=True,
            database=None,
            deadline=None,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode, **given_arguments))
        def conforms(case: Any) -> None:
            response = case.call(timeout=10)
            answered.add(response.status_code)
            case.validate_response(response, checks=_checks(check))

        conforms()
        return answered

    def test_what_is_allowed_is_taken_and_what_is_not_refused(self) -> None:
        for name, operation in self.operations().items():
            with self.subTest(operation=name):
                taken = self.fuzz(operation, GenerationMode.POSITIVE, _accepted)
                of_owner = {400, 409} if name.startswith("feed.") else set()
                self.assertLessEqual(taken, {200, 201, 204, 304, 404} | of_owner)
                if operation.definition.raw.get("tags"):
                    # Of a page of the node itself nothing can be asked that it forbids.
                    self.fuzz(operation, GenerationMode.NEGATIVE, checks.negative_data_rejection)
        # The objects and names that are there, by whatever else may be said with them.
        for name, arguments in (
            ("graph.resolve", {"key": "name:hello.md"}),
            ("graph.neighbors", {"node": "hello.md"}),
            ("media.get", {"cid": self.cid}),
        ):
            operation = self.operations()[name]
            with self.subTest(operation=name, known=True):
                taken = self.fuzz(
                    operation,
                    GenerationMode.POSITIVE,
                    checks.positive_data_acceptance,
                    path_parameters=arguments,
                )
                self.assertIn(200, taken)
        self.node.stop()

    def test_answers_that_chance_does_not_find(self) -> None:
        tag = {"if-none-match": f'"{self.cid[3:]}"'}
        known = {"cid": self.cid}
        operations = self.operations()
        for name, path, headers, status in (
            ("media.get", known, {}, 200),
            ("media.get", known, {"range": "bytes=0-3"}, 206),
            ("media.get", known, {"range": "bytes=99-"}, 416),
            ("media.get", known, tag, 304),
            ("media.get", {"cid": f"b3:{'0' * 64}"}, {}, 404),
            ("media.head", known, {}, 200),
            ("media.head", known, tag, 304),
            ("media.head", {"cid": f"b3:{'0' * 64}"}, {}, 404),
            ("media.head", {"cid": "no address"}, {}, 400),
            ("graph.providers", known, {}, 200),
            ("graph.providers", {"cid": f"b3:{'0' * 64}"}, {}, 404),
            ("feed.recv", {"topic": "jobs"}, {}, 200),
            ("feed.ack", {"topic": "jobs", "msg_id": "../%00"}, {}, 404),
            ("feed.nack", {"topic": "jobs", "msg_id": "nothing"}, {}, 404),
            ("meta.get", {}, {"if-none-match": "*"}, 304),
            ("openapi.head", {}, {"if-none-match": "*"}, 304),
        ):
            with self.subTest(operation=name, status=status):
                case = operations[name].Case(path_parameters=path, headers=headers)
                response = case.call(timeout=10)
                self.assertEqual(response.status_code, status)
                case.validate_response(response, checks=_checks())

    def test_a_document_that_is_wrong_is_noticed(self) -> None:
        """Each check can fail; else the tests above prove nothing."""
        for what, complaint, spoil in (
            ("a member that is not there", "nothing", _ask_for_a_member),
            ("a field that is not there", "x-none", _ask_for_a_field),
            ("a status less", "status 200", _forget_the_answer),
            ("a limit that does not hold", "Schema-valid request rejected", _raise_the_limit),
        ):
            with self.subTest(what=what):
                self.document = ask_json(f"{self.url}/openapi.json")
                spoil(self.document["paths"]["/app/search"]["get"])
                error = self.assertRaises(
                    (AssertionError, FailureGroup),
                    self.fuzz,
                    self.operations()["search.query"],
                    GenerationMode.POSITIVE,
                    checks.positive_data_acceptance,
                )
                self.assertIn(complaint.lower(), str(error).lower())


def _ask_for_a_member(search: Any) -> None:
    search["responses"]["200"]["content"]["application/json"]["schema"]["required"].append("nothing")


def _ask_for_a_field(search: Any) -> None:
    search["responses"]["200"]["headers"] = {"X-None": {"required": True, "schema": {"type": "string"}}}


def _forget_the_answer(search: Any) -> None:
    del search["responses"]["200"]


def _raise_the_limit(search: Any) -> None:
    (limit,) = (each for each in search["parameters"] if each.get("name") == "limit")
    limit["schema"]["maximum"] = 20_000
