"""Decoding that no vector can show: memory, laziness, limits that change."""

from __future__ import annotations

import tracemalloc

from twisted.trial.unittest import SynchronousTestCase

from micronode.oap.wire.decoder import FrameDecoder, FrameError
from micronode.oap.wire.errors import ErrorCode
from micronode.oap.wire.frames import COMP, REQ, START, encode_frame
from micronode.oap.wire.limits import HEADER_BYTES, MAX_CHUNK_BYTES, MAX_FRAME_BYTES, MAX_HEAD_BYTES
from tests.fuzz.held import bytes_held

#: An oversize chunk in the largest frame there is.
HUGE = encode_frame(REQ, 0, 0x0101, 7, b"x" * (MAX_FRAME_BYTES - HEADER_BYTES))
SMALL = encode_frame(REQ, 0, 0x0101, 8, b"after")


class RefusedPayloadTests(SynchronousTestCase):
    def test_told_with_its_header_and_skipped(self) -> None:
        for step in (1_024, 65_536, len(HUGE) + len(SMALL)):
            decoder = FrameDecoder()
            data = HUGE + SMALL
            frames = [
                frame for at in range(0, len(data), step) for frame in decoder.feed(data[at : at + step])
            ]
            self.assertEqual([frame[4] for frame in frames], [7, 8])
            self.assertEqual([frame[6] for frame in frames], [None, b"after"])
            self.assertFalse(decoder.mid_frame)

    def test_told_before_its_bytes_come(self) -> None:
        decoder = FrameDecoder()
        self.assertEqual(list(decoder.feed(HUGE[: HEADER_BYTES - 1])), [])
        [frame] = decoder.feed(HUGE[HEADER_BYTES - 1 : HEADER_BYTES])
        self.assertIsNone(frame[6])
        self.assertTrue(decoder.mid_frame)
        self.assertEqual(list(decoder.feed(HUGE[HEADER_BYTES:-1])), [])
        self.assertTrue(decoder.mid_frame)
        self.assertEqual(list(decoder.feed(HUGE[-1:])), [])
        self.assertFalse(decoder.mid_frame)

    def test_header_in_pieces_and_the_rest_at_once(self) -> None:
        decoder = FrameDecoder()
        self.assertEqual(list(decoder.feed(HUGE[:10])), [])
        frames = list(decoder.feed(HUGE[10:] + SMALL))
        self.assertEqual([frame[6] for frame in frames], [None, b"after"])

    def test_costs_no_memory(self) -> None:
        decoder = FrameDecoder()
        pieces = [HUGE[at : at + 1_024] for at in range(0, len(HUGE), 1_024)]
        tracemalloc.start()
        try:
            for piece in pieces:
                list(decoder.feed(piece))
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        self.assertLess(peak, 8_192)

    def test_head_and_chunk_have_limits_of_their_own(self) -> None:
        decoder = FrameDecoder()
        for flags, limit in (
            (REQ | START, MAX_HEAD_BYTES),
            (REQ, MAX_CHUNK_BYTES),
            (REQ | COMP, MAX_CHUNK_BYTES),
        ):
            [good] = decoder.feed(encode_frame(flags, 0, 1, 1, b"x" * limit))
            self.assertEqual(good[6], b"x" * limit)
            [bad] = decoder.feed(encode_frame(flags, 0, 1, 1, b"x" * (limit + 1)))
            self.assertIsNone(bad[6])

    def test_cap_is_no_part_of_the_head(self) -> None:
        [frame] = FrameDecoder().feed(
            encode_frame(REQ | START, 0, 1, 1, b"x" * MAX_HEAD_BYTES, cap=b"c" * 8_192)
        )
        self.assertEqual((len(frame[5]), len(frame[6] or b"")), (8_192, MAX_HEAD_BYTES))


