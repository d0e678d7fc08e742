"""What a connection holds for callers that read little, and streams that must not be in each other's way."""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from micronode.calls.call import ResponseHead
from micronode.oap.fairness import HELD_BYTES
from micronode.oap.waiting import ENOUGH_BYTES
from micronode.oap.wire.frames import ACK_REQ, EVENT, Control, encode_frame
from micronode.oap.wire.limits import STREAM_WINDOW_BYTES
from micronode.oap.wire.profiles import Profile
from micronode.oap.wire.windows import credit_frame
from tests.support.oap import Dispatched, StubNode, body, cancel, put, start

CHUNK = bytes(65_536)


@implementer(IPushProducer)
class _Owner:
    """Writes a read of 64 KiB whenever it is asked and not paused, and one that was under way when it is."""

    def __init__(self, call: Dispatched, ready: list[_Owner] | None = None) -> None:
        """:param ready: those that are not paused, in the order in which they were resumed."""
        self.paused = False
        self._ready = [self] if ready is None else ready
        self._sink = call.sink
        call.sink.start(ResponseHead())
        call.sink.registerProducer(self, True)

    def read(self) -> None:
        if not self.paused:
            self._sink.write(CHUNK)

    def pauseProducing(self) -> None:
        self.paused = True
        self._ready.remove(self)

    def resumeProducing(self) -> None:
        self.paused = False
        self._ready.append(self)

    def stopProducing(self) -> None:
        self.paused = True


class Bounds(SynchronousTestCase):
    """What a connection holds for a caller that asks and asks and reads little or nothing."""

    def setUp(self) -> None:
        self.node = StubNode(max_inflight=64)
        self.end = self.node.connect()
        self.end.transport.full_at = 65_536
        self.outbox = self.end.protocol._outbox

    def unsent(self) -> int:
        """Return the bytes in the transport, the batch and the control queue."""
        outbox = self.outbox
        return len(self.end.transport.value()) + sum(map(len, [*outbox._pieces, *outbox._control]))

    def waiting(self) -> list[int]:
        """Return what waits of each stream."""
        return [len(stream.waiting) for stream in self.end.protocol._session.streams.values()]

    def test_downloads_and_refusals(self) -> None:
        self.end.send(*(start(corr_id) for corr_id in range(1, 65)))
        owners = [_Owner(call) for call in self.node.calls]
        self.assertEqual(len(owners), 64)
        refused = [start(corr_id, op="none") for corr_id in range(65, 2000)]
        for turn in range(8):
            for owner in owners:
                owner.read()
                self.assertEqual(sum(self.waiting()), self.outbox.stock.held)
                self.assertLessEqual(self.outbox.stock.held, HELD_BYTES + len(CHUNK))
                self.assertLessEqual(self.unsent(), 262_144)
                if not self.outbox._control:
                    self.assertLessEqual(self.unsent() + sum(self.waiting()), 262_144 + len(CHUNK))
                self.assertLessEqual(max(self.waiting()), ENOUGH_BYTES + len(CHUNK))
            if turn > 2:
                self.end.send(*refused[turn * 200 : turn * 200 + 200])
            if turn % 2:
                self.end.transport.clear()
                self.end.transport.drain()
        self.assertGreater(self.outbox.stock.held, 0)
        self.end.hang_up()
        self.assertEqual(self.outbox.stock.held, 0)

    def test_downloads_that_nobody_reads(self) -> None:
        self.end.send(*(start(corr_id) for corr_id in range(1, 65)))
        for owner in [_Owner(call) for call in self.node.calls] * 3:
            owner.read()
            self.assertLessEqual(self.unsent() + sum(self.waiting()), 262_144)

    def test_windows_that_stay_empty_hold_nobody_up(self) -> None:
        self.end.transport.full_at = None
        self.end.send(*(start(corr_id, flags=ACK_REQ) for corr_id in range(1, 64)), start(64))
        owners = [_Owner(call) for call in self.node.calls]
        for owner in owners * 5:
            owner.read()
        # One read each, at the most, that was under way when the window was full.
        self.assertLessEqual(max(self.waiting()), len(CHUNK))
        self.assertEqual(self.outbox.stock.held, 0)
        self.assertFalse(owners[-1].paused)
        got = sum(len(frame.payload) for frame in self.end.heard() if frame.corr_id == 64)
        self.assertGreaterEqual(got, 5 * len(CHUNK))

    def test_everyone_gets_through(self) -> None:
        """More than can have a turn at hand at a time. Who is resumed first is read first, by epoll."""
        self.end.send(*(start(corr_id) for corr_id in range(1, 65)))
        ready: list[_Owner] = []
        ready += [_Owner(call, ready) for call in self.node.calls]
        got = dict.fromkeys(range(1, 65), 0)
        for _ in range(3000):
            for owner in list(ready):
                owner.read()
            self.end.transport.drain()
            for frame in self.end.heard():
                got[frame.corr_id] += len(frame.payload)
        self.assertGreater(min(got.values()), 1_000_000)
        self.assertLessEqual(max(got.values()) - min(got.values()), 3 * len(CHUNK))

    def test_answers_that_are_all_there(self) -> None:
        """They are as long as they are; max_inflight and the facets' permits bound how many there are."""
        self.end.send(*(start(corr_id) for corr_id in range(1, 65)))
        for call in self.node.calls:
            call.answer(CHUNK)
            self.assertLessEqual(self.unsent(), 262_144)
        self.assertLessEqual(max(self.waiting()), len(CHUNK))


