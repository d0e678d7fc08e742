"""What a caller gets instead of an answer: :class:`OAPError`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from micronode.oap.wire.errors import ErrorCode

#: Seconds that a node has beyond a call's deadline to say itself that it passed.
GRACE_S: Final = 1.0


class OAPError(Exception):
    """A call, or the connection, failed: the node said so, or this side found it.

    :ivar code: the status, as in the error table (404, 503, …).
    :ivar name: the error's name (``not_found``, ``owner_unavailable``, …).
    :ivar message: what is said about it, for a human.
    :ivar retryable: whether the same call may do better later.
    :ivar retry_after_ms: when, if the node said so.
    :ivar request_id: what the node's log calls the call; None where this side found the error, or the node
        did not say.
    :ivar from_node: whether the node said it.
    """

    def __init__(
        self,
        code: int,
        name: str,
        message: str,
        *,
        retryable: bool = False,
        retry_after_ms: int | None = None,
        request_id: str | None = None,
        from_node: bool = False,
    ) -> None:
        super().__init__(code, name, message)
        self.code = code
        self.name = name
        self.message = message
        self.retryable = retryable
        self.retry_after_ms = retry_after_ms
        self.request_id = request_id
        self.from_node = from_node

    def __repr__(self) -> str:
        said = f" from_node request_id={self.request_id!r}" if self.from_node else ""
        return f"<OAPError {self.code} {self.name}: {self.message!r}{said}>"

    def __str__(self) -> str:
        return f"{self.code} {self.name}: {self.message}"

    @classmethod
    def from_code(cls, code: ErrorCode, message: str, *, retry_after_ms: int | None = None) -> OAPError:
        """Make an error of this side's own."""
        return cls(code.status, code.value, message, retryable=code.retryable, retry_after_ms=retry_after_ms)

    @classmethod
    def from_object(cls, code: int, error: Mapping[str, Any]) -> OAPError:
        """Read the node's error object; what is missing or no good falls back to what *code* says."""
        name, message = error.get("code"), error.get("message")
        wait, request_id = error.get("retry_after_ms"), error.get("request_id")
        may_wait = isinstance(wait, int) and not isinstance(wait, bool) and wait >= 0
        return cls(
            code,
            name if isinstance(name, str) else _name_of(code),
            message if isinstance(message, str) else "",
            retryable=error.get("retryable") is True,
            retry_after_ms=wait if may_wait else None,
            request_id=request_id if isinstance(request_id, str) else None,
            from_node=True,
        )


def too_late() -> OAPError:
    """Return what a call fails with whose deadline this side had to keep."""
    return OAPError.from_code(ErrorCode.TIMEOUT, "the call's deadline passed here")


def _name_of(code: int) -> str:
    return next((each.value for each in ErrorCode if each.status == code), "unknown")