class BegunFrameTests(SynchronousTestCase):
    def test_holds_only_what_came(self) -> None:
        """A header that announces 64 KiB costs 38 bytes until they are there."""
        decoder = FrameDecoder()
        header = encode_frame(REQ, 0, 1, 1, b"x" * MAX_CHUNK_BYTES)[: HEADER_BYTES + 2]
        tracemalloc.start()
        try:
            list(decoder.feed(header))
            held = tracemalloc.get_traced_memory()[0]
        finally:
            tracemalloc.stop()
        self.assertLess(held, 1_024)
        self.assertTrue(decoder.mid_frame)

    def test_the_end_of_a_read_keeps_no_more_than_as_much_again(self) -> None:
        """A read stays as it is only where at least half of it is the begun frame's."""
        whole = encode_frame(REQ, 0, 1, 1, b"x" * 10_000)
        for before, begun in ((0, 9_000), (8_000, 8_000), (8_001, 8_000), (60_000, 39), (60_000, 5)):
            decoder = FrameDecoder()
            filling = encode_frame(REQ, 0, 1, 1, b"y" * (before - HEADER_BYTES)) if before else b""
            list(decoder.feed(filling + whole[:begun]))
            self.assertLessEqual(begun, bytes_held(decoder))
            self.assertLessEqual(bytes_held(decoder), 2 * begun)
            list(decoder.feed(whole[begun:-1]))
            self.assertEqual(bytes_held(decoder), len(whole) - 1)
            [frame] = decoder.feed(whole[-1:])
            self.assertEqual(frame[6], b"x" * 10_000)
            self.assertEqual(bytes_held(decoder), 0)

    def test_an_empty_feed_changes_nothing(self) -> None:
        decoder = FrameDecoder()
        for piece in (b"", SMALL[:5], b"", SMALL[5:40], b"", SMALL[40:], b""):
            frames = list(decoder.feed(piece))
        self.assertEqual(frames, [])
        self.assertFalse(decoder.mid_frame)

    def test_payload_is_the_callers_own(self) -> None:
        """What was yielded does not change with what comes later."""
        decoder = FrameDecoder()
        list(decoder.feed(SMALL[:40]))
        [frame] = decoder.feed(SMALL[40:])
        list(decoder.feed(SMALL.replace(b"after", b"other")[:-1]))
        self.assertIsInstance(frame[6], bytes)
        self.assertEqual(frame[6], b"after")


class LazinessTests(SynchronousTestCase):
    def test_an_error_waits_for_its_turn(self) -> None:
        frames = FrameDecoder().feed(SMALL + b"\xff" * HEADER_BYTES)
        self.assertEqual(next(frames)[6], b"after")
        error = self.assertRaises(FrameError, next, frames)
        self.assertEqual(error.code, ErrorCode.FRAME_TOO_LARGE)
        self.assertEqual(str(MAX_FRAME_BYTES) in error.message, True)

    def test_limits_bite_at_the_next_frame_of_the_same_read(self) -> None:
        hello = encode_frame(REQ, 0, 0, 1, b"{}")
        big = encode_frame(REQ, 0, 1, 1, b"x" * 4_096)
        for cut in (0, 20, len(hello), len(hello) + 3, len(hello) + 30):
            decoder = FrameDecoder()
            seen = []
            with self.assertRaises(FrameError) as caught:
                for piece in ((hello + big)[:cut], (hello + big)[cut:]):
                    for frame in decoder.feed(piece):
                        seen.append(frame[6])
                        decoder.max_frame = 4_096
                        decoder.max_chunk = 4_058
            self.assertEqual((seen, caught.exception.code), ([b"{}"], ErrorCode.FRAME_TOO_LARGE), cut)

    def test_a_lower_chunk_bites_too(self) -> None:
        decoder = FrameDecoder()
        frames = decoder.feed(encode_frame(REQ, 0, 0, 1, b"{}") + SMALL)
        next(frames)
        decoder.max_chunk = 4
        self.assertIsNone(next(frames)[6])

    def test_limits_may_be_raised(self) -> None:
        decoder = FrameDecoder(max_chunk=MAX_FRAME_BYTES - HEADER_BYTES)
        pieces = (HUGE[at : at + 1_000] for at in range(0, len(HUGE), 1_000))
        [frame] = [frame for piece in pieces for frame in decoder.feed(piece)]
        self.assertEqual(frame[6], HUGE[HEADER_BYTES:])
