"""Tests for :mod:`micronode.http.head`."""

from __future__ import annotations

import random

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import NodeError
from micronode.http.head import HeadReader, RequestHead

HOST = b"Host: node.example:5310\r\n"


def read(data: bytes) -> RequestHead | str | None:
    """Return the head, the error's name, or None where more is needed."""
    try:
        return HeadReader().read(bytearray(data))
    except NodeError as error:
        return error.code.value


def trickle(data: bytes) -> RequestHead | str | None:
    """Like :func:`read`, byte by byte."""
    reader, buffer = HeadReader(), bytearray()
    for index in range(len(data)):
        buffer += data[index : index + 1]
        try:
            head = reader.read(buffer)
        except NodeError as error:
            return error.code.value
        if head is not None:
            return head
    return None


GOOD = {
    "plain": b"GET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "blank line before": b"\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "no fields": b"GET / HTTP/1.0\r\n\r\n",
    "absolute form": b"GET http://node.example:5310/a?b HTTP/1.1\r\n" + HOST + b"\r\n",
    "ipv6": b"GET / HTTP/1.1\r\nHost: [::1]:5310\r\n\r\n",
    "white space around a value": b"GET / HTTP/1.1\r\nHost: \t x \t\r\n\r\n",
    "latin-1 in a value": b"GET / HTTP/1.1\r\nHost: x\r\nA: \xe9\r\n\r\n",
    # RFC 9110 section 7.8: a server may ignore it, and clients send it unasked.
    "upgrade": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "127 more fields": b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 127 + b"\r\n",
    "16 KiB": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (16_384 - 32) + b"\r\n\r\n",
}
BAD = {
    "TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "null": b"\0",
    "two blank lines": b"\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare CR first": b"\rGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "bare LF": b"GET / HTTP/1.1\nHost: x\n\n",
    "bare LF in fields": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\nC: d\r\n\r\n",
    "bare CR in a field": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\rc\r\n\r\n",
    "bare CR before the end": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\r\n\r\n",
    "NUL in a field": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\0\r\n\r\n",
    "no version": b"GET /\r\n" + HOST + b"\r\n",
    "HTTP/0.9": b"GET / HTTP/0.9\r\n" + HOST + b"\r\n",
    "HTTP/2 preface": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "HTTP/1.2": b"GET / HTTP/1.2\r\n" + HOST + b"\r\n",
    "lower-case http": b"GET / http/1.1\r\n" + HOST + b"\r\n",
    "two spaces": b"GET  / HTTP/1.1\r\n" + HOST + b"\r\n",
    "tab for space": b"GET\t/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "space in target": b"GET /a b HTTP/1.1\r\n" + HOST + b"\r\n",
    "fragment": b"GET /a#b HTTP/1.1\r\n" + HOST + b"\r\n",
    "8 bits in target": b"GET /\xff HTTP/1.1\r\n" + HOST + b"\r\n",
    "method is no token": b"G(T / HTTP/1.1\r\n" + HOST + b"\r\n",
    "asterisk": b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT": b"CONNECT node.example:5310 HTTP/1.1\r\n" + HOST + b"\r\n",
    "CONNECT with a path": b"CONNECT /a HTTP/1.1\r\n" + HOST + b"\r\n",
    "relative target": b"GET a HTTP/1.1\r\n" + HOST + b"\r\n",
    "foreign absolute form": b"GET http://other/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "userinfo": b"GET http://a@node.example:5310/ HTTP/1.1\r\n" + HOST + b"\r\n",
    "no Host": b"GET / HTTP/1.1\r\n\r\n",
    "empty Host": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "two Hosts": b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n",
    "malformed Host": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "Host with userinfo": b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n",
    "Host list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "malformed port": b"GET / HTTP/1.1\r\nHost: a:b\r\n\r\n",
    "malformed Host on HTTP/1.0": b"GET / HTTP/1.0\r\nHost: a b\r\n\r\n",
    "no colon": b"GET / HTTP/1.1\r\n" + HOST + b"abc\r\n\r\n",
    "no name": b"GET / HTTP/1.1\r\n" + HOST + b": abc\r\n\r\n",
    "space before colon": b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    "folded line": b"GET / HTTP/1.1\r\n" + HOST + b"A: b\r\n c\r\n\r\n",
    "folded first line": b"GET / HTTP/1.1\r\n Host: x\r\n\r\n",
    "TE identity": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: identity\r\n\r\n",
    "TE gzip, chunked": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: gzip, chunked\r\n\r\n",
    "TE chunked twice": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n",
    "TE empty": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding:\r\n\r\n",
    "TE with vertical tab": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: \x0bchunked\r\n\r\n",
    "TE on HTTP/1.0": b"POST / HTTP/1.0\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n",
    "TE and CL": b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
    "CL negative": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n\r\n",
    "CL signed": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: +1\r\n\r\n",
    "CL hexadecimal": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 0x1\r\n\r\n",
    "CL superscript": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: \xb2\r\n\r\n",
    "CL empty": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length:\r\n\r\n",
    "CL list": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3, 3\r\n\r\n",
    "CL twice": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
    "CL with zeros in front": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 012\r\n\r\n",
    "CL of two zeros": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 00\r\n\r\n",
    "Connection names CL": b"GET / HTTP/1.1\r\n" + HOST + b"Connection: close, Content-Length\r\n\r\n",
    "Connection names TE": b"GET / HTTP/1.1\r\n" + HOST + b"Connection:\ttransfer-encoding\t,x\r\n\r\n",
    "Connection names Host": b"GET / HTTP/1.0\r\n" + HOST + b"Connection: x\r\nConnection: host\r\n\r\n",
    "CL huge": b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: " + b"9" * 4000 + b"\r\n\r\n",
}
TOO_LARGE = {
    "endless line": b"GET /" + b"a" * 16_380,
    "endless field": b"GET / HTTP/1.1\r\nA: " + b"a" * 16_384,
    "one byte over": b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (16_384 - 31) + b"\r\n\r\n",
    "128 more fields": b"GET / HTTP/1.1\r\n" + HOST + b"a: b\r\n" * 128 + b"\r\n",
}


