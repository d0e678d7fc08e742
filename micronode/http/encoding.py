"""Which encodings of request bodies are taken, and what undoes them. ``specs/oap-1.md`` section 5."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeAlias

from micronode.calls.inflate import inflate_gzip, inflate_zstd
from micronode.errors import ErrorCode, NodeError

#: Takes the body as it came, the most bytes that may come of it, and how many times its size; raises
#: NodeError ``bad_compression`` or ``decompress_cap``.
Inflate: TypeAlias = Callable[[bytes, int, int], bytes]

#: By content coding (RFC 9110 section 8.4.1); x-gzip is the old name of gzip.
_TAKEN: Final[dict[str, Inflate | None]] = {
    "identity": None,
    "gzip": inflate_gzip,
    "x-gzip": inflate_gzip,
    "zstd": inflate_zstd,
}


def find_inflate(content_encoding: str) -> Inflate | None:
    """Return what undoes *content_encoding*; None: there is nothing to undo.

    :raises NodeError: ``unsupported_encoding``, also for several in a row.
    """
    name = content_encoding.strip(" \t").lower()
    if name not in _TAKEN:
        raise NodeError(
            ErrorCode.UNSUPPORTED_ENCODING,
            "a body may have one Content-Encoding, gzip or zstd",
            headers=(("Accept-Encoding", "gzip, zstd"),),
        )
    return _TAKEN[name]
