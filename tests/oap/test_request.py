"""What a START asks for. How refusals look on the wire is in ``test_session``."""

from __future__ import annotations

import json
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import Call
from micronode.calls.context import fresh_request_id
from micronode.errors import NodeError
from micronode.oap.request import make_call, read_start
from micronode.oap.upload import Upload
from micronode.oap.wire.events import StreamOpened
from micronode.oap.wire.profiles import Profile
from tests.support.oap import TABLE


def opened(app: int = Profile.SEARCH, *, cap: bytes = b"", ended: bool = True, **head: Any) -> StreamOpened:
    head = {"op": "query", "args": {"q": "x"}, **head}
    return StreamOpened(3, app, bytes(16), cap, json.dumps(head).encode(), ended, False, False)


def call_of(event: StreamOpened, body: Upload | None = None) -> Call:
    return make_call(read_start(TABLE, event), event, request_id="r", peer="p", body=body)


class Reading(SynchronousTestCase):
    def refusal(self, event: StreamOpened) -> str:
        return self.assertRaises(NodeError, read_start, TABLE, event).code.value

    def test_names_what_is_wrong(self) -> None:
        self.assertEqual(self.refusal(opened(op=7)), "bad_request")
        self.assertEqual(self.refusal(opened(args=[])), "bad_request")
        self.assertEqual(self.refusal(opened(op="fly")), "unknown_op")
        self.assertEqual(self.refusal(opened(0x7777)), "unknown_app")
        self.assertEqual(self.refusal(opened(idempotency_key="")), "bad_request")
        self.assertEqual(self.refusal(opened(idempotency_key="é")), "bad_request")

    def test_args_are_bound(self) -> None:
        self.assertEqual(read_start(TABLE, opened(args={"q": "x", "more": 1})).args, {"q": "x"})


class Making(SynchronousTestCase):
    def test_malformed_trace_is_dropped(self) -> None:
        good = f"00-{'a' * 32}-{'b' * 16}-01"
        self.assertEqual(call_of(opened(traceparent=good)).traceparent, good)
        for bad in (
            "",
            good.upper(),
            good + "-x",
            good.replace("00-", "ff-"),
            f"00-{'0' * 32}-{'b' * 16}-01",
            f"00-{'a' * 32}-{'0' * 16}-01",
            good + "\n",
        ):
            self.assertIsNone(call_of(opened(traceparent=bad)).traceparent, bad)

    def test_capability_is_text_or_none(self) -> None:
        self.assertIsNone(call_of(opened()).capability)
        self.assertEqual(call_of(opened(cap=b"abc")).capability, "abc")
        self.assertEqual(call_of(opened(cap=b"a\xff")).capability, "a\ufffd")

    def test_deadline_is_in_seconds(self) -> None:
        self.assertEqual(call_of(opened(deadline_ms=0)).deadline_s, 0.0)
        self.assertEqual(call_of(opened(deadline_ms=250)).deadline_s, 0.25)
        self.assertIsNone(call_of(opened()).deadline_s)

    def test_body_that_is_to_come_is_waited_for(self) -> None:
        upload = Upload(lambda _: None, whole=False)
        event = opened(Profile.MEDIA, op="put", args={}, ended=False)
        call = call_of(event, upload)
        self.assertIs(call.body, upload)
        self.assertIs(call.body_done, upload.passed_on)

    def test_request_ids_differ(self) -> None:
        self.assertEqual(len({fresh_request_id() for _ in range(100)}), 100)