class StrictnessTests(SynchronousTestCase):
    """One verdict for each head, however it is cut."""

    def test_good(self) -> None:
        for name, data in GOOD.items():
            whole = read(data)
            self.assertIsInstance(whole, RequestHead, name)
            self.assertEqual(trickle(data), whole, name)

    def test_bad(self) -> None:
        for name, data in BAD.items():
            self.assertEqual((read(data), trickle(data)), ("bad_request", "bad_request"), name)

    def test_too_large(self) -> None:
        for name, data in TOO_LARGE.items():
            self.assertEqual((read(data), trickle(data)), ("head_too_large", "head_too_large"), name)

    def test_unfinished_heads_wait(self) -> None:
        for name, data in GOOD.items():
            if name != "16 KiB":
                for end in range(len(data) - 1):
                    self.assertIsNone(read(data[:end]), f"{name} at {end}")

    def test_mutations_get_one_verdict_too(self) -> None:
        source = random.Random(1)
        pool = [*GOOD.values(), *BAD.values()]
        for _ in range(400):
            data = bytearray(source.choice(pool)[:400])
            for _ in range(source.randrange(1, 4)):
                data[source.randrange(len(data))] = source.choice(b"\r\n \t:/?%*a0\0\xff")
            self.assertEqual(read(bytes(data)), trickle(bytes(data)), bytes(data))


