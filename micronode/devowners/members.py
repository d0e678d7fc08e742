"""The JSON object of a request body, member by member: each is checked when it is asked for."""

from __future__ import annotations

import json
from base64 import b64decode
from typing import Any, Final, NoReturn

from micronode.errors import ErrorCode, NodeError

#: What attributes of a message may be: so many, and so many characters in all.
_MAX_TEXTS: Final = 32
_MAX_TEXTS_CHARS: Final = 8192


class Members:
    """Reads *data*. Members that nobody asks for are ignored.

    :raises NodeError: ``bad_request``, here and from every method, in words that quote no value.
    """

    def __init__(self, data: bytes) -> None:
        try:
            content = json.loads(data, parse_constant=_no_constant)
        except (ValueError, RecursionError):
            raise _refused("the body is not JSON") from None
        if not isinstance(content, dict):
            raise _refused("the body is not a JSON object")
        self._content: dict[str, Any] = content

    def text(self, name: str, *, max_chars: int) -> str:
        """Return a text of 1 to *max_chars* printable characters."""
        value = self._content.get(name)
        # Nothing unprintable: neither NUL nor half a surrogate pair, which is in no database.
        if not isinstance(value, str) or not 0 < len(value) <= max_chars or not value.isprintable():
            raise _refused(f"member {name!r} must be 1 to {max_chars} printable characters")
        return value

    def optional_text(self, name: str, *, max_chars: int) -> str | None:
        """Return what :meth:`text` does, None where the member is missing or null."""
        return None if self._content.get(name) is None else self.text(name, max_chars=max_chars)

    def integer(self, name: str, *, default: int, minimum: int, maximum: int) -> int:
        """Return a whole number; above *maximum* it is *maximum*."""
        value = self._content.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise _refused(f"member {name!r} must be a whole number from {minimum}")
        return min(value, maximum)

    def base64(self, name: str) -> bytes:
        """Return the bytes of a text in base64 (:rfc:`4648`, section 4)."""
        value = self._content.get(name)
        try:
            if isinstance(value, str):
                return b64decode(value.encode("ascii"), validate=True)
        except ValueError:
            pass
        raise _refused(f"member {name!r} must be base64")

    def texts(self, name: str) -> dict[str, str]:
        """Return an object of texts, in the order of its keys; empty where the member is missing."""
        value = self._content.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(each, str) for each in value.values()):
            raise _refused(f"member {name!r} must be an object of texts")
        words = [*value, *value.values()]
        if len(value) > _MAX_TEXTS or sum(map(len, words)) > _MAX_TEXTS_CHARS:
            raise _refused(
                f"member {name!r} may have {_MAX_TEXTS} texts, {_MAX_TEXTS_CHARS} characters in all"
            )
        try:
            "".join(words).encode()
        except UnicodeEncodeError:
            raise _refused(f"member {name!r} is not Unicode") from None
        return dict(sorted(value.items()))


def _no_constant(_text: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _refused(message: str) -> NodeError:
    return NodeError(ErrorCode.BAD_REQUEST, message)
