"""micronode.adapters.answer: one answer, whatever pieces it comes in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.answer import MAX_OWNER_HEAD_BYTES, AnswerReader
from micronode.adapters.answerhead import MalformedAnswerError


class AnswerReaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reader = AnswerReader(to_head=False)

    def test_head_bit_by_bit(self) -> None:
        data = b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\n"
        self.assertFalse(self.reader.begun)
        for at in range(len(data) - 1):
            self.assertIsNone(self.reader.take_head(data[at : at + 1]))
            self.assertEqual(self.reader.status, 404 if at >= 12 else 0)
        self.assertTrue(self.reader.begun)
        head = self.reader.take_head(data[-1:] + b"ab")
        self.assertEqual((head.code, head.length, self.reader.rest), (404, 3, b"ab"))
        self.assertEqual((self.reader.take_body(b"ab"), self.reader.over), (b"ab", False))
        self.assertEqual((self.reader.take_body(b"c"), self.reader.over), (b"c", True))
        self.assertFalse(self.reader.surplus)

    def test_surplus(self) -> None:
        for framing, body in (
            (b"Content-Length: 0", b""),
            (b"Content-Length: 2", b"ab"),
            (b"Transfer-Encoding: chunked", b"2\r\nab\r\n0\r\n\r\n"),
        ):
            for behind in (b"", b"\r\n", b"HTTP/1.1 200 OK\r\n\r\n"):
                self.setUp()
                self.reader.take_head(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + body + behind)
                if not self.reader.over:
                    self.assertEqual(self.reader.take_body(self.reader.rest), b"ab")
                self.assertEqual((self.reader.over, self.reader.surplus), (True, bool(behind)), framing)

    def test_interim_heads_are_skipped(self) -> None:
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        self.assertIsNone(self.reader.take_head(interim + b"HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTT"))
        self.assertEqual(self.reader.status, 103)
        head = self.reader.take_head(b"P/1.1 200 OK\r\n\r\n")
        self.assertEqual((head.code, head.fields), (200, []))

    def test_bound(self) -> None:
        """Of the head and all interim ones before it, to the byte, in whatever pieces."""
        interim, begin, end = b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: ", b"\r\n\r\n"
        for before in (b"", interim, interim * 1000):
            filler = MAX_OWNER_HEAD_BYTES - len(before + begin + end)
            for extra in (0, 1):
                data = before + begin + b"y" * (filler + extra) + end
                for size in (len(data), 1000, 1):
                    self.setUp()
                    whole = False
                    try:
                        for at in range(0, len(data), size):
                            whole = self.reader.take_head(data[at : at + size]) is not None
                    except MalformedAnswerError:
                        self.assertEqual(extra, 1)
                    else:
                        self.assertEqual((whole, extra), (True, 0))

    def test_endless_interim_heads(self) -> None:
        with self.assertRaises(MalformedAnswerError):
            for _ in range(MAX_OWNER_HEAD_BYTES // 25 + 1):
                self.reader.take_head(b"HTTP/1.1 100 Continue\r\n\r\n")

    def test_garbage_is_seen_at_once(self) -> None:
        self.assertRaises(MalformedAnswerError, self.reader.take_head, b"SSH")

    def test_body_that_ends_with_the_connection(self) -> None:
        self.reader.take_head(b"HTTP/1.1 200 OK\r\n\r\n")
        self.assertTrue(self.reader.ends_with_connection)
        self.assertEqual((self.reader.take_body(b"ab"), self.reader.over), (b"ab", False))
        for framing in (b"Content-Length: 2", b"Transfer-Encoding: chunked", b"Content-Length: 0"):
            self.setUp()
            self.reader.take_head(b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n")
            self.assertFalse(self.reader.ends_with_connection)

    def test_answer_to_head(self) -> None:
        reader = AnswerReader(to_head=True)
        reader.take_head(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
        self.assertEqual((reader.over, reader.surplus), (True, False))
