"""An OAP/1 client for embedders and for ``micronode call``.

::

    client = await connect(reactor, "oap://127.0.0.1:5312")
    response = await client.call(Profile.SEARCH, "query", {"q": "reactor"})
    print(await response.read(1 << 20))
    await client.close()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, cast
from urllib.parse import urlsplit

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import (
    HostnameEndpoint,
    TCP4ClientEndpoint,
    TCP6ClientEndpoint,
    UNIXClientEndpoint,
    connectProtocol,
)
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.iweb import IBodyProducer

from micronode.oap.answer import OAPError, OAPResponse
from micronode.oap.caller import CallerProtocol

__all__ = ["OAPClient", "OAPError", "OAPResponse", "connect"]


def connect(reactor: Any, target: str, *, timeout_s: float = 10.0) -> Deferred[OAPClient]:
    """Connect to the node at *target* and greet it.

    :param reactor: provides IReactorTime, and IReactorTCP or IReactorUNIX.
    :param target: ``oap://HOST:PORT`` or ``unix:/path``.
    :param timeout_s: for connecting and the greeting together.
    :return: a Deferred that fires with an :class:`OAPClient`. It fails with
        :class:`~twisted.internet.error.ConnectError` (a timeout is one too), or with :class:`OAPError`
        where the node refused the greeting or hung up. Cancelling it closes the connection.
    :raises ValueError: *target* is malformed, or ``oaps://``, which is not available yet.
    """
    endpoint = _endpoint(reactor, target, timeout_s)
    protocol = CallerProtocol(reactor)

    async def greet() -> OAPClient:
        await connectProtocol(endpoint, protocol)
        return OAPClient(protocol, await protocol.ready)

    def late(_: object, seconds: float) -> NoReturn:
        raise ConnectTimeoutError(string=f"no answer from {target} within {seconds} s")

    return Deferred.fromCoroutine(greet()).addTimeout(timeout_s, reactor, onTimeoutCancel=late)


def _endpoint(reactor: Any, target: str, timeout_s: float) -> IStreamClientEndpoint:
    if target.startswith("unix:"):
        path = target.removeprefix("unix:")
        if not path.startswith("/") or "\0" in path:
            raise ValueError(f"{target!r} is no target: write unix:/path, with an absolute path")
        return UNIXClientEndpoint(reactor, path, timeout=timeout_s)
    scheme = target.partition("://")[0]
    if scheme == "oaps":
        raise ValueError("oaps:// is not available yet: use oap:// or unix:")
    try:
        parts = urlsplit(target)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if scheme != "oap" or not host or not port or target.lower() not in _spellings(host, port):
        raise ValueError(f"{target!r} is no target: write oap://HOST:PORT or unix:/path")
    if isIPAddress(host):
        return TCP4ClientEndpoint(reactor, host, port, timeout=cast(int, timeout_s))
    if isIPv6Address(host):
        return TCP6ClientEndpoint(reactor, host, port, timeout=cast(int, timeout_s))
    return HostnameEndpoint(reactor, host, port, timeout=timeout_s)


def _spellings(host: str, port: int) -> tuple[str, str]:
    """Return what a target of just host and port looks like: anything else in it is a mistake."""
    return f"oap://{host}:{port}", f"oap://[{host}]:{port}"


class OAPClient:
    """A connection to a node; many calls may be open on it at once. Made by :func:`connect`.

    :ivar hello: the node's answer to HELLO: ``max_inflight``, ``server``, ….
    """

    def __init__(self, protocol: CallerProtocol, hello: Mapping[str, Any]) -> None:
        self.hello = hello
        self._protocol = protocol

    def call(
        self,
        profile: int,
        op: str,
        args: Mapping[str, Any],
        *,
        body: IBodyProducer | None = None,
        deadline_ms: int | None = None,
        idempotency_key: str | None = None,
        capability: str | None = None,
    ) -> Deferred[OAPResponse]:
        """Call operation *op* of *profile*.

        :param args: the operation's arguments, JSON values.
        :param body: the request's body; its ``length`` does not matter.
        :param deadline_ms: milliseconds the node may take to the head; it only shortens its own limit.
        :param capability: the serialised macaroon.
        :return: a Deferred that fires with an :class:`OAPResponse` when the head of the answer is there.
            It fails with :class:`OAPError` when the node fails the call or the connection is lost, or
            with what *body* failed with. Cancelling it cancels the call at the node.
        :raises ValueError: the arguments or the capability are too large, or no JSON.
        """
        head: dict[str, Any] = {"op": op, "args": dict(args)}
        options = (
            ("idempotency_key", idempotency_key),
            ("deadline_ms", deadline_ms),
        )
        head.update((name, value) for name, value in options if value is not None)
        cap = b"" if capability is None else capability.encode("ascii")
        return self._protocol.call(profile, head, cap, body)

    def close(self) -> Deferred[None]:
        """Close the connection; open calls are cancelled, and fail.

        :return: a Deferred that fires (None) when it is closed. Never fails.
        """
        return self._protocol.close()
