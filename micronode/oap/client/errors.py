"""What a caller gets instead of an answer: :class:`OAPError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from micronode.oap.wire.errors import ErrorCode

#: Seconds that a node has beyond a call's deadline to say itself that it passed.
GRACE_S: Final = 1.0


class OAPError(Exception):
    """A call, or the connection, failed.

    :ivar code: the status, as in the error table (404, 503, …).
    :ivar name: the error's name (``not_found``, ``owner_unavailable``, …).
    :ivar message: what the node says about it.
    :ivar retryable: whether the same call may do better later.
    :ivar retry_after_ms: when, if the node said so.
    """

    def __init__(
        self,
        code: int,
        name: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_ms: int | None = None,
    ) -> None:
        super().__init__(code, name, message)
        self.code = code
        self.name = name
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms

    def __str__(self) -> str:
        return f"{self.code} {self.name}: {self.message}"

    @classmethod
    def from_code(cls, code: ErrorCode, message: str, *, retry_after_ms: int | None = None) -> OAPError:
        """Make an error of this side's own."""
        return cls(code.status, code.value, message, retryable=code.retryable, retry_after_ms=retry_after_ms)

    @classmethod
    def from_object(cls, code: int, error: Mapping[str, Any]) -> OAPError:
        """Read an error object; members that are missing or no good fall back to what *code* says."""
        name, message = error.get("code"), error.get("message")
        wait = error.get("retry_after_ms")
        may_wait = isinstance(wait, int) and not isinstance(wait, bool) and wait >= 0
        return cls(
            code,
            name if isinstance(name, str) else _name_of(code),
            message if isinstance(message, str) else "",
            retryable=error.get("retryable") is True,
            retry_after_ms=wait if may_wait else None,
        )


def too_late() -> OAPError:
    """Return what a call fails with whose deadline this side had to keep."""
    return OAPError.from_code(ErrorCode.TIMEOUT, "the call's deadline passed here")


def _name_of(code: int) -> str:
    return next((each.value for each in ErrorCode if each.status == code), "unknown")
