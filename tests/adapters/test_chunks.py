"""micronode.adapters.chunks: chunked bodies, whatever pieces they come in."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from micronode.adapters.answerhead import MalformedAnswerError
from micronode.adapters.chunks import MAX_CHUNK_LINE_BYTES, MAX_TRAILER_BYTES, ChunkReader

WELL_FORMED = {
    b"0\r\n\r\n": b"",
    b"3\r\nabc\r\n0\r\n\r\n": b"abc",
    b"00003\r\nabc\r\n000\r\n\r\n": b"abc",
    b"A\r\n0123456789\r\n0\r\n\r\n": b"0123456789",
    b"a\r\n0123456789\r\n0\r\n\r\n": b"0123456789",
    b"2\r\n\r\n\r\n0\r\n\r\n": b"\r\n",
    b"5\r\n0\r\n\r\n\r\n0\r\n\r\n": b"0\r\n\r\n",
    b"1;x\r\na\r\n1;x=y;z\r\nb\r\n0;last\r\n\r\n": b"ab",
    b'1;x="a;\\"b "\r\na\r\n0\r\n\r\n': b"a",
    b"1\r\na\r\n0\r\nX-Trailer: y\r\nZ:\r\n\r\n": b"a",
}
MALFORMED = (
    b"\r\n",
    b"x\r\n",
    b"-1\r\n",
    b"+1\r\n",
    b"0x1\r\n",
    b"1_0\r\n",
    b" 1\r\n",
    b"1 \r\n",
    b"1\na\r\n",
    b"1;\r\n",
    b"1;x y\r\n",
    b'1;x="\r\n',
    b"1;x=\x00\r\n",
    b"1;x\nabc\r\n",
    b"1" * 16 + b"\r\n",
    b"3\r\nabcd",
    b"3\r\nabc\n",
    b"3\r\nabc\rx",
    b"3\r\nabc0\r\n\r\n",
    b"0\r\nX\r\n\r\n",
    b"0\r\n X: y\r\n\r\n",
    b"0\r\nX : y\r\n\r\n",
    b"0\r\nX: y\nZ: a\r\n\r\n",
    b"0\r\nX: \x00\r\n\r\n",
    b"1" * MAX_CHUNK_LINE_BYTES,
    b"1;" + b"x" * MAX_CHUNK_LINE_BYTES + b"\r\n",
    b"0\r\nX: " + b"y" * MAX_TRAILER_BYTES + b"\r\n\r\n",
)


def pieces(data: bytes, size: int) -> list[bytes]:
    """Cut *data* into pieces."""
    return [data[at : at + size] for at in range(0, len(data), size)]


class ChunkReaderTests(SynchronousTestCase):
    def test_well_formed(self) -> None:
        for data, body in WELL_FORMED.items():
            for size in (1, 2, 3, 5, len(data)):
                reader, taken = ChunkReader(), b""
                for piece in pieces(data, size):
                    self.assertFalse(reader.over)
                    got, rest = reader.take(piece)
                    taken += got
                self.assertEqual((taken, rest, reader.over), (body, b"", True), (data, size))

    def test_what_is_behind(self) -> None:
        for behind in (b"\r", b"\n", b"\r\n", b"0\r\n\r\n", b"HTTP/1.1 200 OK\r\n"):
            for data in WELL_FORMED:
                self.assertEqual(ChunkReader().take(data + behind)[1], behind)

    def test_malformed(self) -> None:
        for data in MALFORMED:
            for size in (1, 7, len(data)):
                reader = ChunkReader()
                with self.assertRaises(MalformedAnswerError, msg=data[:20]):
                    for piece in pieces(data, size):
                        reader.take(piece)

    def test_bounds(self) -> None:
        """What is just within them is read."""
        line = b"1;" + b"x" * (MAX_CHUNK_LINE_BYTES - 4) + b"\r\n"
        self.assertEqual(len(line), MAX_CHUNK_LINE_BYTES)
        trailer = b"X: " + b"y" * (MAX_TRAILER_BYTES - 7) + b"\r\n\r\n"
        self.assertEqual(len(trailer), MAX_TRAILER_BYTES)
        data = line + b"a\r\n0\r\n" + trailer
        for size in (1, 1000, len(data)):
            reader = ChunkReader()
            self.assertEqual(b"".join(reader.take(piece)[0] for piece in pieces(data, size)), b"a")
            self.assertTrue(reader.over)

    def test_pieces_of_one_read_are_one(self) -> None:
        self.assertEqual(ChunkReader().take(b"1\r\na\r\n" * 100), (b"a" * 100, b""))