class HeadTests(SynchronousTestCase):
    """What a good head says."""

    def head(self, data: bytes) -> RequestHead:
        head = read(data)
        assert isinstance(head, RequestHead), head
        return head

    def test_line_and_fields(self) -> None:
        line = b"POST /a%2Fb?c=d?e HTTP/1.1\r\n"
        data = line + b"HOST: x\r\nAccept: a\r\naccept:  b \r\nContent-Length: 12\r\n\r\n"
        self.assertEqual(
            self.head(data),
            RequestHead(
                method="POST",
                path="/a%2Fb",
                query="c=d?e",
                fields={"host": "x", "accept": "a, b", "content-length": "12"},
                http11=True,
                keep_alive=True,
                body_length=12,
            ),
        )

    def test_leaves_what_follows(self) -> None:
        reader, buffer = HeadReader(), bytearray(GOOD["plain"] * 2 + b"GE")
        first, second = reader.read(buffer), reader.read(buffer)
        self.assertEqual(first, second)
        self.assertEqual(buffer, b"GE")
        self.assertIsNone(reader.read(buffer))

    def test_tells_a_begun_head_from_none(self) -> None:
        reader, buffer = HeadReader(), bytearray(b"\r\n")
        self.assertFalse(reader.begun)
        self.assertIsNone(reader.read(buffer))
        self.assertEqual((reader.begun, buffer), (True, b""))
        buffer += GOOD["plain"]
        self.assertIsNotNone(reader.read(buffer))
        self.assertFalse(reader.begun)

    def test_unreadable_head_keeps_its_method(self) -> None:
        for data, method in (
            (b"HEAD / HTTP/1.1\r\n\r\n", "HEAD"),
            (b"HEAD / HTTP/1.1\r\nA\nB", "HEAD"),
            (b"HEAD / HTTP/3.1\r\n", ""),
            (b"\0", ""),
        ):
            reader = HeadReader()
            self.assertRaises(NodeError, reader.read, bytearray(data))
            head = reader.unreadable()
            self.assertEqual((head.method, head.keep_alive, head.has_body), (method, False, False))

    def test_absolute_form_is_its_path(self) -> None:
        for target, path, query in (
            (b"http://x", "/", ""),
            (b"HTTPS://X/a?b", "/a", "b"),
            (b"http://x?b", "/", "b"),
        ):
            head = self.head(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual((head.path, head.query), (path, query))

    def test_target_tells_an_empty_query_from_none(self) -> None:
        for target, told in (
            (b"/a", "/a"),
            (b"/a?", "/a?"),
            (b"/a??b=%zz", "/a??b=%zz"),
            (b"http://x/a?", "/a?"),
            (b"http://x?b", "/?b"),
        ):
            head = self.head(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertEqual(head.target, told)

    def test_keep_alive(self) -> None:
        for line, connection, kept in (
            (b"HTTP/1.1", b"", True),
            (b"HTTP/1.1", b"Connection: close\r\n", False),
            (b"HTTP/1.1", b"Connection: x, CLOSE ,y\r\n", False),
            (b"HTTP/1.1", b"Connection: closed\r\n", True),
            (b"HTTP/1.1", b"Connection: \xa0close\x85\r\n", True),
            (b"HTTP/1.0", b"", False),
            (b"HTTP/1.0", b"Connection: keep-alive\r\n", False),
        ):
            head = self.head(b"GET / " + line + b"\r\nHost: x\r\n" + connection + b"\r\n")
            self.assertEqual(head.keep_alive, kept, connection)

    def test_body(self) -> None:
        for fields, length, has in (
            (b"", 0, False),
            (b"Content-Length: 0\r\n", 0, False),
            (b"Content-Length: 7\r\n", 7, True),
            (b"Transfer-Encoding: Chunked\r\n", None, True),
        ):
            head = self.head(b"POST / HTTP/1.1\r\nHost: x\r\n" + fields + b"\r\n")
            self.assertEqual((head.body_length, head.has_body), (length, has))

    def test_expect(self) -> None:
        for line, value, expects in (
            (b"HTTP/1.1", b"100-Continue", True),
            (b"HTTP/1.0", b"100-continue", False),
        ):
            head = self.head(b"POST / " + line + b"\r\nHost: x\r\nExpect: " + value + b"\r\n\r\n")
            self.assertEqual(head.expects_continue, expects)

    def test_expect_nothing_else(self) -> None:
        for line in (b"HTTP/1.1", b"HTTP/1.0"):
            for value in (
                b"",
                b"200-ok",
                b"100-continue, x",
                b"y 100-continue",
                b"100-continue\r\nExpect: 100-continue",
            ):
                data = b"POST / " + line + b"\r\nHost: x\r\nExpect: " + value + b"\r\n\r\n"
                self.assertEqual((read(data), trickle(data)), ("expectation_failed",) * 2, value)
