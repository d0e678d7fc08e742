"""Tests for :mod:`micronode.http.operations`."""

from __future__ import annotations

import gzip
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import Ingress
from micronode.calls.operations import Argument, BodyRule, Operation
from micronode.calls.table import OperationTable
from micronode.errors import ErrorCode, NodeError
from micronode.http.operations import operation_route, operation_routes
from micronode.interfaces import IEventSink
from tests.http.support import Plane, StubDispatcher, get, operation, post, request_of, say


class RunTests(SynchronousTestCase):
    """From a route to the dispatcher."""

    def test_call(self) -> None:
        dispatcher = StubDispatcher()
        routes = operation_routes(dispatcher)
        request = request_of(
            get("/app/search?q=x", "X-Request-ID: r", f"X-Tenant-ID: {'1' * 32}", "Authorization: Bearer t")
        )
        request.sink = sink = object()  # type: ignore[assignment]
        routes.admit(request)
        self.assertIs(routes.run(request), dispatcher.results[0])
        (call,) = dispatcher.calls
        self.assertEqual(dispatcher.sinks, [sink])
        self.assertEqual(
            (call.operation.name, call.args, call.ingress, call.request_id, call.tenant, call.capability),
            ("search.query", {"q": "x", "limit": 10}, Ingress.HTTP, "r", b"\x11" * 16, "t"),
        )
        self.assertEqual((call.body, call.peer), (None, "peer"))


class NeededKeyTests(SynchronousTestCase):
    """An operation that needs an idempotency key."""

    def test_is_refused_from_the_head(self) -> None:
        dispatcher = StubDispatcher(say(b"hello"))
        dispatcher.table = OperationTable(
            [
                operation(
                    "feed.send",
                    "POST",
                    "/app/feed",
                    "send",
                    body=BodyRule.STREAMED,
                    max_body=9,
                    needs_key=True,
                )
            ]
        )
        expects = ("Content-Length: 3", "Expect: 100-continue")
        caller = Plane(dispatcher).connect().send(get("/app/feed", *expects, method="POST"))
        answer = caller.answer()
        self.assertEqual((answer.status, answer.json["code"]), (400, "bad_request"))
        self.assertIn("Idempotency-Key", answer.json["message"])
        self.assertEqual(dispatcher.calls, [])
        caller = Plane(dispatcher).connect()
        self.assertEqual(caller.send(post("/app/feed", b"abc", "Idempotency-Key: k")).answer().status, 200)
        self.assertEqual(dispatcher.calls[0].idempotency_key, "k")


