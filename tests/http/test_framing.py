"""Tests for :mod:`micronode.http.framing`."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import NodeError
from micronode.http.framing import ChunkedBody, SizedBody


def feed(body: ChunkedBody | SizedBody, data: bytes, step: int) -> tuple[object, bytes]:
    """Feed *data* in pieces; return (whole or the error's name, what is left of the buffer)."""
    buffer = bytearray()
    for index in range(0, len(data), step):
        buffer += data[index : index + step]
        try:
            if body.feed(buffer):
                return True, bytes(buffer) + data[index + step :]
        except NodeError as error:
            return error.code.value, b""
    return False, bytes(buffer)


class SizedBodyTests(SynchronousTestCase):
    """Bodies with a Content-Length."""

    def test_takes_its_length_and_leaves_the_rest(self) -> None:
        for step in (1, 2, 100):
            body = SizedBody(5)
            self.assertEqual(feed(body, b"helloGET", step), (True, b"GET"))
            self.assertEqual(body.data, b"hello")

    def test_waits_for_the_rest(self) -> None:
        body = SizedBody(5)
        self.assertEqual(feed(body, b"hell", 1), (False, b""))


class ChunkedBodyTests(SynchronousTestCase):
    """Bodies in chunks."""

    def both(self, data: bytes, max_bytes: int = 100) -> tuple[object, bytes, bytes]:
        """Feed *data* whole and byte by byte; return the one result: outcome, body, rest."""
        whole, trickled = ChunkedBody(max_bytes), ChunkedBody(max_bytes)
        outcome, rest = feed(whole, data, len(data))
        self.assertEqual(feed(trickled, data, 1), (outcome, rest))
        self.assertEqual(whole.data, trickled.data)
        return outcome, bytes(whole.data), rest

    def test_whole_body(self) -> None:
        self.assertEqual(
            self.both(b"5\r\nhello\r\n00a\r\n, world!!!\r\n0\r\n\r\nGET"),
            (True, b"hello, world!!!", b"GET"),
        )

    def test_empty_body(self) -> None:
        self.assertEqual(self.both(b"0\r\n\r\n"), (True, b"", b""))

    def test_extensions_and_trailers_are_read_over(self) -> None:
        self.assertEqual(
            self.both(b'1 ;a=b;c="d e"\r\nx\r\n0;z\r\nA: b\r\nHosts:\r\n\r\nrest'), (True, b"x", b"rest")
        )

    def test_malformed(self) -> None:
        for data in (
            b"\r\n",
            b"x\r\n",
            b"-1\r\n",
            b"+1\r\n",
            b"0x1\r\n",
            b" 1\r\n",
            b"1\nx",
            b"1_0\r\n",
            b"111111111\r\n",
            b"1;\0\r\n",
            b"1;a\nb\r\nx",
            b"1\r\nxy",
            b"1\r\nx\n",
            b"1\r\nx\r0",
            b"0\r\nno colon\r\n",
            b"0\r\n a: b\r\n",
            b"0\r\n: b\r\n",
            b"0\r\nContent-Length: 3\r\n",
            b"0\r\nA: b\r\ntransfer-encoding:chunked\r\n",
            b"0\r\nHOST: other\r\n",
            b"1" + b";" + b"a" * 1100,
        ):
            self.assertEqual(self.both(data)[0], "bad_request", data)

    def test_length_of_a_line_is_the_same_however_it_is_cut(self) -> None:
        for length, outcome in ((1024, True), (1025, "bad_request")):
            size, trailer = b"1;".ljust(length, b"a"), b"a:".ljust(length, b"b")
            self.assertEqual(self.both(size + b"\r\nx\r\n0\r\n\r\n")[0], outcome)
            self.assertEqual(self.both(b"0\r\n" + trailer + b"\r\n\r\n")[0], outcome)

    def test_cap_is_seen_at_the_chunk_size(self) -> None:
        self.assertEqual(self.both(b"64\r\n")[0], False)
        self.assertEqual(self.both(b"65\r\n")[0], "body_too_large")
        self.assertEqual(self.both(b"1\r\nx\r\n64\r\n")[0], "body_too_large")
        self.assertEqual(self.both(b"ffffffff\r\n")[0], "body_too_large")

    def test_framing_may_not_outweigh_the_body(self) -> None:
        honest = b"8\r\n12345678\r\n" * 20_000 + b"0\r\n\r\n"
        self.assertEqual(feed(ChunkedBody(1 << 20), honest, 65_536), (True, b""))
        for wasteful in (b"1\r\nx\r\n" * 20_000, b"1;" + b"a" * 1000 + b"\r\nx\r\n"):
            outcome, _ = feed(ChunkedBody(1 << 20), wasteful * 100, 65_536)
            self.assertEqual(outcome, "bad_request")
        outcome, _ = feed(ChunkedBody(100), b"0\r\n" + b"a: b\r\n" * 20_000, 65_536)
        self.assertEqual(outcome, "bad_request")
