"""What every owner call carries of the caller's: request id, trace context, tenant; and quoting."""

from __future__ import annotations

import re
from typing import Final

from micronode.calls.call import NO_TENANT, Call
from micronode.errors import ErrorCode, NodeError

#: All but what RFC 3986 calls unreserved.
_RESERVED: Final = re.compile(rb"[^A-Za-z0-9._~-]+")
_ESCAPE: Final = tuple(b"%%%02X" % byte for byte in range(256)).__getitem__


def call_headers(call: Call) -> list[tuple[bytes, bytes]]:
    """Return the header fields that tell an owner on whose behalf it is asked."""
    fields = [(b"x-request-id", call.request_id.encode("ascii"))]
    if call.traceparent is not None:
        fields.append((b"traceparent", call.traceparent.encode("ascii")))
    if call.tenant != NO_TENANT:
        fields.append((b"x-micronode-tenant", call.tenant.hex().encode("ascii")))
    return fields


def segment(text: str) -> bytes:
    """Quote *text* whole, as one path segment: a slash in it separates nothing.

    :raises NodeError: ``bad_request`` for ``.`` and ``..``, which climb however they are quoted: ``%2E`` is
        a dot to whoever normalises a path (RFC 3986 section 6.2.2), and another one of the owner's is asked.
    """
    if text in (".", ".."):
        raise NodeError(ErrorCode.BAD_REQUEST, f"{text!r} cannot be asked for: it is a dot segment")
    return _RESERVED.sub(_escaped, text.encode("utf-8"))


def _escaped(found: re.Match[bytes]) -> bytes:
    return b"".join(map(_ESCAPE, found[0]))
