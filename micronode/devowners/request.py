"""A request to an owner: decided from its head, its body never on a disk.

A refusal of a request whose body is still to come is sent at once, and the connection is closed in a
way that lets the refusal arrive.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from twisted.internet.interfaces import IDelayedCall, IPushProducer
from twisted.python.failure import Failure
from twisted.web import http

from micronode.errors import ErrorCode, NodeError, http_status

if TYPE_CHECKING:
    from micronode.devowners.channel import OwnerChannel
    from micronode.devowners.exchange import Exchange

#: Input that is dropped after a refusal, so that the refusal is not lost to a reset; and for how long.
_LINGER_BYTES: Final = 1_048_576
_LINGER_S: Final = 1.0


class OwnerRequest(http.Request):
    """A request to an owner.

    :ivar segments: the path, cut at each ``/`` and only then unquoted, so that a key may hold one.
    :ivar is_over: the answer is complete, or the caller has gone: nothing more may be sent.
    """

    channel: OwnerChannel
    segments: list[str]
    is_over = False
    _exchange: Exchange | None = None
    _has_body = False
    _is_whole = False
    _is_refused = False
    _received = 0
    _linger: IDelayedCall | None = None

    @property
    def route(self) -> str:
        """The name of its route, for the log."""
        return self._exchange.route if self._exchange is not None else "other"

    @property
    def has_begun(self) -> bool:
        """Whether the head of the answer has left, so that another answer is impossible."""
        return bool(self.startedWriting)

    def head_received(self, method: bytes, uri: bytes, version: bytes) -> None:
        """Take the request line: called when the whole head is there, before :meth:`gotLength`."""
        self.method, self.uri, self.clientproto = method, uri, version
        self.path, _, query = uri.partition(b"?")
        self.args = http.parse_qs(query, keep_blank_values=True)
        self.set_header(b"X-Content-Type-Options", b"nosniff")

    def gotLength(self, length: int | None) -> None:
        """Decide from the head. Stock twisted.web would open a file for the body here.

        :param length: of the body in bytes; None: chunked.
        """
        self._has_body = length != 0
        with self._refusing():
            if not self.path.startswith(b"/"):
                raise NodeError(ErrorCode.BAD_REQUEST, "the request target must be a path")
            try:
                self.segments = [unquote_to_bytes(part).decode() for part in self.path[1:].split(b"/")]
            except UnicodeDecodeError:
                raise NodeError(ErrorCode.BAD_REQUEST, "the path is not UTF-8") from None
            self._exchange = self.find_exchange()
            self._check_size(self._exchange, length or 0)

    def find_exchange(self) -> Exchange:
        """Return what answers.

        :raises NodeError: nothing does.
        """
        return self.channel.owner.route(self)

    def handleContentChunk(self, data: bytes) -> None:
        """Pass a piece of the body on; after a refusal drop it."""
        self._received += len(data)
        if self._is_refused or self._exchange is None:
            if self._received > _LINGER_BYTES:
                self._stop_lingering()
                self.channel.close()
            return
        with self._refusing():
            self._check_size(self._exchange, self._received)
            self._exchange.body(data)

    def requestReceived(self, command: bytes, path: bytes, version: bytes) -> None:
        """Answer: the request is whole."""
        self._is_whole = True
        if self._is_refused:
            self.end()
        elif self._exchange is not None:
            with self._refusing():
                answered = self._exchange.answer()
                if answered is not None:
                    answered.addErrback(self._failed)

    def connectionLost(self, reason: Failure) -> None:
        """Let go: the caller has gone before the answer was complete."""
        self.is_over = True
        self._stop_lingering()
        if self._exchange is not None and not self._is_refused:
            self._exchange.lost()
        http.Request.connectionLost(self, reason)

    def allow(self, *methods: bytes) -> None:
        """Check the method.

        :raises NodeError: ``method_not_allowed``.
        """
        if self.method not in methods:
            allowed = b", ".join(methods)
            self.set_header(b"Allow", allowed)
            raise NodeError(ErrorCode.METHOD_NOT_ALLOWED, f"this path takes {allowed.decode()}")

    def integer(self, name: str, *, default: int, minimum: int, maximum: int) -> int:
        """Return the query parameter *name*; above *maximum* it is *maximum*.

        :raises NodeError: ``bad_request``: no integer, or below *minimum*.
        """
        values = (self.args or {}).get(name.encode())
        if values is None:
            return default
        text = values[0]
        if not text.isdigit() or len(text) > 16 or int(text) < minimum:
            raise NodeError(ErrorCode.BAD_REQUEST, f"parameter {name!r} must be an integer from {minimum}")
        return min(int(text), maximum)

    def field(self, name: bytes) -> str | None:
        """Return a header field's text, the last if there are several."""
        value = self.getHeader(name)
        return value.decode("latin-1") if value is not None else None

    def set_header(self, name: bytes, value: bytes) -> None:
        """Set a header field of the answer."""
        self.responseHeaders.setRawHeaders(name, [value])

    def send(self, data: bytes) -> None:
        """Send the head, if it was not sent yet, and *data*."""
        http.Request.write(self, data)

    def feed_from(self, producer: IPushProducer) -> None:
        """Pause *producer* while the caller does not read."""
        http.Request.registerProducer(self, producer, True)

    def end_feed(self) -> None:
        """Part with the producer."""
        http.Request.unregisterProducer(self)

    def reply(self, content: dict[str, Any], *, status: int = 200) -> None:
        """Answer with JSON and end the request."""
        self._write_json(content, status)
        self.end()

    def reply_nothing(self) -> None:
        """Answer that it is done, with 204, and end the request."""
        self.setResponseCode(204)
        self.end()

    def fail(self, error: Exception) -> None:
        """Answer with *error*; where the answer has begun, cut the connection."""
        self._failed(Failure(error))

    def end(self) -> None:
        """End the answer."""
        if not self.is_over:
            self.is_over = True
            self._stop_lingering()
            http.Request.finish(self)

    def _write_json(self, content: dict[str, Any], status: int) -> None:
        if self.is_over:
            return
        body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        self.setResponseCode(status)
        self.set_header(b"Content-Type", b"application/json")
        self.set_header(b"Content-Length", b"%d" % len(body))
        self.send(body)

    def _check_size(self, exchange: Exchange, size: int) -> None:
        if size > exchange.max_body_bytes:
            raise NodeError(ErrorCode.BODY_TOO_LARGE, f"the body exceeds {exchange.max_body_bytes} bytes")

    @contextmanager
    def _refusing(self) -> Iterator[None]:
        """Turn what the block raises into an answer."""
        try:
            yield
        except Exception as error:
            self._failed(Failure(error))

    def _failed(self, failure: Failure) -> None:
        error = failure.value
        if self.is_over or self._is_refused:
            return
        if not isinstance(error, NodeError):
            assert error is not None
            self.channel.log.failed("defect", error)
            error = NodeError(ErrorCode.INTERNAL, "the owner failed; its log says where")
        self._is_refused = True
        if self._exchange is not None:
            self._exchange.lost()
        if self.has_begun:
            # Too late for words: only a cut connection tells.
            self.channel.abort()
            return
        if self._has_body and not self._is_whole:
            self._stop_input()
        if error.retry_after_ms is not None:
            self.set_header(b"Retry-After", b"%d" % math.ceil(error.retry_after_ms / 1000))
        self._write_json({"code": error.code.value, "message": error.message}, http_status(error.code))
        if self._is_whole:
            self.end()

    def _stop_input(self) -> None:
        """Let no request follow on this connection; what still comes is dropped, for a while."""
        self.channel.persistent = 0
        self.set_header(b"Connection", b"close")
        # Do not ask for the body that was just refused.
        self.requestHeaders.removeHeader(b"Expect")
        self._received = 0
        self._linger = self.channel.callLater(_LINGER_S, self.channel.close)

    def _stop_lingering(self) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._linger = None
