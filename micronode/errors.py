"""How the node says no: :class:`NodeError` and the one table from error names to status codes.

Facets and adapters raise NodeError; only ``http/sink`` and ``oap/stream`` know how one looks on
their wire.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from micronode.oap.wire.errors import ErrorCode, error_object

__all__ = ["HTTP_STATUS", "ErrorCode", "NodeError", "error_object", "http_status"]

#: Where HTTP has a better status than OAP/1 (RFC 6585 section 5).
HTTP_STATUS: Final = {ErrorCode.HEAD_TOO_LARGE: 431}


def http_status(code: ErrorCode) -> int:
    """Return the HTTP status of *code*."""
    return HTTP_STATUS.get(code, code.status)


class NodeError(Exception):
    """A refusal or failure that the caller is told about.

    :param message: for the caller: what is wrong and what to do; it never carries a payload, a
        token or an owner's address.
    :param retry_after_s: when to come back, in seconds; None leaves it to the table.
    :param source: who failed (``"index"``, ``"storage"``, …), for logs and metrics.
    :param headers: fields that HTTP asks for beside this status (``Allow``, ``Content-Range``).
    :param details: further members of the error object, over HTTP.
    :param bound: what ``rejected_total`` calls the bound that the call met behind its gates; None: it met
        none.
    :param reason: what the log calls it, where the error's name says too little.
    """

    def __init__(
        self,
        code: ErrorCode,
        message: str,
        *,
        retry_after_s: float | None = None,
        source: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
        details: Mapping[str, Any] | None = None,
        bound: str | None = None,
        reason: str | None = None,
    ) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message
        self.retry_after_s = retry_after_s
        self.source = source
        self.headers = headers
        self.details: Mapping[str, Any] = {} if details is None else details
        self.bound = bound
        self._reason = reason

    @property
    def reason(self) -> str:
        """What the log calls it."""
        return self._reason or self.code.value

    @property
    def retry_after_ms(self) -> int | None:
        """When to come back, in milliseconds: its own word, else one second where the code needs one."""
        if self.retry_after_s is not None:
            return max(1, round(self.retry_after_s * 1000))
        return 1000 if self.code.waits else None

    def as_object(self, *, request_id: str, corr_id: int | None = None) -> dict[str, object]:
        """Return the error object of this error."""
        return error_object(
            self.code,
            self.message,
            request_id=request_id,
            retry_after_ms=self.retry_after_ms,
            corr_id=corr_id,
        )

    def __str__(self) -> str:
        return f"{self.code.value}: {self.message}"
