"""Where a client connects to, and how it greets what it finds there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import connectProtocol
from twisted.internet.error import TimeoutError as ConnectTimeoutError
from twisted.internet.interfaces import IStreamClientEndpoint

from micronode.concurrency.connecting import make_endpoint
from micronode.config.address import ListenAddress
from micronode.oap.client.protocol import CallerProtocol


class Greeter:
    """Makes connections to one node.

    :raises ValueError: *target* is malformed, or ``oaps://``, which is not available yet.
    """

    def __init__(self, reactor: Any, target: str | IStreamClientEndpoint, timeout_s: float) -> None:
        self._reactor = reactor
        self._timeout_s = timeout_s
        self._name = target if isinstance(target, str) else "the endpoint"
        self._endpoint: IStreamClientEndpoint = (
            make_endpoint(reactor, _read_target(target), timeout_s) if isinstance(target, str) else target
        )

    def greet(self) -> Deferred[tuple[CallerProtocol, Mapping[str, Any]]]:
        """Connect, and say HELLO.

        :return: a Deferred that fires with the connection and the node's answer; it fails as
            :func:`micronode.oap.client.connect` says. Cancelling it closes the connection.
        """
        protocol = CallerProtocol(self._reactor)

        async def greet() -> tuple[CallerProtocol, Mapping[str, Any]]:
            await connectProtocol(self._endpoint, protocol)
            return protocol, await protocol.ready

        def late(_: object, seconds: float) -> NoReturn:
            raise ConnectTimeoutError(string=f"no answer from {self._name} within {seconds} s")

        greeting = Deferred.fromCoroutine(greet())
        return greeting.addTimeout(self._timeout_s, self._reactor, onTimeoutCancel=late)


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
