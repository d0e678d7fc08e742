"""Who is sent to first on a real connection: order and bytes, never seconds (section 4).

How long small calls really wait is what ``tests/bench/bench_fairness.py`` measures.
"""

from __future__ import annotations

import json
import random
import time
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.fairness import QUANTUM_BYTES, READ_BYTES
from micronode.oap.wire.frames import ACK_REQ, EVENT, Control, encode_frame
from micronode.oap.wire.limits import MAX_CHUNK_BYTES, STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import credit_frame
from tests.cli.processes import eventually
from tests.support.live import LiveNode
from tests.support.oap import SeenFrame, body, put, start

#: More than all buffers on the way hold.
OBJECT_BYTES = 12 << 20
#: Small, so that what waits does so in the node, where it can be told apart.
RECEIVE_BYTES = 65_536
#: What may be ahead of a frame that is first in the node: the receiver's buffer (the kernel doubles what it
#: was asked for), what the kernel may keep unsent, and what the node has given away.
AHEAD_BYTES = 2 * RECEIVE_BYTES + 131_072 + 262_144
#: Bytes a second of a reader that everybody else keeps up with.
SLOW = 8_000_000


class FairnessTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.node = LiveNode(self, "tcp")
        caller = self.node.greeted()
        data = random.Random(3).randbytes(OBJECT_BYTES)
        pieces = [data[at : at + MAX_CHUNK_BYTES] for at in range(0, len(data), MAX_CHUNK_BYTES)]
        caller.say(put(1), *(body(1, piece) for piece in pieces[:-1]), body(1, pieces[-1], ended=True))
        answer = caller.until(lambda frame: frame.corr_id == 1 and frame.ends)
        self.cid = json.loads(answer[-2].payload)["cid"]
        caller.close()
        self.caller = self.node.caller(receive_bytes=RECEIVE_BYTES)
        self.caller.greet()
        self.addCleanup(self.leave)

    def leave(self) -> None:
        """Nothing is left of it."""
        self.caller.close()
        self.node.check()
        self.node.stop()

    def get(self, corr_id: int, *, windowed: bool = False) -> None:
        """Begin a download."""
        flags = ACK_REQ if windowed else 0
        self.caller.say(start(corr_id, Profile.MEDIA, "get", {"cid": self.cid}, flags=flags))

    def asked(self) -> float:
        """Return how often the index was asked and has answered."""
        return self.node.metric('owner_requests_total{outcome="ok",owner="index"}')

    def body_of(self, frames: list[SeenFrame], *corr_ids: int) -> int:
        """Return how many bytes of the bodies of *corr_ids* there are."""
        return sum(len(frame.payload) for frame in frames if frame.corr_id in corr_ids and frame.code == 206)

    def read(self, size: int, *, slowly: bool = False) -> list[SeenFrame]:
        """Read frames of so many bytes."""
        seen: list[SeenFrame] = []
        while size > 0:
            frame = self.caller.hear()
            assert frame is not None
            size -= len(frame.payload)
            seen.append(frame)
            if slowly:
                time.sleep(len(frame.payload) / SLOW)
        return seen

    def test_small_answer_is_ahead_of_a_download(self) -> None:
        self.get(1)
        self.read(1 << 20)
        before = self.asked()
        self.caller.say(start(2, args={"q": "hello"}))
        # It waits in the node, ready, while nothing is read.
        eventually(lambda: self.asked() > before)
        ahead = self.caller.until(lambda frame: frame.corr_id == 2 and frame.ends)
        self.assertLess(self.body_of(ahead, 1), AHEAD_BYTES)

    def test_small_answer_is_ahead_of_many_downloads(self) -> None:
        """It waits for one turn of each of them, beside what was on its way."""
        for corr_id in range(1, 9):
            self.get(corr_id)
        self.read(2 << 20)
        before = self.asked()
        self.caller.say(start(9, args={"q": "hello"}))
        eventually(lambda: self.asked() > before)
        ahead = self.caller.until(lambda frame: frame.corr_id == 9 and frame.ends)
        self.assertLess(self.body_of(ahead, *range(1, 9)), AHEAD_BYTES + 8 * QUANTUM_BYTES)

    def test_control_is_ahead_of_a_download(self) -> None:
        for corr_id in range(1, 4):
            self.get(corr_id)
        self.read(1 << 20)
        name = 'oap_frames_total{direction="in",kind="event"}'
        before = self.node.metric(name)
        self.caller.say(encode_frame(EVENT, Control.PING, 0, 0, b"first"))
        eventually(lambda: self.node.metric(name) > before)
        ahead = self.caller.until(lambda frame: frame.code == Control.PONG and frame.app == 0)
        self.assertLess(self.body_of(ahead, 1, 2, 3), AHEAD_BYTES)

    def test_downloads_get_the_same(self) -> None:
        for corr_id in range(1, 9):
            self.get(corr_id)
        self.assert_same(list(range(1, 9)), 4 << 20)

    def assert_same(self, corr_ids: list[int], size: int) -> None:
        """Once all of *corr_ids* have begun, they get the same number of bytes.

        The reader is slower than the owner: who has nothing to send cannot have a turn.
        """
        begun: set[int] = set()
        while begun != set(corr_ids):
            begun |= {frame.corr_id for frame in self.read(1) if frame.code == 206}
        # What was on its way when the last of them began went to the others.
        self.read(AHEAD_BYTES + 16 * MAX_CHUNK_BYTES, slowly=True)
        spread = READ_BYTES + 2 * QUANTUM_BYTES if len(corr_ids) > 2 else 2 * QUANTUM_BYTES
        got = dict.fromkeys(corr_ids, 0)
        for frame in self.read(size, slowly=True):
            got[frame.corr_id] += len(frame.payload)
            self.assertLessEqual(max(got.values()) - min(got.values()), spread, str(got))

    def test_window_that_stays_empty_is_in_nobodys_way(self) -> None:
        self.get(1, windowed=True)
        self.get(2)
        frames = self.read(STREAM_WINDOW_BYTES * 20)
        self.assertEqual(self.body_of(frames, 1), STREAM_WINDOW_BYTES)
        self.caller.say(start(3, args={"q": "hello"}))
        rest = self.caller.until(lambda frame: frame.corr_id == 3 and frame.ends)
        self.assertEqual(self.body_of(rest, 1), 0)
        self.caller.say(credit_frame(1, STREAM_WINDOW_BYTES))
        total = 0
        while total < STREAM_WINDOW_BYTES:
            total += self.body_of(self.read(1), 1)
        self.assertEqual(total, STREAM_WINDOW_BYTES)