class ArgumentsTests(SynchronousTestCase):
    """An operation whose request body has its arguments."""

    def setUp(self) -> None:
        self.dispatcher = StubDispatcher(say(b"hello"))
        self.dispatcher.table = OperationTable(
            [
                operation(
                    "feed.recv",
                    "POST",
                    "/app/feed/{topic}/recv",
                    "recv",
                    body=BodyRule.ARGUMENTS,
                    arguments=(
                        Argument(name="topic", required=True, max_length=5),
                        Argument(name="tag", header="x-tag", max_length=5),
                        Argument(name="max", type=int, default=10, minimum=1, maximum=100),
                        Argument(name="words", type=dict),
                    ),
                )
            ]
        )
        self.caller = Plane(self.dispatcher).connect()

    def ask(self, body: bytes, *fields: str, path: str = "/app/feed/jobs/recv") -> Any:
        return self.caller.send(post(path, body, *fields)).answer()

    def args(self, *request: Any, **more: Any) -> Any:
        self.assertEqual(self.ask(*request, **more).status, 200)
        call = self.dispatcher.calls.pop()
        self.assertIsNone(call.body)
        return call.args

    def test_nothing_is_every_default(self) -> None:
        defaults = {"topic": "jobs", "tag": None, "max": 10, "words": None}
        for body in (b"", b"{}", b" {} ", b'{"max": null}', b'{"unknown": [1]}'):
            self.assertEqual(self.args(body), defaults, body)
        self.caller.send(get("/app/feed/jobs/recv", method="POST"))
        self.assertEqual(self.caller.answer().status, 200)
        self.assertEqual(self.dispatcher.calls.pop().args, defaults)

    def test_members(self) -> None:
        args = self.args(b'{"max": 3, "words": {"a": "b"}}', "X-Tag: x")
        self.assertEqual(args, {"topic": "jobs", "tag": "x", "max": 3, "words": {"a": "b"}})

    def test_compressed(self) -> None:
        packed = gzip.compress(b'{"max": 3}')
        self.assertEqual(self.args(packed, "Content-Encoding: gzip")["max"], 3)

    def test_path_and_header_are_not_the_bodys(self) -> None:
        args = self.args(b'{"topic": "other", "max": 1}', "X-Tag: x", path="/app/feed/jobs/recv?max=9")
        self.assertEqual((args["topic"], args["max"]), ("jobs", 1))

    def test_refused(self) -> None:
        for body, code in (
            (b"{", "bad_json"),
            (b"[]", "bad_json"),
            (b'"x"', "bad_json"),
            (b"\xff", "bad_json"),
            (b'{"max": 1, "max": 2}', "bad_json"),
            (b'{"max": NaN}', "bad_json"),
            (b'{"a": ' * 20 + b"1" + b"}" * 20, "bad_json"),
            (b"[" * 16_000, "bad_json"),
            (b'{"max": "3"}', "bad_request"),
            (b'{"max": 0}', "bad_request"),
            (b'{"max": 1.5}', "bad_request"),
            (b'{"max": true}', "bad_request"),
            (b'{"words": "{}"}', "bad_request"),
        ):
            answer = self.ask(body)
            self.assertEqual((answer.status, answer.json["code"]), (400, code), body)
        self.assertEqual(self.dispatcher.calls, [])

    def test_refused_from_the_head(self) -> None:
        for path, fields in (("/app/feed/toolong/recv", ()), ("/app/feed/jobs/recv", ("X-Tag: toolong",))):
            caller = Plane(self.dispatcher).connect()
            caller.send(get(path, "Content-Length: 10", *fields, method="POST"))
            self.assertEqual(caller.answer().status, 400)
        caller = Plane(self.dispatcher).connect()
        caller.send(get("/app/feed/jobs/recv", "Content-Length: 16385", method="POST"))
        self.assertEqual(caller.answer().status, 413)


class SubscriptionTests(SynchronousTestCase):
    """Operations that subscribe are routed like any other, to a sink of their own."""

    def setUp(self) -> None:
        self.dispatcher = StubDispatcher()
        arguments = (
            Argument(name="key", required=True),
            Argument(name="last_event_id", header="Last-Event-ID", max_length=1024),
        )
        self.dispatcher.table = OperationTable(
            [
                *self.dispatcher.table,
                operation(
                    "feed.subscribe",
                    "GET",
                    "/app/feed/{key}/events",
                    "sub",
                    arguments=arguments,
                    subscribes=True,
                ),
            ]
        )
        self.plane = Plane(self.dispatcher)

    def ask(self, *fields: str, method: str = "GET") -> Any:
        return self.plane.connect().send(get("/app/feed/jobs/events", *fields, method=method))

    def test_answer_through_events(self) -> None:
        self.ask()
        self.assertTrue(IEventSink.providedBy(self.dispatcher.sinks[0]))
        self.assertEqual(self.dispatcher.calls[0].args, {"key": "jobs", "last_event_id": None})
        self.plane.connect().send(get())
        self.assertFalse(IEventSink.providedBy(self.dispatcher.sinks[1]))

    def test_other_methods(self) -> None:
        for method in ("HEAD", "POST", "DELETE"):
            (answer,) = self.ask(method=method).answers(heads=[0] if method == "HEAD" else [])
            self.assertEqual((answer.status, answer.fields["allow"]), (405, "GET"))
        self.assertEqual(self.dispatcher.calls, [])

    def test_last_event_id(self) -> None:
        for text, known in (
            ("m-1", "m-1"),
            ("", ""),
            ("  m-1\t", "m-1"),
            ("a b\u00e9", "a b\u00e9"),
            ("x" * 1024, "x" * 1024),
        ):
            self.ask(f"Last-Event-ID: {text}")
            self.assertEqual(self.dispatcher.calls[-1].args["last_event_id"], known)
        # Of several none is the last one, so what there is names no message.
        self.ask("Last-Event-ID: a", "last-event-id: b")
        self.assertEqual(self.dispatcher.calls[-1].args["last_event_id"], "a, b")

    def test_last_event_id_that_is_none(self) -> None:
        for text in ("x" * 1025, "a\0b", "a\x01", "a\x7f", "a\nb"):
            answer = self.ask(f"Last-Event-ID: {text}").answer()
            self.assertEqual((answer.status, answer.json["code"]), (400, "bad_request"))
        self.assertEqual(self.dispatcher.calls, [])


