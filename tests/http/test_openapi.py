"""Tests for :mod:`micronode.http.openapi`: the document, held against the table and the official schema."""

from __future__ import annotations

from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.answers import Answer, object_of
from micronode.calls.operations import Access, Argument, BodyRule, Operation
from micronode.errors import ErrorCode
from micronode.http.about import PAGES
from micronode.http.openapi import make_openapi
from tests.http.support import make_table, operation
from tests.support.tools import missing

try:
    from openapi_spec_validator import OpenAPIV31SpecValidator
except ImportError:
    OpenAPIV31SpecValidator = None  # type: ignore[misc, assignment]

#: What every call may be told; a body adds 415.
COMMON = {"400", "403", "408", "413", "417", "429", "431", "500", "502", "503", "504", "default"}


def document(*operations: Operation) -> Any:
    """Return the document of *operations*, which must be a valid one."""
    if OpenAPIV31SpecValidator is None:
        missing("openapi-spec-validator is not installed")
    made = make_openapi(operations, PAGES)
    OpenAPIV31SpecValidator(made).validate()
    return made


def only(**more: Any) -> Any:
    """Return what is told of one operation."""
    given = {"name": "own.say", "method": "GET", "path": "/app/own", "op": "say"} | more
    made = document(operation(**given))
    return made["paths"][given["path"]][given["method"].lower()]


class DocumentTests(SynchronousTestCase):
    """The whole of it."""

    def test_has_every_operation_at_its_path(self) -> None:
        table = make_table()
        paths = document(*table)["paths"]
        told = {one["operationId"] for path in paths.values() for one in path.values()}
        pages = {f"{page.name}.{method}" for page in PAGES for method in ("get", "head")}
        self.assertEqual(told, {each.name for each in table} | pages)
        for each in table:
            self.assertEqual(paths[each.path][each.method.lower()]["operationId"], each.name)

    def test_without_an_operation_it_tells_of_itself(self) -> None:
        self.assertEqual(set(document()["paths"]), {"/app/_meta", "/openapi.json"})

    def test_subscription_is_a_stream_of_events(self) -> None:
        watch: Any = {"name": "feed.watch", "path": "/app/feed/events", "op": "watch", "subscribes": True}
        told = only(**watch)["responses"]["200"]
        self.assertEqual(told["content"], {"text/event-stream": {"schema": {"type": "string"}}})
        message = object_of(msg_id={"type": "string"})
        answers = (
            Answer(doc="Messages.", schema=message),
            Answer(status=204, doc="There will be none.", content=None),
        )
        told = only(**watch, answers=answers)["responses"]
        self.assertEqual(
            told["200"],
            {
                "description": "Messages.",
                "content": {
                    "text/event-stream": {"schema": {"type": "string"}, "x-micronode-message": message}
                },
            },
        )
        self.assertEqual(told["204"], {"description": "There will be none."})
        self.assertLessEqual(COMMON, set(told))

    def test_paths_that_differ_in_names_are_one(self) -> None:
        one = operation("own.a", "GET", "/own/{cid}/x", "a", arguments=(Argument(name="cid", required=True),))
        other = operation(
            "own.b", "POST", "/own/{key}/x", "b", arguments=(Argument(name="key", required=True),)
        )
        paths = document(one, other)["paths"]
        self.assertEqual(set(paths["/own/{cid}/x"]), {"get", "post"})
        self.assertEqual(paths["/own/{cid}/x"]["post"]["parameters"][0]["name"], "cid")

    def test_nothing_is_unauthorized_while_nobody_checks(self) -> None:
        text = str(document(*make_table()))
        for status in ("401", "security"):
            self.assertNotIn(f"'{status}", text)

    def test_errors(self) -> None:
        components = document(*make_table())["components"]
        self.assertEqual(
            set(components["schemas"]["Error"]["required"]), {"code", "message", "retryable", "request_id"}
        )
        busy = components["responses"]["Error429"]
        self.assertTrue(busy["headers"]["Retry-After"]["required"])
        self.assertIn("Retry-After", components["responses"]["Error503"]["headers"])
        self.assertNotIn("headers", components["responses"]["Error400"])
        schema = busy["content"]["application/json"]["schema"]
        self.assertEqual(schema["allOf"][1], {"properties": {"code": {"enum": ["busy", "rate_limited"]}}})

    def test_a_code_stands_at_its_status(self) -> None:
        responses = document(*make_table())["components"]["responses"]
        for code, status in (("head_too_large", 431), ("decompress_cap", 413), ("cap_too_large", 413)):
            names = responses[f"Error{status}"]["content"]["application/json"]["schema"]["allOf"][1]
            self.assertIn(code, names["properties"]["code"]["enum"])


