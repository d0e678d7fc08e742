"""The table of errors (``specs/oap-1.md`` section 2): name, status, whether a retry can help.

It stands in the lowest layer because the decoder needs it; everyone else takes it from
:mod:`micronode.errors`.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final


class ErrorCode(Enum):
    """One error name of the protocol; both ingresses and every adapter speak in these."""

    status: int
    retryable: bool

    def __new__(cls, name: str, status: int, retryable: bool = False) -> ErrorCode:
        member = object.__new__(cls)
        member._value_ = name
        member.status = status
        member.retryable = retryable
        return member

    # The caller's mistake.
    BAD_REQUEST = ("bad_request", 400)
    BAD_HELLO = ("bad_hello", 400)
    BAD_SEQUENCE = ("bad_sequence", 400)
    BAD_JSON = ("bad_json", 400)
    BAD_FLAGS = ("bad_flags", 400)
    BAD_VERSION = ("bad_version", 400)
    BAD_LENGTH = ("bad_length", 400)
    CAP_ON_NON_START = ("cap_on_non_start", 400)
    BAD_COMPRESSION = ("bad_compression", 400)
    CREDIT_VIOLATION = ("credit_violation", 400)
    UNAUTHORIZED = ("unauthorized", 401)
    FORBIDDEN = ("forbidden", 403)
    NOT_FOUND = ("not_found", 404)
    METHOD_NOT_ALLOWED = ("method_not_allowed", 405)
    # The caller was too slow.
    TIMEOUT = ("timeout", 408, True)
    FRAME_TIMEOUT = ("frame_timeout", 408, True)
    CONFLICT = ("conflict", 409)
    # A limit.
    FRAME_TOO_LARGE = ("frame_too_large", 413)
    HEAD_TOO_LARGE = ("head_too_large", 413)
    CHUNK_TOO_LARGE = ("chunk_too_large", 413)
    CAP_TOO_LARGE = ("cap_too_large", 413)
    BODY_TOO_LARGE = ("body_too_large", 413)
    DECOMPRESS_CAP = ("decompress_cap", 413)
    # HTTP only.
    UNSUPPORTED_ENCODING = ("unsupported_encoding", 415)
    RANGE_NOT_SATISFIABLE = ("range_not_satisfiable", 416)
    EXPECTATION_FAILED = ("expectation_failed", 417)
    MISDIRECTED = ("misdirected", 421)
    CONFIG_REFUSED = ("config_refused", 422)
    # Bounded work is full; nothing was processed.
    BUSY = ("busy", 429, True)
    QUOTA_EXCEEDED = ("quota_exceeded", 429, True)
    RATE_LIMITED = ("rate_limited", 429, True)
    CANCELLED = ("cancelled", 499)
    # The node, or what stands behind it.
    INTERNAL = ("internal", 500)
    UNKNOWN_OP = ("unknown_op", 501)
    UNKNOWN_APP = ("unknown_app", 501)
    INTEGRITY_FAILED = ("integrity_failed", 502)
    BAD_GATEWAY = ("bad_gateway", 502, True)
    NOT_READY = ("not_ready", 503, True)
    DRAINING = ("draining", 503, True)
    OWNER_UNAVAILABLE = ("owner_unavailable", 503, True)
    PQ_REQUIRED = ("pq_required", 503, True)
    OWNER_TIMEOUT = ("owner_timeout", 504, True)

    @property
    def waits(self) -> bool:
        """Whether its error object always says when to come back (429 and 503)."""
        return self.status in (429, 503)


#: Characters of an error's message: as JSON, escaped to the last one, they fit the smallest frame.
MAX_MESSAGE: Final = 512


def error_object(
    code: ErrorCode,
    message: str,
    *,
    request_id: str,
    retry_after_ms: int | None = None,
    corr_id: int | None = None,
) -> dict[str, Any]:
    """Build the error object: payload of an error frame and body of every HTTP error.

    :param message: cut at :data:`MAX_MESSAGE`; half a surrogate pair becomes a question mark.
    :param retry_after_ms: where the code :attr:`~ErrorCode.waits` and this is None, 1000.
    """
    if retry_after_ms is None and code.waits:
        retry_after_ms = 1000
    # It may quote what a facet was told, and is said where nothing can fail any more.
    message = message[:MAX_MESSAGE].encode("utf-8", "replace").decode("utf-8")
    body: dict[str, Any] = {"code": code.value, "message": message, "retryable": code.retryable}
    if retry_after_ms is not None:
        body["retry_after_ms"] = retry_after_ms
    if corr_id is not None:
        body["corr_id"] = str(corr_id)
    body["request_id"] = request_id
    return body