class Mixed(SynchronousTestCase):
    """Streams with and without windows, of owners that stall, on one connection."""

    def setUp(self) -> None:
        self.node = StubNode(stall=5.0, stream_idle=300.0, write_stall=300.0)
        self.end = self.node.connect()

    def data(self, corr_id: int) -> int:
        """Return how many bytes of an answer's body came now."""
        return sum(len(frame.payload) for frame in self.end.heard() if frame.corr_id == corr_id)

    def test_stalled_upload_with_windows_is_in_nobodys_way(self) -> None:
        self.end.send(put(1, flags=ACK_REQ))
        self.end.send(body(1, CHUNK), body(1, CHUNK), start(2, flags=ACK_REQ), start(3))
        self.node.calls[1].answer(bytes(STREAM_WINDOW_BYTES * 3))
        self.end.heard()
        for number in range(1, 3):
            self.node.clock.advance(4)
            self.end.send(credit_frame(2, STREAM_WINDOW_BYTES * number))
            self.assertEqual(self.data(2), STREAM_WINDOW_BYTES)
        self.end.send(encode_frame(EVENT, Control.PING, 0, 9, b"there?"), cancel(3))
        self.assertEqual([frame.code for frame in self.end.heard()], [Control.PONG, 499])
        self.assertEqual(self.end.transport.producerState, "producing")
        self.assertFalse(self.node.calls[0].cancelled)

    def test_caller_that_gives_no_credit_is_in_nobodys_way(self) -> None:
        self.end.send(start(1, flags=ACK_REQ), start(2), start(3, flags=ACK_REQ))
        self.node.calls[0].answer(bytes(STREAM_WINDOW_BYTES * 3))
        self.assertEqual(self.data(1), STREAM_WINDOW_BYTES + len(b'{"status":200,"length":393216}'))
        self.node.calls[1].answer(b"x" * 1000)
        self.node.calls[2].answer(b"x" * 1000)
        self.assertEqual([frame.corr_id for frame in self.end.heard()], [2, 2, 2, 3, 3, 3])

    def test_blocked_upload_without_windows_delays_a_download_by_the_stall_at_most(self) -> None:
        self.end.send(start(1, flags=ACK_REQ), put(2))
        self.node.calls[0].answer(bytes(STREAM_WINDOW_BYTES * 2))
        self.end.heard()
        # The CREDIT is behind what the owner of the upload does not take.
        self.end.send(body(2, CHUNK), body(2, CHUNK), body(2, CHUNK), credit_frame(1, STREAM_WINDOW_BYTES))
        self.node.clock.advance(4.9)
        self.assertEqual(self.end.heard(), [])
        self.node.clock.advance(0.1)
        frames = self.end.heard()
        self.assertEqual((frames[0].corr_id, frames[0].json["code"]), (2, "owner_unavailable"))
        self.assertEqual(
            sum(len(frame.payload) for frame in frames if frame.corr_id == 1), STREAM_WINDOW_BYTES
        )
        self.assertTrue(frames[-1].ends)

    def test_cancelled_uploads_leave_the_connections_window_whole(self) -> None:
        sent = credited = 0
        for corr_id in range(1, 10_001):
            late = body(corr_id, b"late", ended=True) if corr_id % 3 else b""
            self.end.send(
                put(corr_id, flags=ACK_REQ), body(corr_id, bytes(1000)), cancel(corr_id, Profile.MEDIA), late
            )
            # A caller that cancelled sends nothing more, but may have sent before it was answered.
            sent += 1004 if late else 1000
            self.node.clock.advance(0.05)
            for frame in self.end.heard():
                if frame.code == Control.CREDIT and frame.corr_id == 0:
                    credited = int.from_bytes(frame.payload, "big")
            self.node.calls.clear()
        self.assertEqual(credited, 10_000 * 1000)
        self.assertEqual(self.end.protocol._session.uploads.windowed_held, 0)
