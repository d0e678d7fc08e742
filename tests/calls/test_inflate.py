"""Bounded inflating: every shape of bomb, lie and breakage."""

from __future__ import annotations

import gzip
import os
import tracemalloc
from collections.abc import Callable

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.inflate import MAX_BLOCKS, MAX_WINDOW_BYTES, bound_of, inflate_gzip, inflate_zstd
from micronode.errors import NodeError

LIMIT = 65_536
TEXT = b"".join(b"line %d of an honest text\n" % number for number in range(120))


def zstd(data: bytes, *, window_log: int | None = None, **options: bool) -> bytes:
    if window_log is None:
        return zstandard.ZstdCompressor(**options).compress(data)
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=window_log, **options)
    return zstandard.ZstdCompressor(compression_params=parameters).compress(data)


def undeclared(data: bytes) -> bytes:
    """A frame that says neither how long it is."""
    compressor = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    return compressor.compress(data) + compressor.flush()


#: A frame header: no size declared, a window of 1 MiB, no checksum.
PLAIN_HEADER = b"\x28\xb5\x2f\xfd\x00\x50"


def declaring(size: int, frame: bytes) -> bytes:
    """*frame*, whose header declares *size* in eight bytes instead of what it did."""
    header = zstandard.frame_header_size(frame)
    # Descriptor 0xC0: eight bytes of size, a window descriptor (here: 1 MiB), no checksum.
    return frame[:4] + b"\xc0" + b"\x50" + size.to_bytes(8, "little") + frame[header:]


class Inflating:
    """What both formats promise."""

    inflate: Callable[..., bytes]
    deflate: Callable[[bytes], bytes]

    def refused(self: SynchronousTestCase, data: bytes, limit: int = LIMIT) -> str:
        error = self.assertRaises(NodeError, type(self).inflate, data, limit)  # type: ignore[attr-defined]
        return error.code.value

    def test_honest(self) -> None:
        for data in (b"", b"x", TEXT, os.urandom(5000), b"\0" * 4096):
            self.assertEqual(type(self).inflate(type(self).deflate(data), LIMIT), data)

    def test_exactly_at_the_bound_and_one_over(self) -> None:
        self.assertEqual(len(type(self).inflate(type(self).deflate(b"\0" * 4096), LIMIT)), 4096)
        self.assertEqual(self.refused(type(self).deflate(b"\0" * 4097)), "decompress_cap")

    def test_the_callers_limit(self) -> None:
        data = os.urandom(3000)
        self.assertEqual(type(self).inflate(type(self).deflate(data), 3000), data)
        self.assertEqual(self.refused(type(self).deflate(data), 2999), "decompress_cap")

    def test_bomb_allocates_nothing_to_speak_of(self) -> None:
        bomb = type(self).deflate(bytes(64 * 2**20))
        tracemalloc.start()
        try:
            self.assertEqual(self.refused(bomb), "decompress_cap")
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 2 * 10 * len(bomb) + 2**20)

    def test_cut_anywhere(self) -> None:
        whole = type(self).deflate(TEXT)
        for end in range(len(whole)):
            self.assertEqual(self.refused(whole[:end]), "bad_compression", end)

    def test_trailing_bytes(self) -> None:
        whole = type(self).deflate(TEXT)
        self.assertEqual(self.refused(whole + b"\0"), "bad_compression")
        self.assertEqual(self.refused(whole + whole), "bad_compression")

    def test_garbage(self) -> None:
        for size in (1, 2, 3, 4, 5, 17, 100, 1000):
            self.assertEqual(self.refused(os.urandom(size)), "bad_compression")

    def test_one_bit_wrong_is_never_a_traceback(self) -> None:
        whole = type(self).deflate(TEXT)
        for at in range(len(whole)):
            broken = bytearray(whole)
            broken[at] ^= 0x10
            try:
                found = type(self).inflate(bytes(broken), LIMIT)
            except NodeError as error:
                self.assertIn(error.code.value, ("bad_compression", "decompress_cap"))
            else:
                self.assertLessEqual(len(found), bound_of(len(broken), LIMIT))


