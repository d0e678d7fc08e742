"""The HTTP side that all owners share: requests decided from their head, bodies that never touch a disk.

An owner maps a request's raw path to an :class:`Exchange` as soon as the head is there; the exchange
then gets the body piece by piece, and answers when all of it came. A refusal of a request whose body
is still to come is sent at once, and the connection closed in a way that lets the refusal arrive.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote_to_bytes

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web import http

from micronode.errors import ErrorCode, NodeError, http_status

if TYPE_CHECKING:
    from micronode.devowners.log import JSONLog

#: A query of 4 096 characters, each of four bytes and percent-quoted, still fits into the head.
_MAX_HEAD_BYTES: Final = 65_536
#: Input that is read and dropped after a refusal, so that the refusal is not lost to a reset; and for how long.
_LINGER_BYTES: Final = 1_048_576
_LINGER_S: Final = 1.0
#: Seconds a connection may be silent; longer than callers keep theirs in a pool.
_IDLE_S: Final = 120.0
#: Every route an owner has, for the log; anything else would be the caller's text.
_OTHER: Final = "other"


class Exchange:
    """One request that has a route. Subclasses answer it.

    :ivar route: its name in the log.
    :ivar max_body_bytes: a longer request body is refused.
    """

    route = _OTHER
    max_body_bytes = 0

    def __init__(self, request: OwnerRequest) -> None:
        self.request = request

    def body(self, data: bytes) -> None:
        """Take a piece of the request body."""

    def answer(self) -> Deferred[None] | None:
        """Answer; the request is whole.

        :return: a Deferred where it takes time; its failure becomes the answer.
        :raises NodeError: becomes the answer.
        """
        raise NotImplementedError

    def lost(self) -> None:
        """Let go of everything: the request was refused after all, or the caller has gone. Called once at most."""


class Owner:
    """What one owner serves: its name, whether it is loaded, and its routes."""

    name = ""

    def __init__(self) -> None:
        self.is_ready = False

    def route(self, request: OwnerRequest) -> Exchange:
        """Return the exchange for *request*, of which the head is there.

        :raises NodeError: ``not_found``, ``bad_request``, ``method_not_allowed``, ``not_ready``.
        """
        name, *keys = request.segments
        if name in ("healthz", "readyz") and not keys:
            request.allow(b"GET", b"HEAD")
            return _Health(request, self.is_ready if name == "readyz" else None)
        if not self.is_ready:
            request.setHeader(b"Retry-After", b"1")
            raise NodeError(ErrorCode.NOT_READY, f"the {self.name} owner is still loading; ask again in a second")
        return self.find(request, name, keys)

    def find(self, request: OwnerRequest, name: str, keys: list[str]) -> Exchange:
        """Return the exchange for one of the owner's own routes.

        :raises NodeError: as :meth:`route`.
        """
        raise NotImplementedError


class _Health(Exchange):
    route = "health"

    def __init__(self, request: OwnerRequest, is_ready: bool | None) -> None:
        super().__init__(request)
        self._is_ready = is_ready

    def answer(self) -> None:
        if self._is_ready is None:
            self.request.reply({"ok": True})
        elif self._is_ready:
            self.request.reply({"ready": True})
        else:
            self.request.setHeader(b"Retry-After", b"1")
            self.request.reply({"ready": False}, status=503)


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
        return self._exchange.route if self._exchange is not None else _OTHER

    def head_received(self, method: bytes, uri: bytes, version: bytes) -> None:
        """Take the request line: called when the whole head is there, before :meth:`gotLength`."""
        self.method, self.uri, self.clientproto = method, uri, version
        self.path, _, query = uri.partition(b"?")
        self.args = http.parse_qs(query, keep_blank_values=True)
        self.setHeader(b"X-Content-Type-Options", b"nosniff")

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
            self._exchange = self.channel.owner.route(self)
            self._check_size(self._exchange, length or 0)

    def handleContentChunk(self, data: bytes) -> None:
        """Pass a piece of the body on; after a refusal drop it."""
        self._received += len(data)
        if self._is_refused or self._exchange is None:
            if self._received > _LINGER_BYTES:
                self._stop_lingering()
                self.channel.loseConnection()
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
        super().connectionLost(reason)

    def allow(self, *methods: bytes) -> None:
        """Check the method.

        :raises NodeError: ``method_not_allowed``.
        """
        if self.method not in methods:
            allowed = b", ".join(methods)
            self.setHeader(b"Allow", allowed)
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

    def reply(self, content: dict[str, Any], *, status: int = 200) -> None:
        """Answer with JSON and end the request."""
        self._write_json(content, status)
        self.end()

    def end(self) -> None:
        """End the answer."""
        if not self.is_over:
            self.is_over = True
            self._stop_lingering()
            self.finish()

    def _write_json(self, content: dict[str, Any], status: int) -> None:
        if self.is_over:
            return
        body = json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
        self.setResponseCode(status)
        self.setHeader(b"Content-Type", b"application/json")
        self.setHeader(b"Content-Length", b"%d" % len(body))
        self.write(body)

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
            self.channel.log.failed("defect", error)
            error = NodeError(ErrorCode.INTERNAL, "the owner failed; its log says where")
        self._is_refused = True
        if self._exchange is not None:
            self._exchange.lost()
        if self.startedWriting:
            # Too late for words: only a cut connection tells.
            self.channel.abort()
            return
        if self._has_body and not self._is_whole:
            self._stop_input()
        self._write_json({"code": error.code.value, "message": error.message}, http_status(error.code))
        if self._is_whole:
            self.end()

    def _stop_input(self) -> None:
        """Let no request follow on this connection; what still comes is dropped, for a while."""
        self.channel.persistent = 0
        self.setHeader(b"Connection", b"close")
        # Do not ask for the body that was just refused.
        self.requestHeaders.removeHeader(b"Expect")
        self._received = 0
        self._linger = self.channel.callLater(_LINGER_S, self.channel.loseConnection)

    def _stop_lingering(self) -> None:
        if self._linger is not None and self._linger.active():
            self._linger.cancel()
        self._linger = None


class OwnerChannel(http.HTTPChannel):
    """An HTTP/1.1 connection to an owner."""

    requestFactory = OwnerRequest
    MAX_LENGTH = _MAX_HEAD_BYTES
    totalHeadersSize = _MAX_HEAD_BYTES
    factory: OwnerFactory
    requests: list[OwnerRequest]
    callLater: Callable[..., IDelayedCall]

    @property
    def owner(self) -> Owner:
        """Who answers."""
        return self.factory.owner

    @property
    def log(self) -> JSONLog:
        """Where defects are told."""
        return self.factory.owner_log

    def allHeadersReceived(self) -> None:
        """Tell the request its head before its body begins."""
        self.requests[-1].head_received(self._command, self._path, self._version)
        super().allHeadersReceived()

    def abort(self) -> None:
        """Cut the connection without a word."""
        self.transport.abortConnection()


class OwnerFactory(http.HTTPFactory):
    """Makes the connections of one owner.

    :param reactor: for idle timeouts and latencies.
    """

    protocol = OwnerChannel

    def __init__(self, owner: Owner, log: JSONLog, reactor: IReactorTime) -> None:
        super().__init__(timeout=_IDLE_S, reactor=reactor)
        self.owner = owner
        self.owner_log = log

    def log(self, request: OwnerRequest) -> None:
        """Note an answered request: route and outcome, never what was asked for."""
        self.owner_log.debug(
            "request",
            owner=self.owner.name,
            route=request.route,
            status=request.code,
            bytes=request.sentLength,
        )
