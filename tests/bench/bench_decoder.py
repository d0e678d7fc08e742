"""How fast frames are decoded: ``python -m tests.bench.bench_decoder``.

Against ``twisted.protocols.basic.Int32StringReceiver`` with the same payloads in pieces of 64 KiB,
and against itself for linearity. Two CPUs that others use are noisy, so the contestants take turns
within each round and what counts is the median of the rounds' ratios. Exits 1 below a target.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

from twisted.protocols.basic import Int32StringReceiver

from micronode.oap.wire.decoder import FrameDecoder
from micronode.oap.wire.frames import REQ, encode_frame
from micronode.oap.wire.limits import HEADER_BYTES, MAX_FRAME_BYTES

ROUNDS = 41
PIECE_BYTES = 65_536
#: What a read gives when the sender is slow, or the frame is cut by TLS records.
SMALL_PIECE_BYTES = 1_024
#: Ratio to Int32StringReceiver at 64-byte payloads, and at 64 KiB ones.
SMALL_TARGET, LARGE_TARGET = 1.3, 1.0
#: A 1 MiB frame may cost this many times what four frames of 256 KiB cost. Quadratic would be 4.
LINEAR_TARGET = 1.6

Contestant = Callable[[], None]


class _Counter(Int32StringReceiver):
    MAX_LENGTH = MAX_FRAME_BYTES
    count = 0

    def stringReceived(self, string: bytes) -> None:
        self.count += 1


def _pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


def ours(
    payload_bytes: int, count: int, *, piece_bytes: int = PIECE_BYTES, raised: bool = True
) -> Contestant:
    """Return a run of our decoder; *raised*: chunks of any size are taken rather than refused."""
    pieces = _pieces(encode_frame(REQ, 0, 0x0101, 7, b"x" * payload_bytes) * count, piece_bytes)
    max_chunk = max(payload_bytes, 65_536) if raised else 65_536

    def run() -> None:
        decoder, seen = FrameDecoder(max_chunk=max_chunk), 0
        for piece in pieces:
            for _frame in decoder.feed(piece):
                seen += 1
        assert seen == count
        assert not decoder.mid_frame

    return run


def theirs(payload_bytes: int, count: int) -> Contestant:
    """Return a run of Twisted's receiver with the same payloads."""
    frame = payload_bytes.to_bytes(4, "big") + b"x" * payload_bytes
    pieces = _pieces(frame * count, PIECE_BYTES)

    def run() -> None:
        receiver = _Counter()
        for piece in pieces:
            receiver.dataReceived(piece)
        assert receiver.count == count

    return run


def compare(one: Contestant, other: Contestant) -> tuple[float, float, float]:
    """Return the least times of both, in seconds, and the median of *other* / *one*."""
    times: list[tuple[float, float]] = []
    for _ in range(ROUNDS):
        pair = []
        for contestant in (one, other):
            started = time.perf_counter()
            contestant()
            pair.append(time.perf_counter() - started)
        times.append((pair[0], pair[1]))
    ratio = statistics.median(theirs_s / ours_s for ours_s, theirs_s in times)
    return min(first for first, _ in times), min(second for _, second in times), ratio


def main() -> int:
    """Print the table; return 1 where a target is missed."""
    largest = MAX_FRAME_BYTES - HEADER_BYTES
    missed = 0
    print(f"{'':34}{'us/frame':>10}{'other':>10}{'ratio':>8}{'target':>8}")
    for name, payload, count, target in (
        ("64 B payloads, Int32StringReceiver", 64, 12_000, SMALL_TARGET),
        ("64 KiB payloads, the same", 65_536, 120, LARGE_TARGET),
    ):
        one, other, ratio = compare(ours(payload, count), theirs(payload, count))
        missed += ratio < target
        print(f"{name:34}{one / count * 1e6:10.3f}{other / count * 1e6:10.3f}{ratio:8.2f}{target:8.2f}")
    quarters = ours(largest // 4, 16, piece_bytes=SMALL_PIECE_BYTES)
    for name, raised in (("1 MiB in 1 KiB pieces, taken", True), ("1 MiB in 1 KiB pieces, skipped", False)):
        whole = ours(largest, 4, piece_bytes=SMALL_PIECE_BYTES, raised=raised)
        one, other, ratio = compare(quarters, whole)
        missed += ratio > LINEAR_TARGET
        print(f"{name:34}{one / 4 * 1e6:10.1f}{other / 4 * 1e6:10.1f}{ratio:8.2f}{LINEAR_TARGET:7.2f}*")
    print("* against four frames of 256 KiB, which are the first column: at most; 4 would be quadratic")
    return int(missed > 0)


if __name__ == "__main__":
    sys.exit(main())
