"""Bad input on a live node, part four: windows, stalled uploads, and callers that leave (section 4)."""

from __future__ import annotations

import json
import time

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.frames import ACK_REQ, END, EVENT, RESP, Control
from micronode.oap.wire.limits import CONNECTION_WINDOW_BYTES, MAX_CHUNK_BYTES, STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import CREDIT_BYTES, credit_frame, read_credit
from tests.cli.processes import eventually
from tests.support.live import LiveCaller, LiveNode
from tests.support.oap import SeenFrame, body, cancel, put, start

#: Longer than both windows.
DATA = bytes(range(256)) * 6_000
#: How long one upload may keep the connection from being read, in seconds.
STALL_S = 3.0


class Uploader:
    """Sends the body of a windowed put as far as the node's CREDIT goes."""

    def __init__(self, caller: LiveCaller, corr_id: int) -> None:
        self.caller = caller
        self.corr_id = corr_id
        self.sent = self.credited = self.of_connection = 0
        caller.say(put(corr_id, flags=ACK_REQ))

    @property
    def room(self) -> int:
        """How much may be sent now."""
        return self.credited + STREAM_WINDOW_BYTES - self.sent

    def send(self, most: int = MAX_CHUNK_BYTES) -> None:
        """Send one chunk."""
        data = DATA[self.sent : self.sent + min(most, self.room, MAX_CHUNK_BYTES)]
        self.sent += len(data)
        self.caller.say(body(self.corr_id, data))

    def take(self, frame: SeenFrame) -> None:
        """Take note of a CREDIT."""
        assert (frame.flags, frame.code, frame.app) == (EVENT, Control.CREDIT, 0), frame
        assert len(frame.payload) == CREDIT_BYTES
        up_to = read_credit(frame.payload)
        if frame.corr_id == self.corr_id:
            assert self.credited < up_to <= self.sent
            self.credited = up_to
        else:
            assert frame.corr_id == 0
            assert self.of_connection < up_to
            self.of_connection = up_to


