"""Bad input on a live node, part three: too slow, too often, and what HELLO agrees on (sections 1 and 3)."""

from __future__ import annotations

import json
import signal
import time

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.frames import ACK_REQ, END, EVENT, LEGAL_FLAGS, REQ, RESP, Control, encode_frame
from micronode.oap.wire.limits import (
    HEADER_BYTES,
    MAX_CHUNK_BYTES,
    MAX_FRAME_BYTES,
    MAX_PING_BYTES,
    MIN_MAX_FRAME_BYTES,
)
from micronode.oap.wire.profiles import Profile
from tests.support.live import LiveCaller, LiveNode
from tests.support.oap import SeenFrame, body, cancel, hello, put, start


def ping(payload: bytes) -> bytes:
    """Return a PING."""
    return encode_frame(EVENT, Control.PING, 0, 0, payload)


class _Agreed:
    """The tests; the sub-classes choose the socket."""

    transport: str

    def test_silence(self) -> None:
        """Each deadline is answered as documented, all on one node at once; who talks is left alone."""
        deadlines = ("handshake=1500ms", "read=1500ms", "idle=2s", "stream_idle=1s")
        settings = [f"timeouts.{each}" for each in deadlines] + ["facets.media.timeout=30s"]
        settings += ["owners.storage.timeout=30s", "owners.storage.concurrency=128"]
        node = LiveNode(self, self.transport, *settings, stalled=("storage",))  # type: ignore[arg-type]
        mute = node.caller()
        halted, trickling, idle, gone, present, pausing = (node.greeted() for _ in range(6))
        halted.say(start(1)[:-1])
        for each in (gone, present):
            each.say(put(1, ended=True))
        pausing.say(put(1), body(1, b"begun"))
        slow = start(1)
        for at in range(12):
            trickling.push(slow[at : at + 1])
            # These come often enough.
            node.check_bystander()
            time.sleep(0.15)
        for caller, error in ((mute, "bad_hello"), (halted, "frame_timeout"), (trickling, "frame_timeout")):
            *_, failed = caller.rest()
            self.assertEqual((failed.flags, failed.json["code"]), (RESP | END, error))  # type: ignore[attr-defined]
            caller.close()
        node.while_others_talk(idle)
        self.assertEqual(self.controls(idle), {(EVENT, Control.GOAWAY)})  # type: ignore[attr-defined]
        node.while_others_talk(pausing)
        paused = pausing.until(lambda frame: frame.ends)[-1]
        self.assertEqual((paused.corr_id, paused.code, paused.json["code"]), (1, 408, "timeout"))  # type: ignore[attr-defined]
        for _ in range(2):
            node.while_others_talk(present)
            asked = present.until(lambda frame: frame.code == Control.PING)[-1]
            present.say(encode_frame(EVENT, Control.PONG, 0, asked.corr_id, asked.payload))
        # Whoever is asked and says nothing is taken for gone, whatever it had open.
        self.assertEqual(self.controls(gone), {(EVENT, Control.PING)})  # type: ignore[attr-defined]
        self.assertEqual(present.settle(), [])  # type: ignore[attr-defined]
        present.say(cancel(1, Profile.MEDIA))
        self.assertEqual(present.end_of(1).code, 499)  # type: ignore[attr-defined]
        for caller in (idle, gone, present, pausing):
            caller.reset()
        node.check()
        self.drain(node)

    def drain(self, node: LiveNode) -> None:
        """A node that goes says so; what is open goes on, and nothing new begins."""
        caller = node.greeted()
        caller.say(put(7, ended=True))
        self.assertEqual(caller.settle(), [])  # type: ignore[attr-defined]
        node.program.kill(signal.SIGTERM)
        goaway = caller.hear()
        assert goaway is not None
        self.assertEqual((goaway.flags, goaway.code, goaway.app), (EVENT, Control.GOAWAY, 0))  # type: ignore[attr-defined]
        self.assertEqual(goaway.json["last_corr_id"], "7")  # type: ignore[attr-defined]
        caller.say(start(8), ping(b"still here"), cancel(7, Profile.MEDIA))
        frames = caller.rest()
        self.assertEqual([(frame.corr_id, frame.code) for frame in frames], [(8, 503), (0, 200), (7, 499)])  # type: ignore[attr-defined]
        self.assertEqual(frames[0].json["code"], "draining")  # type: ignore[attr-defined]
        self.assertGreater(frames[0].json["retry_after_ms"], 0)  # type: ignore[attr-defined]
        node.stop()

    def controls(self, caller: LiveCaller) -> set[tuple[int, int]]:
        """Return what the node said on app 0 up to its close, which is all that it said."""
        frames = caller.rest()
        self.assertTrue(all(frame.app == 0 for frame in frames), frames)  # type: ignore[attr-defined]
        return {(frame.flags, frame.code) for frame in frames}

    def test_what_hello_agrees_on(self) -> None:
        self.node = LiveNode(self, self.transport)  # type: ignore[arg-type]
        self.node.try_all(self.smallest_frames, self.extensions, self.goaway, self.pings)

    def smallest_frames(self) -> None:
        """The wish binds both sides, in both directions."""
        caller = self.node.caller()
        self.assertEqual(caller.greet(max_frame=MAX_FRAME_BYTES * 2)["max_frame"], MAX_FRAME_BYTES)  # type: ignore[attr-defined]
        caller.close()
        caller = self.node.caller()
        reply = caller.greet(max_frame=70_000)
        self.assertEqual((reply["max_frame"], reply["max_chunk"]), (70_000, MAX_CHUNK_BYTES))  # type: ignore[attr-defined]
        caller.close()
        caller = self.node.caller()
        reply = caller.greet(max_frame=MIN_MAX_FRAME_BYTES)
        chunk = MIN_MAX_FRAME_BYTES - HEADER_BYTES
        self.assertEqual((reply["max_frame"], reply["max_chunk"]), (MIN_MAX_FRAME_BYTES, chunk))  # type: ignore[attr-defined]
        caller.say(put(1), body(1, b"a" * chunk), body(1, b"b" * chunk), body(1, b"c", ended=True))
        *_, answer, _ = caller.until(lambda frame: frame.ends)
        caller.say(start(2, Profile.MEDIA, "get", json.loads(answer.payload)))
        frames = caller.until(lambda frame: frame.ends)
        data = b"".join(frame.payload for frame in frames if frame.code == 206)
        self.assertEqual(data, b"a" * chunk + b"b" * chunk + b"c")  # type: ignore[attr-defined]
        self.assertLessEqual(max(len(frame.payload) for frame in frames), chunk)  # type: ignore[attr-defined]
        caller.say(put(3), body(3, b"d" * (chunk + 1)))
        self.failed(caller, "frame_too_large")
        caller = self.node.caller()
        caller.say(hello(max_frame=MIN_MAX_FRAME_BYTES - 1))
        self.failed(caller, "bad_hello")

    def failed(self, caller: LiveCaller, error: str) -> None:
        """The connection ends with *error*."""
        *_, last = caller.rest()
        self.assertEqual((last.corr_id, last.app, last.json["code"]), (0, 0, error))  # type: ignore[attr-defined]
        caller.close()

    def extensions(self) -> None:
        """None is known, so none is agreed on, and what extensions would mean stays what it was."""
        caller = self.node.caller()
        self.assertEqual(caller.greet(ext=["fast", "zstd"])["ext"], [])  # type: ignore[attr-defined]
        dropped = self.node.metric('oap_rejects_total{reason="event"}')
        caller.say(*(encode_frame(EVENT, code, 0, 0, b"x") for code in (200, 250, 299)))
        self.assertEqual(caller.settle(), [])  # type: ignore[attr-defined]
        self.assertEqual(self.node.metric('oap_rejects_total{reason="event"}'), dropped + 3)  # type: ignore[attr-defined]
        caller.close()
        for bit in range(8, 16):
            flags = REQ | 1 << bit
            self.assertNotIn(flags, LEGAL_FLAGS)  # type: ignore[attr-defined]
            caller = self.node.greeted(ext=["fast"])
            caller.say(encode_frame(flags, 0, Profile.SEARCH, 1))
            self.failed(caller, "bad_flags")

    def goaway(self) -> None:
        """A caller may announce that it goes, and need not go."""
        caller = self.node.greeted()
        caller.say(encode_frame(EVENT, Control.GOAWAY, 0, 0, b"{}"), start(1, args={"q": "hello"}))
        self.assertEqual(caller.end_of(1).code, 200)  # type: ignore[attr-defined]
        caller.say(encode_frame(EVENT, Control.GOAWAY, 0, 0, bytes(1_000)), start(2, flags=ACK_REQ))
        self.assertEqual(caller.end_of(2).code, 200)  # type: ignore[attr-defined]
        caller.close()

    def pings(self) -> None:
        """64 bytes are echoed, 65 end the connection, and more than ten a second are dropped."""
        caller = self.node.greeted()
        payloads = [bytes([number]) * MAX_PING_BYTES for number in range(40)]
        dropped = self.node.metric('oap_rejects_total{reason="ping"}')
        caller.say(*map(ping, payloads), start(1, op="fly"))
        echoes = [frame for frame in caller.until(lambda frame: frame.corr_id == 1) if frame.app == 0]
        self.assertEqual([self.echo(frame) for frame in echoes], payloads[: len(echoes)])  # type: ignore[attr-defined]
        self.assertTrue(10 <= len(echoes) <= 20, len(echoes))  # type: ignore[attr-defined]
        late = self.node.metric('oap_rejects_total{reason="ping"}') - dropped
        self.assertEqual(late, len(payloads) - len(echoes))  # type: ignore[attr-defined]
        caller.say(ping(bytes(MAX_PING_BYTES + 1)))
        self.failed(caller, "bad_request")

    def echo(self, frame: SeenFrame) -> bytes:
        """Return the payload of a PING's echo."""
        self.assertEqual((frame.flags, frame.code, frame.corr_id), (EVENT, Control.PONG, 0))  # type: ignore[attr-defined]
        return frame.payload


class OverTCP(_Agreed, SynchronousTestCase):
    transport = "tcp"


class OverUnix(_Agreed, SynchronousTestCase):
    transport = "unix"
