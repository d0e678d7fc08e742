"""The connections of one client: the one that takes new calls, and those that only finish theirs.

A connection that the node leaves (GOAWAY) or that was lost is replaced when the next call needs one, never
before: a client that is idle must not keep a node busy. All calls that wait share one attempt to connect.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from micronode.oap.client.errors import OAPError
from micronode.oap.client.outcome import Outcome
from micronode.oap.client.protocol import CallerProtocol
from micronode.oap.wire.errors import ErrorCode


class Connections:
    """At most one that is used, one that is being made, and any number that finish.

    :param greet: makes a connection and fires when HELLO was answered; None: the first one is all there is.
    """

    def __init__(
        self,
        first: CallerProtocol,
        hello: Mapping[str, Any],
        greet: Callable[[], Deferred[tuple[CallerProtocol, Mapping[str, Any]]]] | None,
    ) -> None:
        #: The node's answer to the latest HELLO.
        self.hello = hello
        self._greet = greet
        self._current = first
        self._all: set[CallerProtocol] = set()
        self._connecting: Deferred[Any] | None = None
        self._connected: Outcome[CallerProtocol] = Outcome()
        self._closed = False
        self._keep(first)

    @property
    def usable(self) -> CallerProtocol | None:
        """The connection that takes new calls now, if there is one."""
        return self._current if self._current.usable else None

    def __len__(self) -> int:
        return len(self._all)

    def get(self) -> Deferred[CallerProtocol]:
        """Return a connection that takes new calls, made anew where there is none.

        :return: a Deferred that fails with :class:`~twisted.internet.error.ConnectError` or
            :class:`OAPError`. Cancelling the last one that waits gives the attempt up.
        """
        if self._closed:
            return fail(_closed())
        if self._current.usable:
            return succeed(self._current)
        if self._greet is None:
            return fail(self._current.refusal())
        if self._connecting is not None:
            return self._connected.when()
        connected = self._connected = Outcome(self._abandon)
        waiter = connected.when()
        self._connecting = self._greet()
        self._connecting.addCallbacks(self._made, self._failed, errbackArgs=(connected,))
        return waiter

    def _made(self, made: tuple[CallerProtocol, Mapping[str, Any]]) -> None:
        self._connecting = None
        self._current, self.hello = made
        self._keep(self._current)
        self._connected.settle(self._current)

    def _failed(self, failure: Failure, connected: Outcome[CallerProtocol]) -> None:
        if connected is self._connected:
            self._connecting = None
        connected.settle(failure)

    def _abandon(self) -> None:
        connecting, self._connecting = self._connecting, None
        if connecting is not None:
            connecting.cancel()

    def _keep(self, protocol: CallerProtocol) -> None:
        self._all.add(protocol)
        protocol.lost.when().addCallback(lambda _: self._all.discard(protocol))

    def close(self) -> Deferred[None]:
        """Close all; open calls are cancelled, and fail.

        :return: a Deferred that fires (None) when they are closed. Never fails.
        """
        self._closed = True
        # Before the attempt is given up, which fails in ways of its own.
        self._connected.settle(Failure(_closed()))
        self._abandon()
        closing = [each.close() for each in list(self._all)]

        async def wait() -> None:
            # Not gathered: a cancelled wait is to look like one.
            for each in closing:
                await each

        return Deferred.fromCoroutine(wait())


def _closed() -> OAPError:
    return OAPError.from_code(ErrorCode.CANCELLED, "the client was closed")
