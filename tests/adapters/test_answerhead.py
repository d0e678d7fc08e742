"""micronode.adapters.answerhead: what a head is, and where it says that its body ends."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.answerhead import AnswerHead, MalformedAnswerError, read_answer_head, read_status

#: What is refused, by which leniency it would take to read it.
MALFORMED = {
    "a line ended by LF": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "a field ended by LF": b"HTTP/1.1 200 OK\r\nContent-Length: 0\nX: y\r\n\r\n",
    "CR in a value": b"HTTP/1.1 200 OK\r\nX: a\rContent-Length: 5\r\n\r\n",
    "a folded line": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
    "a folded line, by a tab": b"HTTP/1.1 200 OK\r\nX: a\r\n\tb\r\n\r\n",
    "a folded line before all fields": b"HTTP/1.1 200 OK\r\n X: a\r\n\r\n",
    "a space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 0\r\n\r\n",
    "a tab before the colon": b"HTTP/1.1 200 OK\r\nContent-Length\t: 0\r\n\r\n",
    "a name that is none": b"HTTP/1.1 200 OK\r\nContent Length: 0\r\n\r\n",
    "no name": b"HTTP/1.1 200 OK\r\n: 0\r\n\r\n",
    "no colon": b"HTTP/1.1 200 OK\r\nContent-Length\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nX: a\x00b\r\n\r\n",
    "a control character in a value": b"HTTP/1.1 200 OK\r\nX: a\x1bb\r\n\r\n",
    "DEL in a value": b"HTTP/1.1 200 OK\r\nX: a\x7fb\r\n\r\n",
    "NUL in the reason": b"HTTP/1.1 200 O\x00K\r\n\r\n",
    "an empty line first": b"\r\nHTTP/1.1 200 OK\r\n\r\n",
    "a space first": b" HTTP/1.1 200 OK\r\n\r\n",
    "two spaces": b"HTTP/1.1  200 OK\r\n\r\n",
    "a tab": b"HTTP/1.1\t200 OK\r\n\r\n",
    "small letters": b"http/1.1 200 OK\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\n\r\n",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\n\r\n",
    "HTTP/1": b"HTTP/1 200 OK\r\n\r\n",
    "another protocol": b"ICY 200 OK\r\n\r\n",
    "no version": b"200 OK\r\n\r\n",
    "a status of two digits": b"HTTP/1.1 20 OK\r\n\r\n",
    "a status of four digits": b"HTTP/1.1 2000 OK\r\n\r\n",
    "a status of 99": b"HTTP/1.1 099 OK\r\n\r\n",
    "a status of 600": b"HTTP/1.1 600 OK\r\n\r\n",
    "a status with a sign": b"HTTP/1.1 +20 OK\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\n\r\n",
    "a reason that touches the status": b"HTTP/1.1 200OK\r\n\r\n",
    "101": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "101 without a word of what to": b"HTTP/1.1 101 Switching\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    "the same length twice": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
    "a list of lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n",
    "a length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n",
    "a negative length": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "a hexadecimal length": b"HTTP/1.1 200 OK\r\nContent-Length: 0x1\r\n\r\n",
    "a length with an underscore": b"HTTP/1.1 200 OK\r\nContent-Length: 1_0\r\n\r\n",
    "a length with a space": b"HTTP/1.1 200 OK\r\nContent-Length: 1 0\r\n\r\n",
    "no length at all": b"HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\n",
    "a length of 19 digits": b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000000000000\r\n\r\n",
    "a length beyond 64 bits": b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\n",
    "length, chunks": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
    "chunks, length": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
    "gzip": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
    "gzip, chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
    "chunks twice": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
    "chunks in two fields": b"HTTP/1.1 200 OK\r\n" + 2 * b"Transfer-Encoding: chunked\r\n" + b"\r\n",
    "identity": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\n",
    "xchunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n",
    "an encoding that is empty": b"HTTP/1.1 200 OK\r\nTransfer-Encoding:\r\n\r\n",
    "chunks of HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
}


class AnswerHeadTests(SynchronousTestCase):
    def read(self, *lines: bytes, to_head: bool = False) -> AnswerHead:
        return read_answer_head(b"\r\n".join(lines) + b"\r\n\r\n", to_head=to_head)

    def test_parts(self) -> None:
        head = self.read(
            b"HTTP/1.1 404 Not  Found", b"Content-Type: text/plain ", b"X-Empty:", b"X:y", b"x: \t\xe4 z\t"
        )
        self.assertEqual((head.code, head.version, head.phrase), (404, (b"HTTP", 1, 1), b"Not  Found"))
        self.assertEqual(
            head.fields,
            [(b"content-type", b"text/plain"), (b"x-empty", b""), (b"x", b"y"), (b"x", b"\xe4 z")],
        )
        self.assertEqual((head.length, head.chunked, head.keeps), (None, False, True))

    def test_reasons_that_are_empty(self) -> None:
        for line in (b"HTTP/1.1 200 ", b"HTTP/1.1 200"):
            self.assertEqual(self.read(line).phrase, b"")

    def test_lengths(self) -> None:
        for value, length in ((b"0", 0), (b"007", 7), (b" 12 ", 12), (b"9" * 18, 10**18 - 1)):
            self.assertEqual(self.read(b"HTTP/1.1 200 OK", b"Content-Length:" + value).length, length)

    def test_chunks(self) -> None:
        for value in (b"chunked", b"CHUNKED", b" Chunked\t"):
            head = self.read(b"HTTP/1.1 200 OK", b"Transfer-Encoding:" + value)
            self.assertEqual((head.chunked, head.length, head.fields), (True, None, []))

    def test_answers_without_a_body(self) -> None:
        for status, to_head in (
            (b"204 No", False),
            (b"304 Not", False),
            (b"103 Early", False),
            (b"200 OK", True),
        ):
            for field in (b"Content-Length: 5", b"Transfer-Encoding: chunked", b"X: y"):
                head = self.read(b"HTTP/1.1 " + status, field, to_head=to_head)
                self.assertEqual((head.length, head.chunked), (0, False))

    def test_empty_answer_that_announces_a_body(self) -> None:
        """Its bytes would be the beginning of the next answer."""
        for field, keeps in (
            (b"Content-Length: 5", False),
            (b"Transfer-Encoding: chunked", False),
            (b"Content-Length: 0", True),
            (b"X: y", True),
        ):
            self.assertIs(self.read(b"HTTP/1.1 204 No", field).keeps, keeps, field)
        # Here it is the length of what is not sent.
        self.assertTrue(self.read(b"HTTP/1.1 304 Not", b"Content-Length: 5").keeps)

    def test_length_of_an_object(self) -> None:
        """To a HEAD it is not the answer's own."""
        self.assertEqual(
            self.read(b"HTTP/1.1 200 OK", b"Content-Length: 5", to_head=True).fields,
            [(b"content-length", b"5")],
        )
        self.assertEqual(self.read(b"HTTP/1.1 304 Not", b"Content-Length: 5").fields, [])

    def test_connections_that_last(self) -> None:
        for version, fields, keeps in (
            (b"1.1", (), True),
            (b"1.1", (b"Connection: keep-alive",), True),
            (b"1.1", (b"Connection: close",), False),
            (b"1.1", (b"Connection: Close",), False),
            (b"1.1", (b"Connection: foo ,\tCLOSE",), False),
            (b"1.1", (b"Connection: foo", b"Connection: close"), False),
            (b"1.1", (b"Connection: close", b"Connection: keep-alive"), False),
            (b"1.1", (b"Connection: closed",), True),
            (b"1.0", (), False),
            (b"1.0", (b"Connection: keep-alive",), False),
        ):
            head = self.read(b"HTTP/" + version + b" 200 OK", *fields)
            self.assertEqual((head.keeps, head.fields), (keeps, []), fields)

    def test_fields_of_the_connection(self) -> None:
        """They, and those it names, are not the answer's."""
        head = self.read(
            b"HTTP/1.1 200 OK",
            b"Upgrade: h2",
            b"Keep-Alive: timeout=5",
            b"X-Hop: 1",
            b"X-Kept: 2",
            b"Connection: Upgrade, x-HOP",
            b"TE: x",
            b"Trailer: y",
            b"Proxy-Connection: z",
        )
        self.assertEqual((head.fields, head.keeps), ([(b"x-kept", b"2")], True))

    def test_malformed(self) -> None:
        for why, raw in MALFORMED.items():
            for to_head in (False, True):
                with self.assertRaises(MalformedAnswerError, msg=why):
                    read_answer_head(raw, to_head=to_head)

    def test_again(self) -> None:
        """The same bytes are the same head, but for what was asked."""
        lines = (b"HTTP/1.1 200 OK", b"Content-Length: 5", b"X: y")
        head = self.read(*lines)
        self.assertIs(self.read(*lines), head)
        self.assertEqual(self.read(*lines, to_head=True).length, 0)
        self.assertEqual((head.length, head.fields), (5, [(b"x", b"y")]))

    def test_long_heads_are_not_kept(self) -> None:
        lines = (b"HTTP/1.1 200 OK", b"X: " + b"y" * 1_024)
        self.assertIsNot(self.read(*lines), self.read(*lines))

    def test_texts(self) -> None:
        head = self.read(b"HTTP/1.1 200 OK", b"X-A: one", b"X-A: two", b"X-B: \xe4", b"X-C: " + b"y" * 1_025)
        for name, text in (("x-a", "one"), ("X-A", "one"), ("x-b", None), ("x-c", None), ("x-d", None)):
            for _ in range(2):
                self.assertEqual(head.text(name), text)


class StatusTests(SynchronousTestCase):
    def test_as_soon_as_it_is_there(self) -> None:
        line = b"HTTP/1.1 413 Too Large\r\n"
        for size in range(13):
            self.assertIsNone(read_status(line[:size]))
        for size in (13, len(line)):
            self.assertEqual(read_status(line[:size]), 413)
        self.assertEqual(read_status(b"HTTP/1.0 200\r"), 200)

    def test_garbage(self) -> None:
        for begun in (b"S", b"HTTP/2", b"HTTPS", b"garbage", b"HTTP/1.1 2xx\r\n", b"HTTP/1.1 200OK"):
            self.assertRaises(MalformedAnswerError, read_status, begun)