class _Flow:
    """The tests; the sub-classes choose the socket."""

    transport: str

    def test_windows(self) -> None:
        node = LiveNode(self, self.transport, "timeouts.write_stall=2s")  # type: ignore[arg-type]
        caller = node.greeted()
        upload = Uploader(caller, 1)
        while upload.sent < len(DATA):
            if upload.room:
                upload.send()
            else:
                frame = caller.hear()
                assert frame is not None
                upload.take(frame)
        caller.say(body(1, b"", ended=True))
        frames = caller.until(lambda frame: frame.ends)
        args = json.loads(next(frame.payload for frame in frames if frame.code == 206))
        self.download(node, caller, args)
        self.wrong_credit(node, args)
        caller.close()
        node.check()
        node.stop()

    def download(self, node: LiveNode, caller: LiveCaller, args: dict[str, str]) -> None:
        """The node is never more than a window ahead of the last CREDIT."""
        get = start(2, Profile.MEDIA, "get", args, flags=ACK_REQ)
        caller.say(get)
        data, credited = b"", 0
        while len(data) < len(DATA):
            due = min(STREAM_WINDOW_BYTES + credited, len(DATA)) - len(data)
            while due:
                frame = caller.hear()
                assert frame is not None
                if frame.code == 206:
                    data += frame.payload
                    due -= len(frame.payload)
                    self.assertGreaterEqual(due, 0)  # type: ignore[attr-defined]
            if credited == 0:
                # Nothing more comes, and everything else does.
                self.assertEqual(caller.settle(b"between"), [])  # type: ignore[attr-defined]
            credited = len(data)
            caller.say(credit_frame(2, credited))
        self.assertEqual((data == DATA, caller.end_of(2).code), (True, 200))  # type: ignore[attr-defined]
        # A window that stays empty ends its stream, and nothing else.
        caller.say(start(3, Profile.MEDIA, "get", args, flags=ACK_REQ))
        ended = caller.end_of(3)
        self.assertEqual((ended.code, ended.json["code"]), (408, "timeout"))  # type: ignore[attr-defined]
        node.check_bystander()

    def wrong_credit(self, node: LiveNode, args: dict[str, str]) -> None:
        """One that falls or exceeds what was sent, one for nothing, one for the connection."""
        for first, second in ((1_000, 999), (0, STREAM_WINDOW_BYTES + 1), (0, (1 << 64) - 1)):
            caller = node.greeted()
            caller.say(start(1, Profile.MEDIA, "get", args, flags=ACK_REQ), put(2))
            heard = 0
            while heard < STREAM_WINDOW_BYTES:
                frame = caller.hear()
                assert frame is not None
                heard += len(frame.payload) if frame.code == 206 else 0
            if first:
                caller.say(credit_frame(1, first))
                caller.until(lambda frame: frame.code == 206)
            caller.say(credit_frame(1, second))
            error = caller.end_of(1)
            self.assertEqual((error.code, error.json["code"]), (400, "credit_violation"))  # type: ignore[attr-defined]
            caller.say(credit_frame(1, 0), body(2, b"", ended=True))
            self.assertEqual(caller.end_of(2).code, 200)  # type: ignore[attr-defined]
            caller.close()
        for corr_id in (0, 9):
            caller = node.greeted()
            caller.say(put(1), credit_frame(corr_id, 0))
            error = caller.rest()[-1]
            where = (error.flags, error.corr_id, error.json["code"])
            self.assertEqual(where, (RESP | END, 0, "credit_violation"))  # type: ignore[attr-defined]
            caller.close()

    def test_stalled_uploads(self) -> None:
        settings = [f"timeouts.stall={STALL_S:.0f}s", "facets.media.limit=128", "facets.media.timeout=60s"]
        settings += ["owners.storage.concurrency=128", "owners.storage.timeout=60s"]
        self.node = LiveNode(self, self.transport, *settings, stalled=("storage",))  # type: ignore[arg-type]
        self.node.try_all(self.with_windows, self.without_windows)

    def with_windows(self) -> None:
        """They never keep the connection from being read, and no more than the windows is held."""
        node = self.node
        before = node.forget_peak()
        caller = node.greeted()
        uploads = [Uploader(caller, corr_id) for corr_id in range(1, 12)]
        for round_ in range(40):
            total = sum(upload.sent for upload in uploads) - max(each.of_connection for each in uploads)
            for upload in uploads[:8]:
                size = min(upload.room, CONNECTION_WINDOW_BYTES - total, MAX_CHUNK_BYTES)
                if size:
                    upload.send(size)
                    total += size
            caller.say(start(100 + round_, op="fly"))
            frames = caller.until(lambda frame: frame.ends)
            for frame in frames[:-1]:
                uploads[max(0, frame.corr_id - 1)].take(frame)
            if len(frames) == 1 and total == CONNECTION_WINDOW_BYTES:
                break
        self.assertEqual(total, CONNECTION_WINDOW_BYTES)  # type: ignore[attr-defined]
        # The sockets of the owner took something; the rest fills the connection's window.
        self.assertLess(node.memory(peak=True) - before, 3 * CONNECTION_WINDOW_BYTES + (2 << 20))  # type: ignore[attr-defined]
        # A cancelled one gives back what it held.
        caller.say(cancel(1, Profile.MEDIA))
        frames = caller.settle(b"cancelled")
        self.assertIn((1, 499), [(frame.corr_id, frame.code) for frame in frames])  # type: ignore[attr-defined]
        for frame in frames:
            if frame.code == Control.CREDIT:
                uploads[0].take(frame)
        self.assertGreater(uploads[0].of_connection, 0)  # type: ignore[attr-defined]
        node.check_bystander()
        # Whoever heeds the windows of the streams and not that of the connection is cut off in the end.
        frame = frames[-1]
        for corr_id in range(200, 240):
            for upload in uploads[8:]:
                if upload.room:
                    upload.send()
            caller.push(start(corr_id, op="fly"))
            for frame in caller.until(lambda frame: frame.ends):
                if frame.code == Control.CREDIT:
                    uploads[max(0, frame.corr_id - 1)].take(frame)
            if frame.app == 0:
                break
        self.assertEqual((frame.corr_id, frame.json["code"]), (0, "credit_violation"))  # type: ignore[attr-defined]
        caller.rest()
        self.too_much(node)
        caller.close()

    def too_much(self, node: LiveNode) -> None:
        """More than a stream's window is that stream's error, and nobody else's."""
        caller = node.greeted()
        caller.say(put(1, flags=ACK_REQ), put(2, flags=ACK_REQ))
        # More than the owner's sockets take.
        caller.push(body(1, bytes(MAX_CHUNK_BYTES)) * 15, quiet_s=5.0)
        error = caller.end_of(1)
        self.assertEqual((error.code, error.json["code"]), (400, "credit_violation"))  # type: ignore[attr-defined]
        self.assertEqual([frame for frame in caller.settle() if frame.corr_id], [])  # type: ignore[attr-defined]
        caller.close()

    def without_windows(self) -> None:
        """They keep it from being read, but not for long; who leaves meanwhile is noticed at once."""
        node = self.node
        patient, leaving, closing = node.greeted(), node.greeted(), node.greeted()
        data = body(1, bytes(MAX_CHUNK_BYTES)) * 200
        sent = []
        for caller in (patient, leaving, closing):
            caller.say(put(1), put(2, ended=True), put(3))
            sent.append(caller.push(data))
            self.assertLess(sent[-1], len(data))  # type: ignore[attr-defined]
        self.assertEqual(node.metric("oap_streams"), 9)  # type: ignore[attr-defined]
        node.check_bystander()
        leaving.reset()
        # Over TCP its FIN waits behind what is not read, and the node finds out by asking.
        closing.close()
        left_s = time.monotonic()
        eventually(lambda: node.metric("oap_streams") <= 3, lambda: "its slots are not free")
        # Promised are 300 ms; what would free them anyway is the stall.
        self.assertLess(time.monotonic() - left_s, STALL_S / 2)  # type: ignore[attr-defined]
        error = patient.until(lambda frame: frame.ends)[-1]
        self.assertEqual((error.corr_id, error.json["code"]), (1, "owner_unavailable"))  # type: ignore[attr-defined]
        # What is left of it is dropped, and what is behind it is read.
        patient.flood(data[sent[0] :])
        patient.say(cancel(2, Profile.MEDIA), cancel(3, Profile.MEDIA))
        ends = [(frame.corr_id, frame.code) for frame in patient.settle()]
        self.assertEqual(ends, [(2, 499), (3, 499)])  # type: ignore[attr-defined]
        patient.close()


class OverTCP(_Flow, SynchronousTestCase):
    transport = "tcp"


class OverUnix(_Flow, SynchronousTestCase):
    transport = "unix"
