"""Bad input on a live node, part one: broken frames, broken connections and broken streams (sections 1 to 3).

What is said and what must be answered comes from ``specs/oap_vectors.json``.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.errors import ErrorCode
from micronode.oap.wire.frames import ACK_REQ, END, EVENT, NO_TENANT, REQ, RESP, START, encode_frame
from micronode.oap.wire.limits import HEADER_BYTES, VERSION
from micronode.oap.wire.profiles import Profile
from tests.support.live import LiveCaller, LiveNode
from tests.support.oap import SeenFrame, body, cancel, hello, put, read_frames, start
from tests.support.vectors import Vector, family, play, sessions

#: How the heads of the vectors begin. Without arguments it is not served; a put is.
GET = b'{"op":"get","args":{}'
PUT = GET.replace(b"get", b"put")


def is_failure(frame: SeenFrame, error: str) -> bool:
    """Whether *frame* is the connection error *error*."""
    where = (frame.flags, frame.app, frame.tenant, frame.corr_id)
    code = ErrorCode(error)
    return (
        where == (RESP | END, 0, NO_TENANT, 0)
        and (frame.code, frame.json["code"]) == (code.status, code.value)
        and "corr_id" not in frame.json
        and isinstance(frame.json["request_id"], str)
    )


def outline(frames: list[SeenFrame]) -> list[tuple[Any, ...]]:
    """Return what *frames* say, but for texts that are free."""
    return [
        (
            *(frame.flags, frame.code, frame.app, frame.tenant, frame.corr_id),
            frame.json["code"] if frame.code >= 400 and frame.payload else frame.payload,
        )
        for frame in frames
    ]


def served(frame: bytes) -> bytes:
    """Return *frame* of a vector; where it is a START of a get, that of a put, which this node serves."""
    return frame.replace(GET, PUT, 1) if GET in frame[HEADER_BYTES:] else frame


def is_playable(vector: Vector) -> bool:
    """Whether a session needs no answer of an owner, and no limits but the usual ones."""
    opened = [event for event in vector["events"] if event["event"] == "opened"]
    played = play({**vector, "limits": {}}, map(bytes.fromhex, vector["caller"]))
    return (
        not (vector["script"] or vector["held"])
        and all(event["app_proto_id"] == Profile.MEDIA for event in opened)
        and all(bytes.fromhex(event["head"]).startswith(GET) for event in opened)
        and played.events == vector["events"]
        and not played.node.mid_frame
    )


class _Frames:
    """The tests; the sub-classes choose the socket."""

    transport: str

    def setUp(self) -> None:
        # Calls stay open, as those of the vectors do. A caller that only closed a Unix socket may still read.
        roomy = ("facets.media.limit=512", "owners.storage.concurrency=512", "facets.media.timeout=2s")
        self.node = LiveNode(self, self.transport, *roomy, stalled=("index", "storage"))  # type: ignore[arg-type]

    def dies(self, caller: LiveCaller, error: str) -> SeenFrame:
        """The next frame is the connection error *error*, and the last."""
        frames = caller.rest()
        self.assertTrue(frames and is_failure(frames[-1], error), (error, frames))  # type: ignore[attr-defined]
        self.assertFalse([frame for frame in frames[:-1] if frame.app == 0], frames)  # type: ignore[attr-defined]
        caller.close()
        return frames[-1]

    def test_all(self) -> None:
        self.node.try_all(self.decode_errors, self.sessions, self.breaches, self.refusals)

    def decode_errors(self) -> None:
        vectors = family("decode_error")
        self.assertGreater(len(vectors), 30)  # type: ignore[attr-defined]
        for vector in vectors:
            for greet in (b"", hello()):
                caller = self.node.caller()
                if greet:
                    caller.greet()
                # No byte more than it takes to see what is wrong.
                caller.say(bytes.fromhex(vector["hex"])[: vector["detected_after"]])
                frame = self.dies(caller, vector["micronode_error"])
                if vector["micronode_error"] == ErrorCode.BAD_VERSION.value:
                    self.assertEqual(frame.json["versions"], [VERSION])  # type: ignore[attr-defined]

    def sessions(self) -> None:
        vectors = [vector for vector in sessions() if is_playable(vector)]
        self.assertGreater(len(vectors), 100)  # type: ignore[attr-defined]
        for number, vector in enumerate(vectors):
            expected = read_frames(bytes.fromhex("".join(vector["node"])))
            dies = vector["events"][-1]["event"] == "connection_failed"
            caller = self.node.caller()
            said = [served(bytes.fromhex(frame)) for frame in vector["caller"]]
            for piece in said if number % 2 else [b"".join(said)]:
                caller.push(piece, quiet_s=5.0)
            heard = caller.rest() if dies else caller.settle()
            if expected[0].code == 200:
                self.assertEqual(heard[0].code, 200, vector["name"])  # type: ignore[attr-defined]
                del heard[0], expected[0]
            self.assertEqual(outline(heard), outline(expected), vector["name"])  # type: ignore[attr-defined]
            caller.reset()

    def breaches(self) -> None:
        """One frame breaks one stream, and another stream of the connection goes on."""
        for breach, error in (
            (put(1), "conflict"),
            (put(1, flags=ACK_REQ), "conflict"),
            (body(1, b"x", ended=True) + body(1, b"x"), "bad_sequence"),
            (body(1, b"x", ended=True) + body(1, b"", ended=True), "bad_sequence"),
            (encode_frame(RESP, 200, Profile.MEDIA, 1, b"x"), "bad_sequence"),
            (encode_frame(RESP | END, 200, Profile.MEDIA, 1), "bad_sequence"),
            (encode_frame(EVENT, 206, Profile.MEDIA, 1, b"x"), "bad_sequence"),
            (encode_frame(REQ, 206, Profile.MEDIA, 1, b"x"), "bad_sequence"),
            (body(1, b"x", app=Profile.SEARCH), "bad_sequence"),
            (encode_frame(REQ, 0, Profile.MEDIA, 1, b"x", tenant=b"t" * 16), "bad_sequence"),
        ):
            caller = self.node.greeted()
            caller.say(put(1), put(2), breach)
            frame = caller.hear()
            assert frame is not None
            status = ErrorCode(error).status
            self.assertEqual((frame.flags, frame.code, frame.corr_id), (RESP | END, status, 1))  # type: ignore[attr-defined]
            self.assertEqual((frame.json["code"], frame.json["corr_id"]), (error, "1"))  # type: ignore[attr-defined]
            # It had its terminal frame: what still comes for it is dropped.
            caller.say(body(1, b"late"), cancel(1, Profile.MEDIA))
            self.assertEqual(caller.settle(), [])  # type: ignore[attr-defined]
            caller.say(cancel(2, Profile.MEDIA))
            self.assertEqual(caller.end_of(2).code, 499)  # type: ignore[attr-defined]
            caller.close()

    def refusals(self) -> None:
        """Frames that open nothing are answered, and change nothing."""
        caller = self.node.greeted()
        caller.say(put(5))
        for frame, corr_id, error in (
            (put(4), 4, "conflict"),
            (body(9, b"x"), 9, "bad_sequence"),
            (put(0), 0, "bad_sequence"),
            (encode_frame(RESP | START, 200, Profile.MEDIA, 6, b"{}"), 6, "bad_sequence"),
            (encode_frame(EVENT | START, 0, Profile.MEDIA, 7, b"{}"), 7, "bad_sequence"),
            (start(8, app=0x7777), 8, "unknown_app"),
        ):
            caller.say(frame)
            heard = caller.hear()
            assert heard is not None
            self.assertEqual((heard.corr_id, heard.json["code"]), (corr_id, error))  # type: ignore[attr-defined]
        caller.say(cancel(5, Profile.MEDIA))
        self.assertEqual(caller.end_of(5).code, 499)  # type: ignore[attr-defined]
        caller.close()


class OverTCP(_Frames, SynchronousTestCase):
    transport = "tcp"


class OverUnix(_Frames, SynchronousTestCase):
    transport = "unix"
