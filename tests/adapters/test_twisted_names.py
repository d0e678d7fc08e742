"""The private names of Twisted's HTTP client that the adapters stand on.

A Twisted that changes one of them fails here, by name, and not somewhere in the middle of an exchange.
Then read what is new in ``twisted.web._newclient`` and ``HTTPConnectionPool`` before this table is changed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web import _newclient
from twisted.web._newclient import HTTP11ClientProtocol, HTTPClientParser, Request
from twisted.web.client import HTTPConnectionPool, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers

from tests.adapters.test_owner import SpyBody

ADVICE = "Twisted has changed it: micronode.adapters.{%s} must be looked at"

#: Called or overridden, with the parameters that are counted on.
SIGNATURES: tuple[tuple[Callable[..., Any], tuple[str, ...], str], ...] = (
    (HTTP11ClientProtocol.__init__, ("self", "quiescentCallback"), "connection"),
    (HTTP11ClientProtocol.request, ("self", "request"), "connection"),
    (HTTP11ClientProtocol._giveUp, ("self", "reason"), "connection"),
    (HTTP11ClientProtocol._disconnectParser, ("self", "reason"), "connection"),
    (HTTP11ClientProtocol.abort, ("self",), "agent"),
    (
        Request.__init__,
        ("self", "method", "uri", "headers", "bodyProducer", "persistent"),
        "connection",
    ),
    (Request.writeTo, ("self", "transport"), "connection"),
    (Request.stopWriting, ("self",), "connection"),
    (HTTPConnectionPool.getConnection, ("self", "key", "endpoint"), "agent"),
    (HTTPConnectionPool._newConnection, ("self", "key", "endpoint"), "agent"),
    (HTTPConnectionPool._putConnection, ("self", "key", "connection"), "agent"),
    (HTTPConnectionPool._factory.__init__, ("self", "quiescentCallback", "metadata"), "connection"),
)


class _SpyConnection(HTTP11ClientProtocol):
    """Keeps what came behind each answer."""

    def __init__(self) -> None:
        super().__init__()
        self.rests: list[bytes] = []

    def _finishResponse(self, rest: bytes) -> None:
        self.rests.append(rest)
        super()._finishResponse(rest)


class PrivateNamesTests(SynchronousTestCase):
    def test_signatures(self) -> None:
        for function, parameters, module in SIGNATURES:
            found = tuple(inspect.signature(function).parameters)
            self.assertEqual(found, parameters, f"{function.__qualname__}. {ADVICE % module}")

    def test_errors(self) -> None:
        for name in ("RequestNotSent", "_WrapperException"):
            self.assertTrue(hasattr(_newclient, name), f"_newclient.{name}. {ADVICE % 'owner, lease'}")
        self.assertTrue(_newclient.ParseError("why", b""), ADVICE % "connection")
        for error in (ResponseFailed, ResponseNeverReceived):
            self.assertTrue(issubclass(error, _newclient._WrapperException), ADVICE % "lease")
            self.assertEqual(error([1]).reasons, [1], ADVICE % "lease")

    def test_pool(self) -> None:
        pool = HTTPConnectionPool(MemoryReactorClock())
        self.assertEqual(pool._connections, {}, ADVICE % "agent")
        connection = HTTP11ClientProtocol()
        connection.makeConnection(StringTransport())
        pool._putConnection("key", connection)
        self.assertEqual(pool._connections, {"key": [connection]}, ADVICE % "agent")
        pool.closeCachedConnections()

    def test_life_of_a_connection(self) -> None:
        """The states, and when the parser and the request are there."""
        advice = ADVICE % "connection"
        connection = _SpyConnection()
        connection.makeConnection(StringTransport())

        def now() -> tuple[str, bool, bool]:
            return connection._state, connection._parser is not None, connection._currentRequest is not None

        self.assertEqual(now(), ("QUIESCENT", False, False), advice)
        request = Request(b"GET", b"/", Headers({b"host": [b"index"]}), None, True)
        answered = connection.request(request)
        self.assertEqual(now(), ("WAITING", True, True), advice)
        self.assertIs(connection._currentRequest, request, advice)
        parser = connection._parser
        assert isinstance(parser, HTTPClientParser)
        self.assertEqual(parser.state, "STATUS", advice)
        connection.dataReceived(b"HTTP/1.1 200 OK\r\nConnection: x\r\n")
        self.assertEqual(parser.state, "HEADER", advice)
        connection.dataReceived(b"Content-Length: 1\r\n\r\n")
        self.assertEqual(parser.state, "BODY", advice)
        self.assertEqual(parser.response.version, (b"HTTP", 1, 1), advice)
        self.assertEqual(parser.connHeaders.getRawHeaders(b"connection"), [b"x"], advice)
        self.successResultOf(answered)
        connection.dataReceived(b"a")
        self.assertEqual(connection.rests, [b""], advice)
        self.assertEqual(now(), ("QUIESCENT", False, False), advice)

    def test_a_request_that_is_being_written(self) -> None:
        """Bytes that come now are what connection.py keeps from the parser."""
        connection = HTTP11ClientProtocol()
        connection.makeConnection(StringTransport())
        body = SpyBody(3)
        connection.request(Request(b"POST", b"/", Headers({b"host": [b"index"]}), body, True))
        self.assertEqual(connection._state, "TRANSMITTING", ADVICE % "connection")
        self.assertIs(connection._currentRequest.bodyProducer, body, ADVICE % "connection")
