"""How what answers a caller begins: a port that speaks HTTP is told from a node that breaks OAP/1."""

from __future__ import annotations

from typing import Final

#: How any answer of an HTTP server begins. As OAP/1 it would announce a frame of more than 1 GB.
_HTTP: Final = b"HTTP"


class Opening:
    """The first bytes that came, as many as tell HTTP."""

    def __init__(self) -> None:
        self._data = b""

    def note(self, data: bytes) -> None:
        """Take note of input."""
        if len(self._data) < len(_HTTP):
            self._data += data[: len(_HTTP) - len(self._data)]

    def blame(self, message: str) -> str:
        """Return what to say of an answer that is no OAP/1: *message*, or what is the matter."""
        if self._data == _HTTP:
            return (
                "the answer is HTTP, so this looks like an HTTP port; use that of oap.listen (default 5312)"
            )
        return f"the node broke OAP/1: {message}"
