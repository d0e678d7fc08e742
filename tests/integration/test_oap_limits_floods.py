"""Bad input on a live node, part two: too much of it (bombs, heads, cancels, streams, unread answers)."""

from __future__ import annotations

import gzip
import json

import zstandard
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.frames import COMP, END, EVENT, HEADER, NO_TENANT, REQ, START, Control, encode_frame
from micronode.oap.wire.limits import (
    HEADER_BYTES,
    MAX_CAP_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_HEAD_BYTES,
    MAX_INFLIGHT,
    VERSION,
)
from micronode.oap.wire.profiles import Profile
from tests.cli.processes import eventually
from tests.support.live import LiveCaller, LiveNode
from tests.support.oap import body, cancel, hello, put, start
from tests.support.vector_compression import REFUSED

MIB = 1 << 20
#: Inflated it would be a GiB.
BOMB = zstandard.ZstdCompressor().compress(bytes(1 << 30))
#: The most that a zstd frame may ask for as its window.
WINDOW = 8 * MIB
#: What an allocator may keep of what was let go.
SLACK = 4 * MIB
#: What an object of the tests has: an answer that is streamed.
OBJECT_BYTES = 6 * MIB
CANCELS = 100_000


def announced(flags: int, length: int, app: int, corr_id: int, cap_length: int = 0) -> bytes:
    """Return a header that announces a frame of *length* bytes."""
    return HEADER.pack(length, VERSION, flags, 0, app, NO_TENANT, cap_length, corr_id)