class OperationTests(SynchronousTestCase):
    """One operation."""

    def argument(self, path: str = "/app/own", **fields: Any) -> Any:
        return only(path=path, arguments=(Argument(name="a", **fields),))["parameters"][0]

    def test_an_integer_has_its_range_and_default(self) -> None:
        told = self.argument(type=int, default=7, minimum=1, maximum=9)
        self.assertEqual((told["name"], told["in"], told["required"]), ("a", "query", False))
        self.assertEqual(told["schema"], {"type": "integer", "minimum": 1, "maximum": 9, "default": 7})

    def test_a_minimum_of_zero_is_told(self) -> None:
        self.assertEqual(self.argument(type=int, minimum=0)["schema"], {"type": "integer", "minimum": 0})

    def test_text_has_its_length(self) -> None:
        told = self.argument(required=True, max_length=5)
        self.assertTrue(told["required"])
        self.assertEqual((told["schema"]["minLength"], told["schema"]["maxLength"]), (1, 5))
        self.assertNotIn("minLength", self.argument()["schema"])

    def test_an_argument_of_the_path(self) -> None:
        told = self.argument("/app/own/{a}")
        self.assertEqual((told["in"], told["required"]), ("path", True))
        self.assertEqual(told["schema"]["not"], {"enum": [".", ".."]})

    def test_a_header(self) -> None:
        told = self.argument(header="range", pattern="^x$")
        self.assertEqual((told["name"], told["in"]), ("range", "header"))
        self.assertEqual(told["schema"]["pattern"], "^x$")

    def test_without_a_body(self) -> None:
        told = only()
        self.assertNotIn("requestBody", told)
        self.assertEqual(set(told["responses"]), {*COMMON, "2XX"})

    def test_a_body_is_as_large_as_http_takes(self) -> None:
        for most, told in ((10, 10), (1 << 30, 1 << 20)):
            found = only(method="POST", body=BodyRule.STREAMED, max_body=most)
            self.assertEqual(found["requestBody"]["x-micronode-max-bytes"], told)
            self.assertIn("415", found["responses"])
            self.assertEqual(set(found["requestBody"]["content"]), {"application/octet-stream"})

    def test_a_body_of_a_type_that_the_caller_says(self) -> None:
        kind = Argument(name="kind", header="content-type")
        found = only(method="POST", body=BodyRule.STREAMED, max_body=1, arguments=(kind,))
        self.assertIn("*/*", found["requestBody"]["content"])
        self.assertEqual([each for each in found["parameters"] if "name" in each], [])

    def test_a_body_of_arguments(self) -> None:
        arguments = (
            Argument(name="key", required=True),
            Argument(name="tag", header="x-tag"),
            Argument(name="most", type=int, default=3, minimum=1, maximum=9, doc="So many."),
            Argument(name="words", type=dict),
        )
        given: Any = {"method": "POST", "path": "/app/own/{key}", "body": BodyRule.ARGUMENTS}
        found = only(**given, arguments=arguments)
        self.assertEqual([each["name"] for each in found["parameters"] if "name" in each], ["key", "x-tag"])
        body = found["requestBody"]
        self.assertEqual((body["required"], body["x-micronode-max-bytes"]), (False, 16_384))
        members = body["content"]["application/json"]["schema"]["properties"]
        self.assertEqual(set(members), {"most", "words"})
        self.assertEqual(
            members["most"],
            {"type": "integer", "minimum": 1, "maximum": 9, "default": 3, "description": "So many."},
        )
        errors = document(operation("own.say", **given, op="say", arguments=arguments))
        codes = errors["components"]["responses"]["Error400"]["content"]["application/json"]["schema"]
        self.assertIn("bad_json", str(codes))
        needed = only(**given, arguments=(*arguments, Argument(name="needed", required=True)))["requestBody"]
        self.assertTrue(needed["required"])
        self.assertEqual(needed["content"]["application/json"]["schema"]["required"], ["needed"])

    def test_an_idempotency_key(self) -> None:
        names = {each["name"]: each for each in only(needs_key=True)["parameters"] if "name" in each}
        self.assertTrue(names["Idempotency-Key"]["required"])
        self.assertEqual([each for each in only()["parameters"] if "name" in each], [])

    def test_answers_and_errors_of_its_own(self) -> None:
        schema = object_of(a={"type": "string"})
        found = only(
            answers=(
                Answer(doc="Good.", schema=schema, headers={"ETag": {"type": "string"}}),
                Answer(status=304, doc="Same.", content=None),
            ),
            errors=(ErrorCode.NOT_FOUND, ErrorCode.CONFLICT),
        )["responses"]
        self.assertEqual(set(found), {*COMMON, "200", "304", "404", "409"})
        self.assertEqual(found["200"]["content"], {"application/json": {"schema": schema}})
        self.assertTrue(found["200"]["headers"]["ETag"]["required"])
        self.assertNotIn("content", found["304"])

    def test_answers_to_head_have_no_body(self) -> None:
        found = only(method="HEAD", answers=(Answer(doc="There."),))["responses"]
        for status, response in found.items():
            self.assertFalse({"content", "$ref"} & set(response), status)
        self.assertIn("Retry-After", found["429"]["headers"])

    def test_what_it_is_over_oap(self) -> None:
        found = only(profile=0x7001, access=Access.WRITE)
        self.assertEqual(found["x-micronode-oap"], {"profile": 0x7001, "op": "say"})
        self.assertEqual(found["x-micronode-access"], "write")

    def test_the_table_is_left_alone(self) -> None:
        one = operation("own.say", "GET", "/app/own", "say")
        before = attrs.asdict(one)
        document(one)
        self.assertEqual(attrs.asdict(one), before)
