"""What the core knows of compression: that someone else does it. ``specs/oap-1.md`` section 5.

The core is standard library only, and zstd is not in there: whoever makes a connection hands it the two
functions, or none, and then COMP is not spoken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from micronode.oap.wire.errors import ErrorCode

#: The one name that HELLO's ``accept`` may have so far.
ZSTD: Final = "zstd"
#: Takes the payload of a frame with COMP and the most bytes that may come of it; returns them, or raises
#: :class:`InflateError`. It never allocates more.
Inflate: TypeAlias = Callable[[bytes, int], bytes]
#: Takes a chunk; returns what a frame with COMP has in its place, or None where that is not worth it or is
#: more than a receiver may take.
Deflate: TypeAlias = Callable[[bytes], bytes | None]


class InflateError(Exception):
    """A compressed payload that is not taken.

    :ivar code: ``bad_compression`` or ``decompress_cap``.
    :ivar message: what was wrong, for the peer.
    """

    def __init__(self, code: ErrorCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message


def refuse(payload: bytes, limit: int) -> bytes:
    """Stand in for an :data:`Inflate` where COMP is not spoken."""
    raise InflateError(ErrorCode.BAD_COMPRESSION, "COMP is not among flags_supported")