class Windowed(SynchronousTestCase):
    """Downloads with windows and a caller that gives credit for all that it gets."""

    def test_small_calls_get_through_beside_them(self) -> None:
        node = LiveNode(self, "tcp")
        caller = node.greeted()
        piece = random.Random(4).randbytes(MAX_CHUNK_BYTES)
        caller.say(put(1), *[body(1, piece)] * 63, body(1, piece, ended=True))
        answer = caller.until(lambda frame: frame.corr_id == 1 and frame.ends)
        cid = json.loads(answer[-2].payload)["cid"]
        got: dict[int, int] = {}
        last = 1

        def ask(*what: Any, **fields: Any) -> int:
            nonlocal last
            last += 1
            caller.say(start(last, *what, **fields))
            return last

        def download() -> None:
            got[ask(Profile.MEDIA, "get", {"cid": cid}, flags=ACK_REQ)] = 0

        for _ in range(4):
            download()
        calls, answered, whole = 20, 0, 0
        query = ask(args={"q": "hello"})
        while answered < calls or got:
            frame = caller.hear()
            assert frame is not None
            self.assertLess(frame.code, 400)
            if frame.corr_id in got:
                size = got[frame.corr_id] = got[frame.corr_id] + len(frame.payload) * (frame.code == 206)
                if frame.code == 206:
                    caller.say(credit_frame(frame.corr_id, size))
                if frame.ends:
                    self.assertEqual(got.pop(frame.corr_id), 64 * MAX_CHUNK_BYTES)
                    whole += 1
                    # There are always four beside the calls.
                    if answered < calls:
                        download()
            elif frame.corr_id == query and frame.ends:
                answered += 1
                if answered < calls:
                    query = ask(args={"q": "hello"})
        # A call waits for much less than a download: for turns, and for what was under way.
        self.assertLess(whole, 4 + calls)
        caller.close()
        node.check()
        node.stop()
