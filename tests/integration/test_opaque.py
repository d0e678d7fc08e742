"""Opaque bodies (APP_E2E) through a real node: untouched both ways, never inflated, compressed or logged."""

from __future__ import annotations

import json
from typing import Any

import zstandard
from blake3 import blake3
from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.frames import ACK_REQ, APP_E2E, COMP, END, REQ, START, encode_frame
from micronode.oap.wire.profiles import Profile
from tests.support.live import LiveCaller, LiveNode
from tests.support.oap import body, put, start

#: Something to look for in a log.
SECRET = b"the-opaque-secret-of-this-test"
#: Worth compressing, and not so well that the caller would have to refuse it.
TEXT = b"".join(SECRET + b" %x\n" % (number * 0x9E3779B97F4A7C15 % 2**64) for number in range(1_500))
#: Chunks that look like what the node may inflate elsewhere.
PACKED = zstandard.compress(TEXT)
CHUNKS = (PACKED, zstandard.compress(bytes(1 << 20)), SECRET, b"", PACKED[:-3], TEXT[:60_000])


class _Opaque:
    """The tests; the sub-classes choose the socket."""

    transport: str

    def test_both_ways(self) -> None:
        node = LiveNode(self, self.transport, "log.level=debug")  # type: ignore[arg-type]
        caller = node.greeted(accept=["zstd"])
        for corr_id, flags in ((1, APP_E2E), (2, APP_E2E | ACK_REQ)):
            # The flag counts on START alone; repeated or left out later, it changes nothing.
            later = [0, APP_E2E, 0, APP_E2E, 0, 0]
            said = [
                encode_frame(REQ | more, 0, Profile.MEDIA, corr_id, chunk)
                for more, chunk in zip(later, CHUNKS, strict=True)
            ]
            caller.say(put(corr_id, flags=flags), *said, body(corr_id, b"", ended=True))
            cid = self.answer(caller, corr_id)["cid"]
            self.assertEqual(cid, "b3:" + blake3(b"".join(CHUNKS)).hexdigest())  # type: ignore[attr-defined]
        args = {"cid": cid}
        caller.say(start(3, Profile.MEDIA, "get", args, flags=APP_E2E))
        frames = caller.until(lambda frame: frame.ends)
        self.assertEqual([frame.flags for frame in frames if frame.flags & COMP], [])  # type: ignore[attr-defined]
        data = b"".join(frame.payload for frame in frames if frame.code == 206)
        self.assertEqual(data, b"".join(CHUNKS))  # type: ignore[attr-defined]
        # Its head is JSON all the same.
        self.assertEqual(frames[0].json["length"], len(data))  # type: ignore[attr-defined]
        self.check_that_others_are_compressed(node, caller)
        self.check_refusals(caller)
        caller.close()
        node.check()
        node.stop()
        for text in (SECRET.decode(), SECRET.hex()[:32], repr(PACKED[4:12])[2:-1]):
            self.assertNotIn(text, node.program.complained)  # type: ignore[attr-defined]
        self.assertIn('"corr_id":"3"', node.program.complained)  # type: ignore[attr-defined]

    def answer(self, caller: LiveCaller, corr_id: int) -> Any:
        """Return the JSON of an answer's body."""
        frames = caller.until(lambda frame: frame.ends and frame.corr_id == corr_id)
        return json.loads(b"".join(frame.payload for frame in frames if frame.code == 206))

    def check_that_others_are_compressed(self, node: LiveNode, caller: LiveCaller) -> None:
        """The same caller, the same text, and only the flag is missing."""
        caller.say(put(4), body(4, TEXT[:60_000]), body(4, b"", ended=True))
        args = self.answer(caller, 4)
        for corr_id, flags, compressed in ((5, 0, True), (6, APP_E2E, False)):
            caller.say(start(corr_id, Profile.MEDIA, "get", args, flags=flags))
            frames = caller.until(lambda frame: frame.ends)
            self.assertEqual(any(frame.flags & COMP for frame in frames), compressed)  # type: ignore[attr-defined]

    def check_refusals(self, caller: LiveCaller) -> None:
        """COMP contradicts it, on the head and on a chunk."""
        head = zstandard.compress(b'{"op":"put","args":{}}')
        caller.say(encode_frame(REQ | START | COMP | APP_E2E, 0, Profile.MEDIA, 7, head))
        caller.say(put(8, flags=APP_E2E), encode_frame(REQ | COMP | END, 0, Profile.MEDIA, 8, PACKED))
        for corr_id in (7, 8):
            error = caller.end_of(corr_id)
            self.assertEqual((error.code, error.json["code"]), (400, "bad_compression"))  # type: ignore[attr-defined]


class OverTCP(_Opaque, SynchronousTestCase):
    transport = "tcp"


class OverUnix(_Opaque, SynchronousTestCase):
    transport = "unix"
