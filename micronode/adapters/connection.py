"""One HTTP/1.1 connection to an owner: Twisted's client protocol, made safe against a bad owner.

What is added, and why:

- A response head has a bound. Twisted bounds a line (16 KiB), not how many there are.
- Bytes nobody asked for end the connection instead of becoming part of the next answer. Those that come
  with an answer's end, which Twisted drops, are told (:attr:`OwnerConnection.surplus`): one of the two
  lengths is wrong. They keep the connection from being used again; so do HTTP/1.0 and ``Connection: Close``.
- A head with both a Content-Length and a Transfer-Encoding, which has two ends, is refused.
- An owner may answer before the request body is whole. Twisted feeds that to its parser at once: what
  does not parse leaves a Deferred that never fires, and a refusal is held until an upload that nobody
  reads has ended. Here such bytes wait; a final status of 300 and more cuts the upload.
- A connection can always be aborted (twisted#12499: a cancelled body read leaves it open).
"""

# mypy: allow-untyped-calls
# (what is overridden here has no annotations in Twisted)
from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, cast

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import ISSLTransport, ITCPTransport, ITransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.python.failure import Failure
from twisted.web._newclient import HTTP11ClientProtocol, ParseError, Request
from twisted.web.http_headers import Headers
from twisted.web.iweb import IResponse

from micronode.adapters.upload import UploadBody

#: A response head, status line and fields; four times what the node takes itself.
MAX_OWNER_HEAD_BYTES: Final = 65_536
_STATUS_LINE: Final = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})[ \r\n]")


class OwnerRequest(Request):
    """A request that tells when it was written whole, and can be cut short."""

    def __init__(
        self, method: bytes, target: bytes, headers: Headers, body: UploadBody | None, *, persistent: bool
    ) -> None:
        """:param bytes target: path and query, as they stand in the request line."""
        super().__init__(method, target, headers, body, persistent)
        #: Fires when the request was written whole or cut; None until it was begun.
        self.written: Deferred[None] | None = None

    def writeTo(self, transport: Any) -> Deferred[None]:
        """Write the request; see :class:`twisted.web._newclient.Request`."""
        self._wire = transport
        written: Deferred[None] = Deferred()
        self.written = written

        def ended(result: Any) -> None:
            if not written.called:
                written.callback(result)  # a Failure becomes an errback

        super().writeTo(transport).addBoth(ended)
        return written

    def cut(self) -> None:
        """Send no more of the body: the connection cannot be used for another request."""
        assert self.written is not None
        self.persistent = False
        self.stopWriting()
        self._wire.unregisterProducer()
        self.written.callback(None)


class OwnerConnection(HTTP11ClientProtocol):
    """The client end of a connection to an owner."""

    #: Requests begun on it.
    requests = 0
    #: Why it was lost, once it is.
    lost: Failure | None = None
    #: Whether more bytes than its answer came with the end of the last one.
    surplus = False
    _head_bytes = 0
    _spoiled = False

    def __init__(self, quiescent: Callable[[Any], None]) -> None:
        super().__init__(quiescent)
        self._early = bytearray()

    @property
    def state(self) -> str:
        """As Twisted's, which the pool asks; a spoiled connection is never QUIESCENT."""
        return "ABORTING" if self._spoiled else self._state

    def request(self, request: Request) -> Deferred[IResponse]:
        """Send *request*, an :class:`OwnerRequest`; fires with the response when its head is there.

        Only one at a time. :meth:`abort_request` is the way to cancel it.
        """
        assert isinstance(request, OwnerRequest)
        self.requests += 1
        self._head_bytes = 0
        self._early.clear()
        answered = super().request(request).addCallback(self._judge_framing)
        if request.written is not None:
            # Behind Twisted's own callback, so that the state is already WAITING.
            request.written.addCallback(self._request_written)
        return answered

    def abort_request(self, request: OwnerRequest) -> None:
        """Close the connection at once if *request* is still the one it serves."""
        if self._currentRequest is request and self.lost is None:
            self.kill()

    def dataReceived(self, data: bytes) -> None:
        """Bytes of the owner: an answer, an early answer, or nothing that was asked for."""
        if self._state == "TRANSMITTING":
            self._received_early(data)
        elif self._parser is None:
            self.kill()
        else:
            self._parse(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """The connection is gone; :attr:`lost` says why before anyone is told."""
        self.lost = reason
        super().connectionLost(reason)

    def _parse(self, data: bytes) -> None:
        parser = self._parser
        super().dataReceived(data)
        if self._parser is parser and parser is not None and parser.state in ("STATUS", "HEADER"):
            self._head_bytes += len(data)
            if self._head_bytes > MAX_OWNER_HEAD_BYTES:
                self.kill()

    def _received_early(self, data: bytes) -> None:
        """Take bytes that came before the request was whole."""
        early = self._early
        early += data
        while (found := _STATUS_LINE.match(early)) is not None and found[1] < b"200":
            end = early.find(b"\r\n\r\n")
            if end < 0:
                break
            del early[: end + 4]
        if len(early) > MAX_OWNER_HEAD_BYTES or (found is None and b"\n" in early):
            self.kill()
        elif found is not None and found[1] >= b"300":
            cast(OwnerRequest, self._currentRequest).cut()

    def _request_written(self, _: None) -> None:
        if self._early and self._state == "WAITING":
            early = bytes(self._early)
            self._early.clear()
            self._parse(early)

    def _judge_framing(self, response: IResponse) -> IResponse:
        # Without a parser there is no body.
        fields = Headers() if self._parser is None else self._parser.connHeaders
        if fields.hasHeader(b"content-length") and fields.hasHeader(b"transfer-encoding"):
            self.kill()
            raise ParseError("both a Content-Length and a Transfer-Encoding", b"")
        return response

    def _finishResponse(self, rest: bytes) -> None:
        self.surplus = bool(rest)
        if self._currentRequest is not None and (rest or not self._may_stay_open()):
            self._currentRequest.persistent = False
        super()._finishResponse(rest)

    def _may_stay_open(self) -> bool:
        parser = self._parser
        if self._spoiled or parser is None or parser.response.version != (b"HTTP", 1, 1):
            return False
        fields = parser.connHeaders.getRawHeaders(b"connection", ())
        return not any(token.strip().lower() == b"close" for field in fields for token in field.split(b","))

    def _giveUp(self, reason: Failure) -> None:
        """Twisted's way to close it: politely after a whole answer, at once after anything else.

        At once, too, where it might wait for ever: over TLS, for an owner that never answers
        close_notify, and after an upload, for one that does not take what is left of it.
        """
        request = self._currentRequest
        sent_body = request is not None and request.bodyProducer is not None
        if (
            self._spoiled
            or sent_body
            or not reason.check(ConnectionDone)
            or ISSLTransport.providedBy(self.transport)
        ):
            self.kill()
        else:
            cast(ITransport, self.transport).loseConnection()
        self._disconnectParser(reason)

    def kill(self) -> None:
        """Close it at once, whatever it does; it is never used again."""
        self._spoiled = True
        cast(ITCPTransport, self.transport).abortConnection()


class OwnerConnectionFactory(Factory):
    """What Twisted's connection pool makes connections with; it logs nothing about them."""

    noisy = False

    def __init__(self, quiescent: Callable[[Any], None], metadata: str) -> None:
        """:param metadata: the endpoint in words, which the pool gives for logs."""
        self._quiescent = quiescent

    def buildProtocol(self, addr: object) -> OwnerConnection:
        return OwnerConnection(self._quiescent)