class GzipTests(Inflating, SynchronousTestCase):
    inflate = staticmethod(inflate_gzip)
    deflate = staticmethod(gzip.compress)


class ZstdTests(Inflating, SynchronousTestCase):
    inflate = staticmethod(inflate_zstd)
    deflate = staticmethod(zstd)

    def test_undeclared_size(self) -> None:
        self.assertEqual(inflate_zstd(undeclared(TEXT), LIMIT), TEXT)
        self.assertEqual(self.refused(undeclared(bytes(2**22))), "decompress_cap")

    def test_checksum(self) -> None:
        whole = zstd(TEXT, write_checksum=True)
        self.assertEqual(inflate_zstd(whole, LIMIT), TEXT)
        self.assertEqual(self.refused(whole[:-1] + bytes([whole[-1] ^ 1])), "bad_compression")

    def test_declared_size_lies(self) -> None:
        frame = zstd(TEXT)
        for size, code in (
            (0, "bad_compression"),
            (len(TEXT) - 1, "bad_compression"),
            (len(TEXT) + 1, "bad_compression"),
            (2**40, "decompress_cap"),
            (2**63, "decompress_cap"),
        ):
            self.assertEqual(self.refused(declaring(size, frame)), code, size)
        self.assertEqual(inflate_zstd(declaring(len(TEXT), frame), LIMIT), TEXT)

    def test_window_over_the_limit(self) -> None:
        # No size declared and a window of 16 MiB asked for.
        frame = undeclared(TEXT)
        header = zstandard.frame_header_size(frame)
        huge = frame[:4] + b"\x00" + bytes([(24 - 10) << 3]) + frame[header:]
        self.assertGreater(zstandard.get_frame_parameters(huge).window_size, MAX_WINDOW_BYTES)
        self.assertEqual(self.refused(huge), "decompress_cap")

    def test_dictionary(self) -> None:
        samples = [b"sample %d of a dictionary, long enough to be one" % number * 3 for number in range(300)]
        trained = zstandard.train_dictionary(2048, samples)
        frame = zstandard.ZstdCompressor(dict_data=trained).compress(samples[0])
        self.assertEqual(self.refused(frame), "bad_compression")

    def test_skippable_frames(self) -> None:
        skippable = b"\x50\x2a\x4d\x18" + (4).to_bytes(4, "little") + b"abcd"
        self.assertEqual(self.refused(skippable), "bad_compression")
        self.assertEqual(self.refused(skippable + zstd(TEXT)), "bad_compression")
        self.assertEqual(self.refused(zstd(TEXT) + skippable), "bad_compression")

    def test_reserved_block_type(self) -> None:
        frame = zstd(os.urandom(100))
        at = zstandard.frame_header_size(frame)
        broken = frame[:at] + bytes([frame[at] | 0b110]) + frame[at + 1 :]
        self.assertEqual(self.refused(broken), "bad_compression")

    def test_many_empty_blocks(self) -> None:
        empty_blocks = PLAIN_HEADER + b"\0\0\0" * 1000 + b"\x01\0\0"
        self.assertEqual(inflate_zstd(empty_blocks, LIMIT), b"")

    def test_too_many_blocks(self) -> None:
        many = PLAIN_HEADER + b"\0\0\0" * (MAX_BLOCKS - 1) + b"\x01\0\0"
        self.assertEqual(inflate_zstd(many, LIMIT), b"")
        one_more = PLAIN_HEADER + b"\0\0\0" * MAX_BLOCKS + b"\x01\0\0"
        self.assertEqual(self.refused(one_more), "bad_compression")

    def test_zeros_in_run_length_blocks(self) -> None:
        run = (128 * 1024 << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
        self.assertEqual(self.refused(PLAIN_HEADER + run * 100 + b"\x01\0\0"), "decompress_cap")
