"""Request bodies with a Content-Encoding, from the head to what the call gets."""

from __future__ import annotations

import gzip
import os
import tracemalloc

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import NodeError
from micronode.http.encoding import find_inflate
from micronode.http.site import make_app_site
from tests.http.support import Plane, StubDispatcher, Timeouts, get, make_metrics, post, say

BODIES = (b"", b"x", b"an honest text\n" * 200, os.urandom(70_000), bytes(4_096))
ENCODINGS = (
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("zstd", zstandard.ZstdCompressor().compress),
)


def encoded(path: str, name: str, data: bytes) -> bytes:
    return post(path, data, f"Content-Encoding: {name}")


def chunked(path: str, name: str, data: bytes) -> bytes:
    head = get(path, "Transfer-Encoding: chunked", f"Content-Encoding: {name}", method="POST")
    return head + b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data)


class FindTests(SynchronousTestCase):
    def test_one_or_none(self) -> None:
        self.assertIsNone(find_inflate("identity"))
        self.assertIs(find_inflate("gzip"), find_inflate("X-GZIP"))
        self.assertIsNot(find_inflate("gzip"), find_inflate("zstd"))

    def test_refusal_names_what_is_taken(self) -> None:
        error = self.assertRaises(NodeError, find_inflate, "br")
        self.assertIn(("Accept-Encoding", "gzip, zstd"), error.headers)


class BodyTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.dispatcher = StubDispatcher(say(b"taken"))
        self.plane = Plane(self.dispatcher)
        self.connection = self.plane.connect()

    def got(self) -> bytes:
        body: bytes = self.dispatcher.calls[-1].body.data  # type: ignore[union-attr]
        return body

    def refused(self, data: bytes) -> tuple[int, str]:
        answer = self.connection.send(data).answer()
        self.assertEqual(self.dispatcher.calls, [])
        # Its body was read: the connection goes on.
        self.assertFalse(self.connection.closing)
        return answer.status, answer.json["code"]

    def test_the_call_gets_it_plain(self) -> None:
        for name, compress in ENCODINGS:
            for body in BODIES:
                for form in (encoded, chunked):
                    self.connection.send(form("/app/media", name, compress(body)))
                    self.assertEqual(self.connection.answer().status, 200)
                    self.assertEqual(self.got(), body)
        self.assertFalse(self.connection.closing)

    def test_cut_anywhere(self) -> None:
        self.connection.trickle(encoded("/app/media", "gzip", gzip.compress(BODIES[2])))
        self.assertEqual(self.connection.answer().status, 200)
        self.assertEqual(self.got(), BODIES[2])

    def test_over_the_ratio(self) -> None:
        for name, compress in ENCODINGS:
            request = encoded("/app/media", name, compress(bytes(4_097)))
            self.assertEqual(self.refused(request), (413, "decompress_cap"))

    def test_over_what_the_operation_takes(self) -> None:
        for name, compress in ENCODINGS:
            request = encoded("/app/feed/a", name, compress(b"12345678901"))
            self.assertEqual(self.refused(request), (413, "decompress_cap"))
        self.connection.send(encoded("/app/feed/a", "gzip", gzip.compress(b"1234567890")))
        self.assertEqual(self.connection.answer().status, 200)
        self.assertEqual(self.got(), b"1234567890")

    def test_over_1_mib(self) -> None:
        body = os.urandom(1 << 19) + bytes((1 << 19) + 1)
        for name, compress in ENCODINGS:
            self.assertEqual(
                self.refused(encoded("/app/media", name, compress(body))), (413, "decompress_cap")
            )
            self.connection.send(encoded("/app/media", name, compress(body[:-1])))
            self.assertEqual(self.connection.answer().status, 200)
            self.assertEqual(self.got(), body[:-1])
            self.dispatcher.calls.clear()

    def test_broken(self) -> None:
        for name, compress in ENCODINGS:
            whole = compress(BODIES[2])
            for data in (whole[:-1], whole + b"\0", whole * 2, b"no such thing", whole[:5]):
                self.assertEqual(self.refused(encoded("/app/media", name, data)), (400, "bad_compression"))

    def test_no_body_at_all(self) -> None:
        self.connection.send(encoded("/app/media", "gzip", b""))
        self.assertEqual(self.connection.answer().status, 200)
        self.assertEqual(self.got(), b"")

    def test_bomb_is_refused_without_inflating_it(self) -> None:
        for name, compress in ENCODINGS:
            request = encoded("/app/media", name, compress(bytes(32 << 20)))
            tracemalloc.start()
            try:
                self.assertEqual(self.refused(request), (413, "decompress_cap"))
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
            self.assertLess(peak, 3 << 20)

    def test_refused_from_the_head(self) -> None:
        self.connection.send(
            get("/app/media", "Content-Length: 9", "Content-Encoding: gzip, gzip", method="POST")
        )
        answer = self.connection.answer()
        self.assertEqual((answer.status, answer.json["code"]), (415, "unsupported_encoding"))
        self.assertEqual(answer.fields["accept-encoding"], "gzip, zstd")
        self.assertTrue(self.connection.closing)

    def test_it_is_logged_and_counted_as_it_came(self) -> None:
        data = gzip.compress(bytes(5_000))
        self.assertEqual(self.refused(encoded("/app/media", "gzip", data)), (413, "decompress_cap"))
        self.assertEqual(self.plane.log[-1]["reason"], "decompress_cap")
        counted = self.plane.sample("bytes_total", ingress="http", direction="in")
        self.assertEqual(counted, len(data))

    def test_the_ratio_is_the_configuration_s(self) -> None:
        site = make_app_site(
            dispatcher=self.dispatcher,
            metrics=make_metrics(),
            timeouts=Timeouts(),
            idle_s=75.0,
            clock=self.plane.clock,
            access=lambda fields: None,
            decompress_ratio=2,
        )
        body = os.urandom(4_000) + bytes(6_000)
        request = encoded("/app/media", "gzip", gzip.compress(body))
        self.connection.send(request)
        self.assertEqual(self.connection.answer().status, 200)
        self.dispatcher.calls.clear()
        self.connection = Plane(self.dispatcher, site=site).connect()
        self.assertEqual(self.refused(request), (413, "decompress_cap"))