class BuildTests(SynchronousTestCase):
    """From an operation to its route."""

    def test_refuses_undeclared_path_arguments(self) -> None:
        self.assertRaises(ValueError, operation_route, operation("a.b", "GET", "/{c}", "b"), StubDispatcher())

    def test_body_cap_is_the_smaller_one(self) -> None:
        for rule, given, cap in (
            (BodyRule.NONE, 5, None),
            (BodyRule.STREAMED, 5, 5),
            (BodyRule.STREAMED, 1 << 40, 1 << 20),
            (BodyRule.ARGUMENTS, 5, 16_384),
        ):
            route = operation_route(
                operation("a.b", "POST", "/a", "b", body=rule, max_body=given), StubDispatcher()
            )
            self.assertEqual(route.max_body_bytes, cap)

    def test_every_operation_has_its_klein_route(self) -> None:
        dispatcher = StubDispatcher()
        dispatcher.table = OperationTable(
            [
                operation("a.b", "GET", "/a/{c}", "b", arguments=(Argument(name="c"),)),
                operation("a.c", "POST", "/a", "c"),
            ]
        )
        rules = {
            rule.endpoint: (rule.rule, rule.methods)
            for rule in operation_routes(dispatcher).app.url_map.iter_rules()
        }
        self.assertEqual(rules, {"a.b": ("/a/<c>", {"GET"}), "a.c": ("/a", {"POST"})})


class TurnAwayTests(SynchronousTestCase):
    """Calls that the dispatcher would refuse, and says so before there is one."""

    def plane(self) -> Plane:
        plane = Plane()
        self.asked: list[tuple[str, str]] = []

        def turn_away(operation: Operation, origin: str) -> NodeError:
            self.asked.append((operation.name, origin))
            return NodeError(ErrorCode.BUSY, "it is full", retry_after_s=1.0)

        plane.dispatcher.turn_away = turn_away  # type: ignore[method-assign, assignment]
        return plane

    def test_refused_from_the_head(self) -> None:
        plane = self.plane()
        connection = plane.connect()
        for _ in range(2):
            answer = connection.send(get("/app/search?q=x")).answer()
            self.assertEqual((answer.status, answer.json["code"]), (429, "busy"))
        self.assertEqual(plane.dispatcher.calls, [])
        self.assertEqual([name for name, _ in self.asked], ["search.query"] * 2)
        self.assertFalse(connection.closing, "the next call may find room")
        self.assertEqual(plane.sample("rejected_total", reason="busy"), 0, "who refuses counts")
        self.assertEqual(plane.log[0]["reason"], "busy")

    def test_not_before_the_path_is_known(self) -> None:
        connection = self.plane().connect()
        self.assertEqual(connection.send(get("/app/nothing")).answer().status, 404)
        self.assertEqual(self.asked, [])

    def test_a_body_is_read_first(self) -> None:
        """So that the connection can go on; and there may be room by then."""
        plane = self.plane()
        self.assertEqual(plane.connect().send(post("/app/media", b"body")).answer().status, 200)
        self.assertEqual((len(plane.dispatcher.calls), self.asked), (1, []))