class _Floods:
    """The tests; the sub-classes choose the socket."""

    transport: str

    def setUp(self) -> None:
        roomy = ("facets.media.limit=128", "owners.storage.concurrency=128")
        self.node = LiveNode(self, self.transport, *roomy, "timeouts.write_stall=1500ms")  # type: ignore[arg-type]

    def test_all(self) -> None:
        self.node.try_all(
            self.bombs, self.too_large, self.cancels, self.one_stream_too_many, self.peers_that_never_read
        )

    def refused(self, caller: LiveCaller, corr_id: int, status: int, error: str) -> None:
        """Stream *corr_id* ends with *error*."""
        frame = caller.end_of(corr_id)
        self.assertEqual((frame.code, frame.json["code"]), (status, error))  # type: ignore[attr-defined]

    def ask_http(self, encoding: str, data: bytes) -> tuple[int, str]:
        """POST *data*; return the status and the error's name."""
        caller = LiveCaller(self.node.http)
        head = f"POST /app/media HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n"
        caller.say(f"{head}Content-Encoding: {encoding}\r\nConnection: close\r\n\r\n".encode(), data)
        answer = b""
        while piece := caller.socket.recv(65_536):
            answer += piece
        caller.close()
        head, _, text = answer.decode().partition("\r\n\r\n")
        return int(head.split()[1]), json.loads(text).get("code", "")

    def bombs(self) -> None:
        shapes = [*REFUSED, ("a_gigabyte", BOMB, "decompress_cap")]
        self.assertGreaterEqual(len(shapes), 20)  # type: ignore[attr-defined]
        gzip_bomb, zstd_bomb = gzip.compress(bytes(100 * MIB)), zstandard.compress(bytes(100 * MIB))
        honest = zstandard.compress(bytes(range(256)) * 8)
        caller = self.node.greeted()
        # Whatever is loaded or allocated once is, after these.
        caller.say(put(1), encode_frame(REQ | COMP | END, 0, Profile.MEDIA, 1, honest))
        self.assertEqual(caller.end_of(1).code, 200)  # type: ignore[attr-defined]
        self.assertEqual(self.ask_http("zstd", honest)[0], 201)  # type: ignore[attr-defined]
        self.assertEqual(self.ask_http("gzip", gzip.compress(b"honest"))[0], 201)  # type: ignore[attr-defined]

        before = self.node.forget_peak()
        corr_id = 1
        for _ in range(2):
            for name, payload, error in shapes:
                for started in (False, True):
                    corr_id += 1
                    if started:
                        flags = REQ | COMP | START | END
                        caller.say(encode_frame(flags, 0, Profile.MEDIA, corr_id, payload))
                    else:
                        chunk = encode_frame(REQ | COMP, 0, Profile.MEDIA, corr_id, payload)
                        caller.say(put(corr_id), chunk)
                    frame = caller.end_of(corr_id)
                    if started and len(payload) > MAX_HEAD_BYTES:
                        error = "head_too_large"
                    self.assertEqual(frame.json["code"], error, name)  # type: ignore[attr-defined]
            for encoding, data in (("gzip", gzip_bomb), ("zstd", zstd_bomb)):
                self.assertEqual(self.ask_http(encoding, data), (413, "decompress_cap"))  # type: ignore[attr-defined]
            self.node.check_bystander()
        grown = self.node.memory(peak=True) - before
        self.assertLess(grown, MAX_CHUNK_BYTES + MIB + WINDOW)  # type: ignore[attr-defined]
        caller.close()

    def too_large(self) -> None:
        before = self.node.forget_peak()
        caller = self.node.greeted()
        # The longest frame there may be, as a head, and as a chunk: skipped, and the connection goes on.
        flags, app = REQ | START | END, Profile.SEARCH
        caller.say(announced(flags, MAX_FRAME_BYTES, app, 1), bytes(MAX_FRAME_BYTES - HEADER_BYTES))
        self.refused(caller, 1, 413, "head_too_large")
        caller.say(put(2), announced(REQ, MAX_FRAME_BYTES, Profile.MEDIA, 2))
        # It is said before the payload has come.
        self.refused(caller, 2, 413, "chunk_too_large")
        caller.say(bytes(MAX_FRAME_BYTES - HEADER_BYTES))
        for corr_id, head, error in (
            (3, b"[" * 100_000, "head_too_large"),
            (4, b"[" * MAX_HEAD_BYTES, "bad_json"),
            (5, b'{"op":"query","args":' + b"[" * 16_000 + b"]" * 300, "bad_json"),
            (6, b'{"op":"query","args":' + b'{"a":' * 16 + b"1" + b"}" * 17, "bad_json"),
            (7, b" " * (MAX_HEAD_BYTES + 1), "head_too_large"),
        ):
            caller.say(encode_frame(flags, 0, app, corr_id, head))
            self.refused(caller, corr_id, 413 if error == "head_too_large" else 400, error)
        caller.say(put(8), body(8, bytes(MAX_CHUNK_BYTES + 1)))
        self.refused(caller, 8, 413, "chunk_too_large")
        caller.say(put(9), body(9, bytes(MAX_CHUNK_BYTES), ended=True))
        self.assertEqual(caller.end_of(9).code, 200)  # type: ignore[attr-defined]
        # One byte more than any frame may have, and a capability over its limit: the end.
        caller.say(announced(flags, MAX_FRAME_BYTES + 1, app, 10))
        self.assertEqual(caller.rest()[-1].json["code"], "frame_too_large")  # type: ignore[attr-defined]
        caller = self.node.greeted()
        caller.say(announced(flags, 100_000, app, 1, MAX_CAP_BYTES + 1))
        self.assertEqual(caller.rest()[-1].json["code"], "cap_too_large")  # type: ignore[attr-defined]
        self.assertLess(self.node.memory(peak=True) - before, SLACK)  # type: ignore[attr-defined]
        caller.close()

    def cancels(self) -> None:
        """More than 256 before a head in 10 s: GOAWAY, and nothing more."""
        for cancelled in (
            lambda number: start(number) + cancel(number),
            lambda number: encode_frame(REQ | START | END, 499, Profile.SEARCH, number, b"{}"),
        ):
            caller = self.node.greeted()
            sent = caller.flood(b"".join(map(cancelled, range(1, CANCELS + 1))))
            frames = caller.rest()
            self.assertLess(sent, CANCELS * len(cancelled(1)))  # type: ignore[attr-defined]
            goaways = [frame for frame in frames if frame.app == 0]
            self.assertEqual([(frame.flags, frame.code) for frame in goaways], [(EVENT, Control.GOAWAY)])  # type: ignore[attr-defined]
            self.assertIn(goaways[0], frames[-2:])  # type: ignore[attr-defined]
            ends = [frame for frame in frames if frame.app and frame.ends]
            self.assertLessEqual(len(ends), 257)  # type: ignore[attr-defined]
            self.assertGreaterEqual(len(ends), 256)  # type: ignore[attr-defined]
            self.assertEqual({frame.code for frame in ends}, {499})  # type: ignore[attr-defined]
            self.assertEqual(int(goaways[0].json["last_corr_id"]), 257)  # type: ignore[attr-defined]
            caller.close()
            self.node.check_bystander()

    def one_stream_too_many(self) -> None:
        caller = self.node.greeted()
        caller.say(*map(put, range(1, MAX_INFLIGHT + 2)))
        [busy] = caller.settle()
        self.assertEqual((busy.corr_id, busy.code, busy.json["code"]), (MAX_INFLIGHT + 1, 429, "busy"))  # type: ignore[attr-defined]
        self.assertGreater(busy.json["retry_after_ms"], 0)  # type: ignore[attr-defined]
        self.assertEqual(self.node.metric("oap_streams"), MAX_INFLIGHT)  # type: ignore[attr-defined]
        # A place is free when its stream has ended.
        caller.say(cancel(7, Profile.MEDIA), put(MAX_INFLIGHT + 2), put(MAX_INFLIGHT + 3))
        heard = [(frame.corr_id, frame.code) for frame in caller.settle()]
        self.assertEqual(heard, [(7, 499), (MAX_INFLIGHT + 3, 429)])  # type: ignore[attr-defined]
        self.node.check_bystander()
        caller.close()

    def peers_that_never_read(self) -> None:
        """It is dropped after write_stall; what the node held for it meanwhile was bounded."""
        caller = self.node.greeted()
        caller.say(put(1))
        for _ in range(OBJECT_BYTES // MAX_CHUNK_BYTES):
            caller.say(body(1, b"o" * MAX_CHUNK_BYTES))
        caller.say(body(1, b"", ended=True))
        *_, chunk, _ = caller.until(lambda frame: frame.ends)
        args = {"cid": json.loads(chunk.payload)["cid"]}
        caller.close()
        gets = b"".join(start(number, Profile.MEDIA, "get", args) for number in range(1, 31))
        before = self.node.forget_peak()
        peers = [self.node.caller(receive_bytes=4_096) for _ in range(4)]
        for peer in peers[1:]:
            peer.say(hello(), gets)
        # One writes without end, and what it gets is errors, which do not wait for their turn.
        peers[0].say(hello())
        asked = b"".join(start(number, op="fly") for number in range(1, 100_000))
        self.assertLess(peers[0].push(asked), len(asked))  # type: ignore[attr-defined]
        self.node.check_bystander()
        eventually(lambda: self.node.metric("oap_connections") == 1, lambda: "they are not dropped")
        grown = self.node.memory(peak=True) - before
        # Of each stream what it holds and one read, of each connection its output.
        most = 90 * (65_536 + 65_536) + 4 * 262_144
        self.assertLess(grown, most + SLACK)  # type: ignore[attr-defined]
        for peer in peers:
            peer.close()


class OverTCP(_Floods, SynchronousTestCase):
    transport = "tcp"


class OverUnix(_Floods, SynchronousTestCase):
    transport = "unix"
