"""Compression at the node and at the client: what is worth it, what is taken, what it costs to refuse."""

from __future__ import annotations

import gc
import json
import os
import tracemalloc

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from micronode.calls.inflate import inflate_zstd
from micronode.oap.client import OAPClient
from micronode.oap.client.protocol import CallerProtocol
from micronode.oap.compression import MIN_DEFLATE_BYTES, deflate, is_compressible, make_inflate
from micronode.oap.wire.compression import InflateError
from micronode.oap.wire.frames import APP_E2E, COMP, END, REQ, encode_frame
from micronode.oap.wire.limits import MAX_CHUNK_BYTES
from micronode.oap.wire.profiles import Profile
from tests.support.oap import CallerEnd, SeenFrame, SpyConsumer, StubNode, body, hello, put, start
from tests.support.pairs import ConnectionPair

#: It is compressed to about a fifth.
TEXT = b"".join(b'{"title":"result %d","at":"%s"}' % (n, os.urandom(3).hex().encode()) for n in range(2_000))


def comp(corr_id: int, data: bytes, *, ended: bool = False) -> bytes:
    """Return a frame of request body with COMP."""
    return encode_frame(REQ | COMP | (END if ended else 0), 0, Profile.MEDIA, corr_id, data)


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor().compress(data)


class DeflateTests(SynchronousTestCase):
    def test_text_is_worth_it(self) -> None:
        packed = deflate(TEXT[:MAX_CHUNK_BYTES])
        assert packed is not None
        self.assertEqual(inflate_zstd(packed, MAX_CHUNK_BYTES), TEXT[:MAX_CHUNK_BYTES])

    def test_from_1024_bytes_on(self) -> None:
        self.assertIsNone(deflate(TEXT[: MIN_DEFLATE_BYTES - 1]))
        self.assertIsNotNone(deflate(TEXT[:MIN_DEFLATE_BYTES]))

    def test_a_tenth_must_be_saved(self) -> None:
        self.assertIsNone(deflate(os.urandom(5_000)))
        size = 10_000
        for random in range(0, size, 500):
            data = os.urandom(random) + bytes(size - random)
            saved = size - len(zstandard.ZstdCompressor(level=1).compress(data))
            packed = deflate(data)
            # Below a tenth of its size the receiver would refuse it.
            self.assertEqual(packed is not None, size / 10 <= saved <= size * 9 / 10, random)

    def test_a_receiver_takes_whatever_comes_of_it(self) -> None:
        for size in (1_024, 4_096, 4_097, 65_536):
            for repeated in (b"\0", b"abc", TEXT[:700], TEXT):
                data = (repeated * (size // len(repeated) + 1))[:size]
                packed = deflate(data)
                if packed is not None:
                    self.assertEqual(make_inflate()(packed, MAX_CHUNK_BYTES), data)

    def test_inflating_says_what_the_core_understands(self) -> None:
        error = self.assertRaises(InflateError, make_inflate(), b"x", 10)
        self.assertEqual(error.code.value, "bad_compression")
        data = os.urandom(2_000) + bytes(3_000)
        self.assertEqual(make_inflate(10)(zstd(data), 5_000), data)
        error = self.assertRaises(InflateError, make_inflate(2), zstd(data), 5_000)
        self.assertEqual(error.code.value, "decompress_cap")


class ContentTypeTests(SynchronousTestCase):
    def test_what_is_compressed_already_is_left_alone(self) -> None:
        for content_type in (
            "image/png", "IMAGE/JPEG", "video/mp4", "audio/ogg", "font/woff2", "application/zip",
            "application/gzip", "application/pdf; version=1",
            "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        ):  # fmt: skip
            self.assertFalse(is_compressible(content_type), content_type)
        for content_type in (
            None, "", "text/html; charset=utf-8", "application/json", "application/octet-stream",
            "image/svg+xml", "audio/wav", "font/ttf", "application/x-nobody-knows",
        ):  # fmt: skip
            self.assertTrue(is_compressible(content_type), content_type)


class AnswerTests(SynchronousTestCase):
    """What the node sends."""

    def answered(
        self, data: bytes, *, flags: int = 0, accept: object = ("zstd",), **head: str
    ) -> list[SeenFrame]:
        node = StubNode(lambda dispatched: dispatched.answer(data, **head))
        end = node.connect(greet=False)
        end.greet(accept=accept)
        end.send(start(1, flags=flags))
        frames = end.heard()
        got = b"".join(
            inflate_zstd(frame.payload, MAX_CHUNK_BYTES) if frame.flags & COMP else frame.payload
            for frame in frames[1:-1]
        )
        self.assertEqual(got, data)
        self.assertEqual(frames[0].json["length"], len(data))
        return frames

    def compressed(self, *args: bytes, **options: object) -> int:
        return sum(frame.flags & COMP != 0 for frame in self.answered(*args, **options))  # type: ignore[arg-type]

    def test_text(self) -> None:
        self.assertEqual(self.compressed(TEXT[:65_536]), 1)
        frames = self.answered(TEXT * 3, content_type="application/json")
        self.assertLess(sum(len(frame.payload) for frame in frames), len(TEXT))

    def test_not_asked_for(self) -> None:
        self.assertEqual(self.compressed(TEXT, accept=None), 0)
        self.assertEqual(self.compressed(TEXT, accept=["gzip"]), 0)

    def test_opaque(self) -> None:
        self.assertEqual(self.compressed(TEXT, flags=APP_E2E), 0)

    def test_by_content_type(self) -> None:
        self.assertEqual(self.compressed(TEXT, content_type="image/png"), 0)

    def test_not_worth_it(self) -> None:
        for data in (b"", b"short", os.urandom(70_000), bytes(65_536)):
            self.assertEqual(self.compressed(data), 0)


class RequestTests(SynchronousTestCase):
    """What the node takes."""

    def connect(self, **settings: int) -> CallerEnd:
        self.node = StubNode(**settings)
        return self.node.connect()

    def uploading(self, corr_id: int, end: CallerEnd) -> SpyConsumer:
        end.send(put(corr_id))
        consumer = SpyConsumer()
        upload = self.node.calls[-1].call.body
        assert upload is not None
        upload.startProducing(consumer).addErrback(lambda _: None)
        return consumer

    def test_the_owner_gets_it_plain(self) -> None:
        end = self.connect()
        consumer = self.uploading(1, end)
        end.send(comp(1, zstd(TEXT[:60_000])), body(1, b"plain"), comp(1, zstd(b"last"), ended=True))
        self.assertEqual(consumer.data, TEXT[:60_000] + b"plain" + b"last")
        counted = self.node.count("bytes_total", ingress="oap", direction="in")
        self.assertEqual(counted, len(consumer.data))

    def test_a_compressed_head(self) -> None:
        end = self.connect()
        head = json.dumps({"op": "query", "args": {"q": "x" * 4_000}}).encode()
        end.send(encode_frame(9 | END | COMP, 0, Profile.SEARCH, 1, zstd(head)))
        self.assertEqual(self.node.calls[-1].call.args["q"], "x" * 4_000)

    def test_limits_count_what_comes_of_it(self) -> None:
        end = self.connect()
        self.uploading(1, end)
        chunk = zstd(TEXT[:60_000])
        end.send(*[comp(1, chunk)] * 69)
        self.assertEqual(end.heard(), [])
        end.send(*[comp(1, chunk)] * 2)
        [failed] = end.heard()
        self.assertEqual((failed.code, failed.json["code"]), (413, "body_too_large"))

    def test_bombs_end_their_stream_and_cost_nothing(self) -> None:
        end = self.connect()
        calm = self.uploading(1, end)
        bomb = zstd(bytes(1 << 30))
        self.assertLess(len(bomb), MAX_CHUNK_BYTES)
        end.send(comp(1, zstd(TEXT[:5_000])))
        gc.collect()
        tracemalloc.start()
        try:
            for corr_id in range(2, 60):
                end.send(put(corr_id), comp(corr_id, bomb))
                [failed] = end.heard()
                self.assertEqual((failed.corr_id, failed.json["code"]), (corr_id, "decompress_cap"))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 4 << 20)
        end.send(comp(1, zstd(b"undisturbed"), ended=True))
        self.assertEqual(calm.data, TEXT[:5_000] + b"undisturbed")

    def test_the_ratio_is_the_configuration_s(self) -> None:
        data = zstd(os.urandom(2_000) + bytes(3_000))
        for ratio, expected in ((10, []), (2, ["decompress_cap"])):
            end = self.connect(decompress_ratio=ratio)
            end.send(put(1), comp(1, data))
            self.assertEqual([frame.json["code"] for frame in end.heard()], expected)

    def test_hello_compressed(self) -> None:
        end = StubNode().connect(greet=False)
        data = hello()
        end.send(encode_frame(REQ | COMP, 0, 0, 0, zstd(data[38:])))
        [failed] = end.heard()
        self.assertEqual((failed.corr_id, failed.json["code"]), (0, "bad_compression"))
        self.assertTrue(end.transport.closing)


class PairTests(SynchronousTestCase):
    """The client before the node."""

    def test_answers_come_plain_and_travel_small(self) -> None:
        node = StubNode(lambda dispatched: dispatched.answer(TEXT))
        caller = CallerProtocol(node.clock)
        pair = ConnectionPair(node.clock, caller, node.factory.buildProtocol(None))
        pair.run()
        client = OAPClient(caller, self.successResultOf(caller.ready))
        self.assertEqual(client.hello["flags_supported"] & COMP, COMP)
        for read_size in (1, 100, 65_536):
            pair.right.writes.clear()
            asked = client.call(Profile.SEARCH, "query", {"q": "x"})
            pair.run(read_size=read_size, turns=100_000)
            reading = self.successResultOf(asked).read(1 << 20)
            pair.run(read_size=read_size, turns=100_000)
            self.assertEqual(self.successResultOf(reading), TEXT)
            self.assertLess(sum(map(len, pair.right.writes)), len(TEXT) // 2)

    def test_a_node_that_sends_bombs_is_left(self) -> None:
        node = StubNode()
        caller = CallerProtocol(node.clock)
        pair = ConnectionPair(node.clock, caller, node.factory.buildProtocol(None))
        pair.run()
        client = OAPClient(caller, self.successResultOf(caller.ready))
        asked = client.call(Profile.SEARCH, "query", {"q": "x"})
        pair.run()
        caller.dataReceived(
            encode_frame(2 | 8, 200, Profile.SEARCH, 1, b'{"status":200}')
            + encode_frame(2 | COMP, 206, Profile.SEARCH, 1, zstd(bytes(1 << 24)))
        )
        pair.run()
        failed = self.failureResultOf(self.successResultOf(asked).read(1 << 20)).value
        self.assertEqual(failed.name, "bad_gateway")  # type: ignore[attr-defined]
        self.assertTrue(pair.left.lost)
