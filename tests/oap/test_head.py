"""The head of an answer: what an owner may put into it, and how that is refused."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.call import ResponseHead
from micronode.oap.head import head_fields
from micronode.oap.wire.heads import dump_object
from tests.support.oap import Dispatched, StubNode, start


class Fields(SynchronousTestCase):
    def test_what_is_not_known_is_left_out(self) -> None:
        head = ResponseHead(status=206, range="bytes 0-2/9", verified=False)
        self.assertEqual(
            head_fields(head, 16_384), {"status": 206, "range": "bytes 0-2/9", "verified": False}
        )

    def test_length_is_that_of_the_json(self) -> None:
        head = ResponseHead(content_type="\u2028".join("x" * 40), etag="y" * 300)
        self.assertIsNone(head_fields(head, 16_384), "no printable text")
        head = ResponseHead(content_type="\u00e9" * 300, etag="y" * 300)
        size = len(dump_object(head_fields(head, 16_384) or {}))
        self.assertIsNotNone(head_fields(head, size))
        self.assertIsNone(head_fields(head, size - 1))


class Refused(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = StubNode()
        self.end = self.node.connect()

    def begin(self, corr_id: int) -> Dispatched:
        self.end.send(start(corr_id))
        return self.node.calls[-1]

    def test_head_that_is_no_text_is_bad_gateway(self) -> None:
        for content_type in ("text/\n", "\ud800", "x" * 5000):
            with self.subTest(content_type=content_type[:9]):
                self.setUp()
                call = self.begin(1)
                call.sink.start(ResponseHead(content_type=content_type))
                call.sink.write(b"ignored")
                self.assertEqual([frame.json["code"] for frame in self.end.heard()], ["bad_gateway"])

    def test_head_too_long_for_the_connection_is_bad_gateway(self) -> None:
        end = self.node.connect(greet=False)
        end.greet(max_frame=4096)
        for corr_id, text, code in ((1, "x" * 2000, 200), (2, "\\" * 2048, 502)):
            end.send(start(corr_id))
            sink = self.node.calls[-1].sink
            sink.start(ResponseHead(content_type=text))
            end.transport.fill()
            sink.finish()
            end.transport.drain()
            self.assertEqual([frame.code for frame in end.heard()], [code])
