"""Addresses of objects: ``b3:`` and the BLAKE3 digest of the bytes, in 64 lower-case hex digits."""

from __future__ import annotations

import re
from typing import Final

from micronode.errors import ErrorCode, NodeError

_CID: Final = re.compile(r"b3:([0-9a-f]{64})", re.ASCII)


def make_cid(digest: bytes) -> str:
    """Return the address of the bytes whose BLAKE3 *digest* (32 bytes) this is."""
    return f"b3:{digest.hex()}"


def parse_cid(cid: str) -> bytes:
    """Return the digest (32 bytes) that *cid* names.

    :raises NodeError: ``bad_request``: it is not an address.
    """
    found = _CID.fullmatch(cid)
    if found is None:
        raise NodeError(ErrorCode.BAD_REQUEST, "an address is 'b3:' and 64 lower-case hex digits")
    return bytes.fromhex(found[1])
