"""What the parts of the fuzz target share: the modes, and how a finding is told."""

from __future__ import annotations

from typing import Any, Final

from micronode.oap.wire.limits import HEADER_BYTES, MAX_CAP_BYTES, MAX_HEAD_BYTES
from tests.fuzz.held import bytes_held

# The mode's bits.
#: 0 the decoder alone, 1 a caller that the node answers, 2 and 3 a node.
SIDE_MASK: Final = 3
DECODER, CALLER, NODE = 0, 1, 2
#: HELLO was said already.
GREETED: Final = 4
#: The talk is dense rather than raw bytes.
DENSE: Final = 8
#: Small limits, so that they are met.
SMALL: Final = 16
#: The shell answers as the talk's own bytes say; otherwise it says only what it must.
ANSWERING: Final = 32
#: The node's windows are small; the caller opens its streams with windows.
WINDOWED: Final = 64

#: max_chunk where limits are small.
SMALL_CHUNK: Final = 256


class Finding(AssertionError):
    """Something that must hold does not."""


def expect(holds: bool, what: str) -> None:
    """Raise :class:`Finding` unless *holds*."""
    if not holds:
        raise Finding(what)


def check_held(holder: Any, *, mid_frame: bool, max_chunk: int, streams: int) -> None:
    """Expect that *holder* keeps one legal frame that has begun at most, and each stream's tenant.

    Of such a frame it may keep the read that at least half of is the frame's, hence the factor.
    """
    held = bytes_held(holder)
    begun = 2 * (HEADER_BYTES + max(max_chunk, MAX_HEAD_BYTES + MAX_CAP_BYTES)) if mid_frame else 0
    expect(held <= begun + 16 * streams, f"{held} bytes are held, with {streams} streams open")
