"""Tests for :mod:`micronode.http.request`."""

from __future__ import annotations

import re

import attrs
from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import NodeError
from micronode.http.head import UNREADABLE, RequestHead
from micronode.http.request import call_fields, make_request


def head(**fields: str) -> RequestHead:
    """Return a head with *fields*; ``_`` stands for ``-``."""
    return attrs.evolve(UNREADABLE, fields={name.replace("_", "-"): value for name, value in fields.items()})


class RequestIdTests(SynchronousTestCase):
    """X-Request-ID."""

    def made(self, **fields: str) -> str:
        return make_request(head(**fields), peer="", began_s=0.0).request_id

    def test_acceptable_ids_are_kept(self) -> None:
        for value in ("a", "A-b_c.9", "x" * 64):
            self.assertEqual(self.made(x_request_id=value), value)

    def test_others_are_replaced(self) -> None:
        for value in ("", "x" * 65, "a b", "a, b", "é", 'a"b'):
            self.assertTrue(re.fullmatch("[0-9a-f]{24}", self.made(x_request_id=value)), value)

    def test_fresh_ids_differ(self) -> None:
        self.assertNotEqual(self.made(), self.made())


class LastTests(SynchronousTestCase):
    """Whether a connection goes on after a request."""

    def test_is_last(self) -> None:
        for keep_alive, body_length, whole, last in (
            (True, 0, False, False),
            (True, 0, True, False),
            (False, 0, True, True),
            (True, 5, False, True),
            (True, None, False, True),
            (True, None, True, False),
            (False, 5, True, True),
        ):
            made = attrs.evolve(UNREADABLE, keep_alive=keep_alive, body_length=body_length)
            request = make_request(made, peer="", began_s=0.0)
            request.whole = whole
            self.assertEqual(request.is_last, last, (keep_alive, body_length, whole))


class CallFieldsTests(SynchronousTestCase):
    """What the head says about the call."""

    def test_nothing_said(self) -> None:
        self.assertEqual(
            call_fields(head()),
            {"tenant": bytes(16), "idempotency_key": None, "traceparent": None, "capability": None},
        )

    def test_tenant(self) -> None:
        self.assertEqual(call_fields(head(x_tenant_id="0A" * 16))["tenant"], b"\x0a" * 16)
        for value in ("", "0" * 31, "0" * 33, "g" * 32, "0" * 32 + "\n", "0" * 16 + ", " + "0" * 14):
            self.assert_bad("bad_request", x_tenant_id=value)

    def test_idempotency_key(self) -> None:
        self.assertEqual(call_fields(head(idempotency_key="k-1"))["idempotency_key"], "k-1")
        for value in ("", "a b", "x" * 256, "é"):
            self.assert_bad("bad_request", idempotency_key=value)

    def test_traceparent_is_validated_or_dropped(self) -> None:
        trace, parent = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
        good = f"00-{trace}-{parent}-01"
        self.assertEqual(call_fields(head(traceparent=good))["traceparent"], good)
        for value in (
            "",
            f"ff-{trace}-{parent}-01",
            f"00-{'0' * 32}-{parent}-01",
            f"00-{trace}-{'0' * 16}-01",
            f"00-{trace.upper()}-{parent}-01",
            f"{good}-x",
            f"{good}, {good}",
        ):
            self.assertIsNone(call_fields(head(traceparent=value))["traceparent"], value)

    def test_capability(self) -> None:
        for value, capability in (
            ("Bearer abc", "abc"),
            ("MACAROON abc", "abc"),
            ("macro  abc ", "abc"),
            ("Basic abc", None),
            ("abc", None),
            ("", None),
        ):
            self.assertEqual(call_fields(head(authorization=value))["capability"], capability, value)
        self.assert_bad("cap_too_large", authorization="Bearer " + "x" * 8193)

    def assert_bad(self, code: str, **fields: str) -> None:
        error = self.assertRaises(NodeError, call_fields, head(**fields))
        self.assertEqual(error.code.value, code, fields)
