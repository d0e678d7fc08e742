"""An OAP/1 client for embedders and for ``micronode call``.

::

    client = await connect(reactor, "oap://127.0.0.1:5312")
    response = await client.call(Profile.SEARCH, "query", {"q": "reactor"})
    print(await response.read(1 << 20))
    await client.close()
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.web.iweb import IBodyProducer

from micronode.concurrency.connecting import make_endpoint
from micronode.config.address import ListenAddress
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
    endpoint = make_endpoint(reactor, _read_target(target), timeout_s)
    protocol = CallerProtocol(reactor)

    async def greet() -> OAPClient:
        await connectProtocol(endpoint, protocol)
        return OAPClient(protocol, await protocol.ready)

    def late(_: object, seconds: float) -> NoReturn:
        raise ConnectTimeoutError(string=f"no answer from {target} within {seconds} s")

    return Deferred.fromCoroutine(greet()).addTimeout(timeout_s, reactor, onTimeoutCancel=late)


def _read_target(target: str) -> ListenAddress:
    if target.startswith("oaps://"):
        raise ValueError("oaps:// is not available yet: use oap:// or unix:")
    try:
        if target.startswith("unix:"):
            return ListenAddress.parse(target)
        if not target.startswith("oap://"):
            raise ValueError("it begins with neither oap:// nor unix:")
        address = ListenAddress.parse_tcp(target.removeprefix("oap://"))
        if address.port == 0:
            raise ValueError("its port must be from 1 to 65535")
    except ValueError as error:
        raise ValueError(f"{target!r} is no target ({error}): write oap://HOST:PORT or unix:/path") from None
    return address


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
